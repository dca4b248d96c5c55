"""Finds a secret in a heap of bytes in every form it may have taken on the way: plain, hex, base64 at any alignment."""

import base64
import math
import re
from collections.abc import Mapping
from urllib.parse import quote

_BYTEA = re.compile(rb"\\x((?:[0-9a-f]{2})+)")
_BREAKS = re.compile(rb"\s+|\\n")


def forms(secret: bytes) -> set[bytes]:
    """How the bytes look when they are copied, escaped, dumped or encoded, alone or as a part of something longer."""
    found = {secret, secret.hex().encode(), quote(secret, safe="").encode()}
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + secret)
        # Only the characters that no neighbour has a part in.
        inner = encoded[math.ceil(offset * 8 / 6) : (offset + len(secret)) * 8 // 6]
        found |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def leaks(heap: bytes, secrets: Mapping[str, bytes]) -> set[str]:
    """The names of the secrets that are in the heap."""
    # What bytea holds as it is, hex in either case, base64 broken into lines.
    heap += b"\n".join(bytes.fromhex(found.decode()) for found in _BYTEA.findall(heap))
    haystacks = (heap, heap.lower(), _BREAKS.sub(b"", heap))
    return {
        name for name, secret in secrets.items() for form in forms(secret) if any(form in each for each in haystacks)
    }
