"""Checkpoints: signed statements of how far every chain has come, each with the hash of the one before.

A chain shows that nothing in it was changed; that its end was not cut off, or the whole of it taken away, only somebody can
tell who had seen it. A checkpoint names the heads that are new since the one before it, a *full* one all of them. What was
dropped because its time was over is stated, too: from which record on a chain must still be there, and which file holds the
rest. `first` is the oldest checkpoint that must still be there, always a full one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from issuer.record.chain import Link

_ALGORITHM = "ES256"
_TYPE = "issuer-checkpoint"


class CheckpointRejected(Exception):
    """A text that is no checkpoint signed with this key; the message says why."""


class Head(NamedTuple):
    """A chain, how far it has come, and the last record of it that was dropped (of sequence 0: none was)."""

    key_id: str
    head: Link
    dropped: Link


class Export(NamedTuple):
    """A file that holds records which were dropped, or are about to be."""

    name: str
    records: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One statement. `previous`: the digest of the one before, empty for the very first."""

    number: int
    at: datetime
    previous: bytes
    first: int
    full: bool
    heads: tuple[Head, ...]
    exports: tuple[Export, ...]


class _Pinned(jws.JWSRegistry):
    """ES256 and nothing else, for statements about any number of chains."""

    max_payload_length = 1 << 30


def digest(text: str) -> bytes:
    """What the next checkpoint says of this one."""
    return sha256(text.encode()).digest()


def sign_checkpoint(checkpoint: Checkpoint, kid: str, key: ECKey) -> str:
    """The checkpoint as a compact JWS (RFC 7515 section 3.1)."""
    header = {"alg": _ALGORITHM, "typ": _TYPE, "kid": kid}
    payload = {
        "number": checkpoint.number,
        "at": checkpoint.at.isoformat(),
        "previous": checkpoint.previous.hex(),
        "first": checkpoint.first,
        "full": checkpoint.full,
        "heads": [_head_to_json(head) for head in checkpoint.heads],
        "exports": [[name, records, digest.hex()] for name, records, digest in checkpoint.exports],
    }
    text = json.dumps(payload, separators=(",", ":")).encode()
    return jws.serialize_compact(header, text, key, registry=_Pinned(algorithms=[_ALGORITHM]))


def read_checkpoint(text: str, keys: Mapping[str, ECKey]) -> Checkpoint:
    """What was signed, with one of our own keys. Raises CheckpointRejected."""
    try:
        header = jws.extract_compact(text.encode()).headers()
        key = keys.get(str(header.get("kid")))
        if key is None:
            raise CheckpointRejected("it was not signed with a key of ours")
        if header.get("typ") != _TYPE or "crit" in header:
            raise CheckpointRejected("it is something else that was signed")
        signed = jws.deserialize_compact(text, key, registry=_Pinned(algorithms=[_ALGORITHM]))
        return _parsed(json.loads(signed.payload))
    except (JoseError, ValueError, KeyError, TypeError):
        raise CheckpointRejected("its signature does not fit") from None


def _head_to_json(head: Head) -> list[Any]:
    dropped = [head.dropped.sequence, head.dropped.mac.hex()] if head.dropped.sequence else []
    return [head.head.writer.hex, head.key_id, head.head.sequence, head.head.mac.hex(), *dropped]


def _parsed(payload: Mapping[str, Any]) -> Checkpoint:
    return Checkpoint(
        number=payload["number"],
        at=datetime.fromisoformat(payload["at"]),
        previous=bytes.fromhex(payload["previous"]),
        first=payload["first"],
        full=payload["full"],
        heads=tuple(_head_of(*parts) for parts in payload["heads"]),
        exports=tuple(Export(name, records, bytes.fromhex(hexed)) for name, records, hexed in payload["exports"]),
    )


def _head_of(writer: str, key_id: str, sequence: int, mac: str, dropped: int = 0, dropped_mac: str = "") -> Head:
    this = UUID(writer)
    return Head(key_id, Link(this, sequence, bytes.fromhex(mac)), Link(this, dropped, bytes.fromhex(dropped_mac)))
