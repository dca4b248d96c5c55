"""Chains: every record of one writer carries a MAC over itself and the one before, so nothing can be changed unnoticed.

A writer is one worker's lifetime. Its chain begins with a MAC over its own id; record `n` has the MAC

    mac(n) = HMAC-SHA-256(key, mac(n-1) | n as 8 bytes | the decision's bytes)

under a key that only the issuer's processes can unseal: whoever can write to the database can neither change, drop, swap nor
make up a record without a MAC that does not fit. What a chain alone cannot show is that its end was cut off: heads are told,
and signed, apart (`record_chains`).
"""

import hmac
from typing import NamedTuple
from uuid import UUID

from issuer.record.decision import DecisionRecord, to_bytes

_GENESIS = b"issuer decision chain 1\0"


class Link(NamedTuple):
    """A place in a chain. Sequences begin with 1; 0 is the chain itself."""

    writer: UUID
    sequence: int
    mac: bytes


class ChainedRecord(NamedTuple):
    """A decision and its place."""

    record: DecisionRecord
    link: Link


def first_link(key: bytes, writer: UUID) -> Link:
    """What the first record of a writer is chained to."""
    return Link(writer, 0, hmac.digest(key, _GENESIS + writer.bytes, "sha256"))


def next_link(key: bytes, before: Link, record: DecisionRecord) -> Link:
    """The place of a record that follows `before`."""
    return link_after(key, before, to_bytes(record))


def link_after(key: bytes, before: Link, payload: bytes) -> Link:
    """The place of whatever these bytes stand for, after `before`."""
    sequence = before.sequence + 1
    mac = hmac.digest(key, before.mac + sequence.to_bytes(8, "big") + payload, "sha256")
    return Link(before.writer, sequence, mac)
