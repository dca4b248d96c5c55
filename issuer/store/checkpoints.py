"""Checkpoints as they are made: by one process at a time, each in the transaction that reads what it states."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.record.chain import Link
from issuer.record.checkpoint import Export, Head
from issuer.record.statements import StoredCheckpoint
from issuer.store.tables import checkpoints, record_chains, record_exports

_LOCK = sa.literal(0x1550E7636865636B, sa.BigInteger)
"""Any number nobody else uses."""
FORGET_BATCH = 1_000


async def lock_checkpoints(connection: AsyncConnection) -> None:
    """Nobody else makes one until the commit."""
    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


async def newest_checkpoint(connection: AsyncConnection) -> StoredCheckpoint | None:
    """The one with the greatest number."""
    query = sa.select(checkpoints).order_by(checkpoints.c.number.desc()).limit(1)
    row = (await connection.execute(query)).one_or_none()
    return StoredCheckpoint(row.number, row.at, row.full, row.text) if row is not None else None


async def newest_full_checkpoint(
    connection: AsyncConnection, before: datetime | None = None
) -> StoredCheckpoint | None:
    """The newest one that names every chain; of those made `before` an instant."""
    query = sa.select(checkpoints).where(checkpoints.c.full).order_by(checkpoints.c.number.desc()).limit(1)
    if before is not None:
        query = query.where(checkpoints.c.at < before)
    row = (await connection.execute(query)).one_or_none()
    return StoredCheckpoint(row.number, row.at, row.full, row.text) if row is not None else None


async def heads_to_state(connection: AsyncConnection, *, everything: bool = False) -> list[Head]:
    """The chains of which no checkpoint says how they stand now; or all of them."""
    chain = record_chains.c
    query = sa.select(
        chain.writer, chain.key_id, chain.sequence, chain.mac, chain.dropped_sequence, chain.dropped_mac
    ).order_by(chain.writer)
    if not everything:
        query = query.where(
            chain.sequence.is_distinct_from(chain.stated_sequence)
            | chain.dropped_sequence.is_distinct_from(chain.stated_dropped)
        )
    return [
        Head(
            row.key_id, Link(row.writer, row.sequence, row.mac), Link(row.writer, row.dropped_sequence, row.dropped_mac)
        )
        for row in await connection.execute(query)
    ]


async def exports_to_state(connection: AsyncConnection) -> list[Export]:
    """The files that no checkpoint names yet."""
    export = record_exports.c
    query = sa.select(export.name, export.records, export.sha256).where(export.stated.is_(None)).order_by(export.name)
    return [Export(row.name, row.records, row.sha256) for row in await connection.execute(query)]


async def insert_checkpoint(
    connection: AsyncConnection, checkpoint: StoredCheckpoint, heads: Sequence[Head], exports: Sequence[Export]
) -> None:
    """Keeps a checkpoint, and remembers what it states."""
    await connection.execute(sa.insert(checkpoints).values(checkpoint._asdict()))
    if heads:
        await connection.execute(
            sa.update(record_chains)
            .where(record_chains.c.writer == sa.bindparam("of_writer"))
            .values(stated_sequence=sa.bindparam("reached"), stated_dropped=sa.bindparam("gone")),
            [
                {"of_writer": each.head.writer, "reached": each.head.sequence, "gone": each.dropped.sequence}
                for each in heads
            ],
        )
    if exports:
        named = record_exports.c.name.in_([export.name for export in exports])
        await connection.execute(sa.update(record_exports).where(named).values(stated=checkpoint.number))


async def forget_checkpoints(connection: AsyncConnection, before: int) -> bool:
    """Deletes a batch of those with a smaller number. Whether there may be more."""
    oldest = (
        sa.select(checkpoints.c.number)
        .where(checkpoints.c.number < before)
        .order_by(checkpoints.c.number)
        .limit(FORGET_BATCH)
    )
    gone = await connection.execute(sa.delete(checkpoints).where(checkpoints.c.number.in_(oldest)))
    return gone.rowcount == FORGET_BATCH
