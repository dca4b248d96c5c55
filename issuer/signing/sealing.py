"""Secrets at rest: envelopes under a master key that only wraps (DESIGN section 7).

    0x01 | length of kek_id | kek_id | nonce 12 | wrapped data key 48 | nonce 12 | ciphertext and tag

The data key is fresh for every blob; AES-256-GCM both times, bound to the blob's purpose and owner, so that a blob copied
into another row does not open there. Re-keying replaces the wrapped key and leaves the ciphertext alone.
"""

import base64
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_FORMAT = 1
_NONCE_BYTES = 12
_KEY_BYTES = 32
_WRAPPED_BYTES = _KEY_BYTES + 16
_MAX_ID_CHARACTERS = 64
CHECK_PURPOSE = "master-key-check"
_CHECK_TEXT = b"issuer"


class MasterKeyError(Exception):
    """There is no usable master key; the message says what to do and never shows key material."""


class SealError(Exception):
    """A sealed blob does not open: another master key, another owner, or damage."""


@dataclass(frozen=True, slots=True)
class MasterKey:
    """Keys that wrap data keys, by id. The current one wraps; all unwrap."""

    current: str
    keys: MappingProxyType[str, bytes] = field(repr=False)

    def seal(self, plaintext: bytes, *, purpose: str, owner: str) -> bytes:
        """An envelope around `plaintext` that opens only for the same purpose and owner."""
        bound = _bound(purpose, owner)
        data_key, nonce = os.urandom(_KEY_BYTES), os.urandom(_NONCE_BYTES)
        return self._wrap(data_key, bound) + nonce + AESGCM(data_key).encrypt(nonce, plaintext, bound)

    def unseal(self, blob: bytes, *, purpose: str, owner: str) -> bytes:
        """The plaintext. Raises SealError."""
        bound = _bound(purpose, owner)
        data_key, payload = self._unwrap(blob, bound)
        try:
            return AESGCM(data_key).decrypt(payload[:_NONCE_BYTES], payload[_NONCE_BYTES:], bound)
        except (InvalidTag, ValueError):
            raise SealError("is damaged: its data key does not open it") from None

    def rewrap(self, blob: bytes, *, purpose: str, owner: str) -> bytes:
        """The same envelope under the current key; what is in it is not opened and stays byte for byte. Raises SealError."""
        bound = _bound(purpose, owner)
        data_key, payload = self._unwrap(blob, bound)
        return self._wrap(data_key, bound) + payload

    def _wrap(self, data_key: bytes, bound: bytes) -> bytes:
        """Everything of an envelope that comes before its payload."""
        kek_id, nonce = self.current.encode(), os.urandom(_NONCE_BYTES)
        head = bytes([_FORMAT, len(kek_id)]) + kek_id
        return head + nonce + AESGCM(self.keys[self.current]).encrypt(nonce, data_key, head + bound)

    def _unwrap(self, blob: bytes, bound: bytes) -> tuple[bytes, bytes]:
        """The data key, and the payload it opens. Raises SealError."""
        kek_id, head, rest = _split(blob)
        key = self.keys.get(kek_id)
        if key is None:
            raise SealError(f"is sealed under the master key {kek_id!r}, which is not among those given")
        wrapped_end = _NONCE_BYTES + _WRAPPED_BYTES
        try:
            data_key = AESGCM(key).decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:wrapped_end], head + bound)
        except (InvalidTag, ValueError):
            raise SealError(f"does not open under the master key {kek_id!r}") from None
        return data_key, rest[wrapped_end:]

    def require(self, kek_ids: Iterable[str]) -> None:
        """Raises MasterKeyError unless there is a key for each of these ids."""
        if missing := sorted(set(kek_ids) - self.keys.keys()):
            raise MasterKeyError(
                "This is not the master key of this database, or not all of it: something in it is sealed under "
                f"{_quoted(missing)}, and given was only {_quoted(self.keys)}. Give that line, too (ISSUER_MASTER_KEY or "
                "ISSUER_MASTER_KEY_FILE); it can be taken out once `issuer rekey` says that it seals nothing any more."
            )

    def check_blob(self) -> bytes:
        """What `bootstrap` stores, so that a wrong master key is noticed at start and not at the first token."""
        return self.seal(_CHECK_TEXT, purpose=CHECK_PURPOSE, owner="")

    def check(self, blob: bytes) -> None:
        """Raises MasterKeyError unless this is the master key the database belongs to."""
        try:
            self.require([_split(blob)[0]])
            self.unseal(blob, purpose=CHECK_PURPOSE, owner="")
        except SealError as error:
            raise MasterKeyError(
                f"This is not the master key of this database: its check value {error}. Give the key that "
                "belongs to it (ISSUER_MASTER_KEY or ISSUER_MASTER_KEY_FILE); without it nothing sealed can be read."
            ) from None


def generate_master_key_line(key_id: str = "k1") -> str:
    """A fresh line for a master key file: `id:base64(32 bytes)`."""
    return f"{key_id}:{base64.b64encode(os.urandom(_KEY_BYTES)).decode()}\n"


def load_master_key(text: str | None, file: Path | None) -> MasterKey:
    """The master key from the setting or the file. Raises MasterKeyError."""
    if text is not None and file is not None:
        raise MasterKeyError("Both ISSUER_MASTER_KEY and ISSUER_MASTER_KEY_FILE are set; use one of them.")
    if text is None and file is None:
        raise MasterKeyError(
            "There is no master key. Make one with  (umask 077; printf 'k1:%s\\n' \"$(openssl rand -base64 32)\" > "
            "master.key)  and set ISSUER_MASTER_KEY_FILE=master.key. Keep a copy apart from the database's backups."
        )
    if text is None and file is not None:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise MasterKeyError(f"The master key file {file} cannot be read: {why}.") from None
    return _parse(text or "")


def _parse(text: str) -> MasterKey:
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        key_id, colon, encoded = line.strip().partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except ValueError:  # binascii.Error is one; text beyond ASCII raises a plain one
            key = b""
        if not colon or not key_id.isascii() or not 0 < len(key_id) <= _MAX_ID_CHARACTERS or len(key) != _KEY_BYTES:
            raise MasterKeyError(f"Line {number} of the master key is not `id:base64 of 32 bytes`.")
        if key_id in keys:
            raise MasterKeyError(f"The master key names the id {key_id!r} twice.")
        keys[key_id] = key
    if not keys:
        raise MasterKeyError("The master key is empty: it needs one line of `id:base64 of 32 bytes`.")
    return MasterKey(next(iter(keys)), MappingProxyType(keys))


def kek_id_of(blob: bytes) -> str:
    """Which master key wraps it. Raises SealError."""
    return _split(blob)[0]


def _split(blob: bytes) -> tuple[str, bytes, bytes]:
    if len(blob) < 2 or blob[0] != _FORMAT:  # noqa: PLR2004
        raise SealError("is not in a format this version reads")
    end = 2 + blob[1]
    return blob[2:end].decode("ascii", "replace"), blob[:end], blob[end:]


def _quoted(ids: Iterable[str]) -> str:
    return ", ".join(repr(each) for each in ids)


def _bound(purpose: str, owner: str) -> bytes:
    """Length-prefixed, so that no two (purpose, owner) pairs give the same bytes."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in (purpose.encode(), owner.encode()))
