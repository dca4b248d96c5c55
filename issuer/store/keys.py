"""Signing keys: the public half in the clear, the private half sealed.

Whoever changes a KeySet or its keys holds one lock until the commit: rules over all KeySets hold, and no two steps overlap.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.signing.keyring import KeyRecord
from issuer.store.tables import signing_keys

_INSTANTS = ("created_at", "published_at", "activated_at", "retires_at", "compromised_at")
_CHANGING = ("activated_at", "retires_at", "compromised_at", "signed_ttl_s")
_LOCK = sa.literal(0x1550E76B657973, sa.BigInteger)
"""Any number nobody else uses."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key record with its sealed private half."""

    record: KeyRecord
    sealed: bytes = field(repr=False)


async def insert_key(connection: AsyncConnection, key: StoredKey) -> None:
    """A new key of a KeySet."""
    record = key.record
    await connection.execute(
        sa.insert(signing_keys).values(
            kid=record.kid,
            keyset=record.keyset,
            algorithm=record.algorithm,
            public_jwk=dict(record.public_jwk),
            sealed=key.sealed,
            signed_ttl_s=record.signed_ttl_s,
            **{name: getattr(record, name) for name in _INSTANTS},
        )
    )


async def lock_keys(connection: AsyncConnection) -> None:
    """Nobody else changes KeySets or keys until the commit. Taken before any row of theirs."""
    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


async def try_lock_keys(connection: AsyncConnection) -> bool:
    """The same without waiting; False: somebody else has it."""
    return bool((await connection.execute(sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK)))).scalar_one())


async def save_ring(connection: AsyncConnection, before: Sequence[KeyRecord], after: Sequence[KeyRecord]) -> None:
    """The stored keys become `after`, as far as they are among `before`; what is missing there is deleted for good."""
    kept = {record.kid: record for record in after}
    for record in before:
        became = kept.get(record.kid)
        this = signing_keys.c.kid == record.kid
        if became is None:
            await connection.execute(sa.delete(signing_keys).where(this))
        elif became != record:
            values = {name: getattr(became, name) for name in _CHANGING}
            await connection.execute(sa.update(signing_keys).where(this).values(values))


async def load_keys(connection: AsyncConnection, keyset: str | None = None) -> list[StoredKey]:
    """Every key, or every key of one KeySet, oldest first."""
    query = sa.select(signing_keys).order_by(signing_keys.c.created_at, signing_keys.c.kid)
    if keyset is not None:
        query = query.where(signing_keys.c.keyset == keyset)
    return [_key_of(row) for row in await connection.execute(query)]


async def load_records(connection: AsyncConnection, keyset: str | None = None) -> list[KeyRecord]:
    """The same without private halves."""
    columns = [column for column in signing_keys.c if column.name != "sealed"]
    query = sa.select(*columns).order_by(signing_keys.c.created_at, signing_keys.c.kid)
    if keyset is not None:
        query = query.where(signing_keys.c.keyset == keyset)
    return [_record_of(row) for row in await connection.execute(query)]


def _key_of(row: Row[Any]) -> StoredKey:
    return StoredKey(_record_of(row), row.sealed)


def _record_of(row: Row[Any]) -> KeyRecord:
    return KeyRecord(
        kid=row.kid,
        keyset=row.keyset,
        algorithm=row.algorithm,
        public_jwk=row.public_jwk,
        signed_ttl_s=row.signed_ttl_s,
        **{name: getattr(row, name) for name in _INSTANTS},
    )
