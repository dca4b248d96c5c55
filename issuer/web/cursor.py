"""Cursors of LIST: opaque, authenticated, good for one list only (CVE-2026-33504, SQL injection by a forged cursor)."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hmac import compare_digest, digest

from issuer.model.faults import Fault, Reason

_TAG_BYTES = 32
_LABEL = b"issuer list cursor\0"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins: behind (namespace, name), in a list begun at `revision`; of records between two ids, without one.

    `namespace` is the one that is listed, None for all of them; `selectors` what chooses among the objects.
    """

    plural: str
    namespace: str | None
    selectors: str
    revision: int
    after: tuple[str, str]


class Cursors:
    """Writes and reads cursors under keys all replicas share: the newest writes, all read."""

    def __init__(self, keys: Callable[[], Sequence[bytes]]) -> None:
        self._keys = keys

    def write(self, cursor: Cursor) -> str:
        """The text for `metadata.continue`."""
        parts = [cursor.plural, cursor.namespace, cursor.selectors, cursor.revision, *cursor.after]
        payload = json.dumps(parts, separators=(",", ":")).encode()
        return urlsafe_b64encode(_tag(self._keys()[0], payload) + payload).decode()

    def read(self, text: str, plural: str, namespace: str | None, selectors: str) -> Cursor:
        """The cursor. Raises Fault (400) unless we wrote it for this list."""
        try:
            data = urlsafe_b64decode(text.encode())
        except (Base64Error, ValueError):
            data = b""
        tag, payload = data[:_TAG_BYTES], data[_TAG_BYTES:]
        if any(compare_digest(tag, _tag(key, payload)) for key in self._keys()):
            *written_for, revision, after_namespace, after_name = json.loads(payload)
            if written_for == [plural, namespace, selectors]:
                return Cursor(plural, namespace, selectors, revision, (after_namespace, after_name))
        raise Fault(Reason.BAD_REQUEST, "continue is not a cursor of this list; begin it again")


def _tag(key: bytes, payload: bytes) -> bytes:
    return digest(key, _LABEL + payload, "sha256")
