"""Everything that is sealed under the master key, wherever it stands: counted by key id, locked and written in batches.

A blob begins with format, length of the key id, and the key id (`signing.sealing`); that much is read here, in SQL.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.store.tables import audit_keys, installation, peppers, secret_versions, signing_keys

Key: TypeAlias = tuple[Any, ...]
"""The primary key of a row."""


@dataclass(frozen=True, slots=True, eq=False)
class SealedColumn:
    """One column of blobs. `name`, `plural`: what people call what is in them."""

    name: str
    plural: str
    column: sa.Column[Any] = field(repr=False)

    @property
    def key(self) -> tuple[sa.Column[Any], ...]:
        """What tells its rows apart."""
        return tuple(self.column.table.primary_key.columns)

    @property
    def kek_id(self) -> sa.ColumnElement[bytes | None]:
        """The id of the master key each blob names; NULL of what is no envelope of this format."""
        padded = self.column.op("||")(sa.text(r"'\x0000'::bytea"))
        named = sa.func.substring(self.column, 3, sa.func.get_byte(padded, 1), type_=sa.LargeBinary)
        return sa.case((sa.func.get_byte(padded, 0) == 1, named))


UNDELIVERED_SECRETS = SealedColumn("undelivered secret", "undelivered secrets", secret_versions.c.sealed)
SIGNING_KEYS = SealedColumn("signing key", "signing keys", signing_keys.c.sealed)
PEPPERS = SealedColumn("pepper", "peppers", peppers.c.sealed)
AUDIT_KEYS = SealedColumn("audit key", "audit keys", audit_keys.c.sealed)
CHECK_VALUE = SealedColumn("check value", "check values", installation.c.master_key_check)
SEALED_COLUMNS: Sequence[SealedColumn] = (UNDELIVERED_SECRETS, SIGNING_KEYS, PEPPERS, AUDIT_KEYS, CHECK_VALUE)
"""All of them. The check value is the last one: until everything else is under another key, it vouches for the old one."""


async def count_sealed(connection: AsyncConnection) -> dict[str, dict[SealedColumn, int]]:
    """How many blobs each master key seals, by its id and by what they are."""
    counts: dict[str, dict[SealedColumn, int]] = {}
    for column in SEALED_COLUMNS:
        kek_id = column.kek_id.label("kek_id")
        query = sa.select(kek_id, sa.func.count()).where(column.column.is_not(None)).group_by(kek_id)
        for named, count in await connection.execute(query):
            if named:
                counts.setdefault(named.decode("ascii", "replace"), {})[column] = count
    return counts


async def find_sealed(connection: AsyncConnection, column: SealedColumn, *, other_than: str, most: int) -> list[Key]:
    """The rows, in no order, whose blob another master key sealed. One pass over the table, as short as `most` allows."""
    query = sa.select(*column.key).where(_sealed_otherwise(column, other_than)).limit(most)
    return [tuple(row) for row in await connection.execute(query)]


async def lock_sealed(
    connection: AsyncConnection, column: SealedColumn, keys: Sequence[Key], *, other_than: str
) -> dict[Key, bytes]:
    """The blobs of those rows that another master key seals still, locked until this transaction ends.

    Rows somebody else has locked are passed over, so that nobody waits here while others wait for it; the one row of the
    installation, which every write locks for a moment, is waited for: nothing else is locked with it.
    """
    query = (
        sa.select(*column.key, column.column)
        .where(sa.tuple_(*column.key).in_(keys), _sealed_otherwise(column, other_than))
        .with_for_update(key_share=True, skip_locked=column is not CHECK_VALUE)
    )
    return {tuple(row[:-1]): row[-1] for row in await connection.execute(query)}


async def write_sealed(connection: AsyncConnection, column: SealedColumn, blobs: Mapping[Key, bytes]) -> None:
    """Puts other blobs into rows that this transaction has locked."""
    of_row = sa.and_(*(part == sa.bindparam(f"key_{number}") for number, part in enumerate(column.key)))
    await connection.execute(
        sa.update(column.column.table).where(of_row).values({column.column: sa.bindparam("blob")}),
        [{"blob": blob, **{f"key_{number}": value for number, value in enumerate(key)}} for key, blob in blobs.items()],
    )


def _sealed_otherwise(column: SealedColumn, kek_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(column.column.is_not(None), column.kek_id.is_distinct_from(kek_id.encode()))
