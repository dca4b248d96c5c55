"""Keys of the record, as they are stored: sealed, by their ids."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.store.tables import audit_keys

_LOCK = sa.literal(0x1550E76175646974, sa.BigInteger)
"""Any number nobody else uses."""


@dataclass(frozen=True, slots=True)
class StoredAuditKey:
    """A key as it lies in the database."""

    id: str
    purpose: str
    public_jwk: Mapping[str, Any] | None
    sealed: bytes = field(repr=False)


async def lock_audit_keys(connection: AsyncConnection) -> None:
    """Nobody else makes one until the commit."""
    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


async def newest_audit_key(connection: AsyncConnection, purpose: str) -> StoredAuditKey | None:
    """The one that is used from now on."""
    query = (
        sa.select(audit_keys).where(audit_keys.c.purpose == purpose).order_by(audit_keys.c.created_at.desc()).limit(1)
    )
    return _key_of((await connection.execute(query)).one_or_none())


async def find_audit_key(connection: AsyncConnection, key_id: str) -> StoredAuditKey | None:
    """The one with the id."""
    query = sa.select(audit_keys).where(audit_keys.c.id == key_id)
    return _key_of((await connection.execute(query)).one_or_none())


async def insert_audit_key(
    connection: AsyncConnection,
    key_id: str,
    purpose: str,
    sealed: bytes,
    public_jwk: Mapping[str, Any] | None = None,
) -> None:
    """Keeps a new one."""
    public = dict(public_jwk) if public_jwk is not None else sa.null()
    values = {"id": key_id, "purpose": purpose, "sealed": sealed, "public_jwk": public}
    await connection.execute(sa.insert(audit_keys).values(values))


def _key_of(row: Row[Any] | None) -> StoredAuditKey | None:
    return StoredAuditKey(row.id, row.purpose, row.public_jwk, row.sealed) if row is not None else None
