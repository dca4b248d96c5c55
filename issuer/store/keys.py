"""Signing keys: the public half in the clear, the private half sealed."""

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.signing.keyring import KeyRecord
from issuer.store.tables import signing_keys

_INSTANTS = ("created_at", "published_at", "activated_at", "retires_at", "compromised_at")


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
            **{name: getattr(record, name) for name in _INSTANTS},
        )
    )


async def load_keys(connection: AsyncConnection, keyset: str | None = None) -> list[StoredKey]:
    """Every key, or every key of one KeySet, oldest first."""
    query = sa.select(signing_keys).order_by(signing_keys.c.created_at, signing_keys.c.kid)
    if keyset is not None:
        query = query.where(signing_keys.c.keyset == keyset)
    return [_key_of(row) for row in await connection.execute(query)]


def _key_of(row: Row[Any]) -> StoredKey:
    record = KeyRecord(
        kid=row.kid,
        keyset=row.keyset,
        algorithm=row.algorithm,
        public_jwk=row.public_jwk,
        **{name: getattr(row, name) for name in _INSTANTS},
    )
    return StoredKey(record, row.sealed)
