"""Seals of administrative records: a chain of its own, one row for each record, made right after the records are written.

Revisions become visible in their order, so what is above the highest sealed one is all there is to do. Records without a
revision are looked for by their ids, as far back as any transaction could still have been open.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.record.administrative import ADMIN_CHAIN, AdministrativeRecord
from issuer.record.chain import Link
from issuer.store.partitions import first_id_at
from issuer.store.tables import audit_records, audit_seals, record_chains

LATEST = timedelta(hours=1)
"""No record becomes visible so long after it was made, by any clock."""
DROP_BATCH = 5_000
_RECORD = audit_records.c
_AS_STORED = (
    _RECORD.id,
    _RECORD.at,
    _RECORD.revision,
    sa.cast(_RECORD.principal, sa.Text),
    _RECORD.verb,
    _RECORD.kind,
    _RECORD.namespace,
    _RECORD.name,
    _RECORD.uid,
    sa.cast(_RECORD.before, sa.Text),
    sa.cast(_RECORD.after, sa.Text),
    sa.cast(_RECORD.note, sa.Text),
)


@dataclass(frozen=True, slots=True)
class AdminChain:
    """How far the seals have come. `sealed_at` None: nothing is sealed yet."""

    key_id: str
    head: Link
    revision_reached: int
    sealed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Seal:
    """One record's place in the chain."""

    link: Link
    record_id: UUID
    revision_reached: int


async def read_admin_chain(connection: AsyncConnection, *, lock: bool = False) -> AdminChain | None:
    """The chain, None: nobody has begun it. With a lock it is ours until the commit, None also while it is somebody else's."""
    chain, seal = record_chains.c, audit_seals.c
    query = sa.select(chain.key_id, chain.sequence, chain.mac).where(chain.writer == ADMIN_CHAIN)
    row = (await connection.execute(query.with_for_update(skip_locked=True) if lock else query)).one_or_none()
    if row is None:
        return None
    newest = sa.select(seal.revision_reached, seal.sealed_at).order_by(seal.sequence.desc()).limit(1)
    last = (await connection.execute(newest)).one_or_none()
    return AdminChain(
        row.key_id,
        Link(ADMIN_CHAIN, row.sequence, row.mac),
        last.revision_reached if last is not None else 0,
        last.sealed_at if last is not None else None,
    )


async def begin_admin_chain(connection: AsyncConnection, first: Link, key_id: str) -> bool:
    """Makes the chain known. False: it is already."""
    values = {"writer": first.writer, "key_id": key_id, "host": "", "sequence": first.sequence, "mac": first.mac}
    made = await connection.execute(insert(record_chains).values(values).on_conflict_do_nothing())
    return made.rowcount > 0


async def unsealed_records(connection: AsyncConnection, chain: AdminChain, most: int) -> list[AdministrativeRecord]:
    """What is to be sealed next: at most `most` records with a revision, in its order, and as many without."""
    by_revision = sa.select(*_AS_STORED).where(_RECORD.revision > chain.revision_reached).order_by(_RECORD.revision)
    sealed = sa.exists().where(audit_seals.c.record_id == _RECORD.id)
    without = sa.select(*_AS_STORED).where(_RECORD.revision.is_(None), ~sealed).order_by(_RECORD.id)
    if chain.sealed_at is not None:
        without = without.where(_RECORD.id >= first_id_at(chain.sealed_at - LATEST))
    return [
        AdministrativeRecord(*row)
        for query in (by_revision, without)
        for row in await connection.execute(query.limit(most))
    ]


async def insert_seals(connection: AsyncConnection, seals: Sequence[Seal]) -> None:
    """Keeps seals, in order; the chain has come as far as the last of them."""
    rows = [
        {
            "sequence": seal.link.sequence,
            "record_id": seal.record_id,
            "mac": seal.link.mac,
            "revision_reached": seal.revision_reached,
        }
        for seal in seals
    ]
    await connection.execute(sa.insert(audit_seals), rows)
    head = seals[-1].link
    await connection.execute(
        sa.update(record_chains)
        .where(record_chains.c.writer == ADMIN_CHAIN)
        .values(sequence=head.sequence, mac=head.mac, told_at=sa.func.now())
    )


# The newest seal stays, however old it is: the next one follows from it.
_OVER = sa.text(
    """
    WITH oldest AS (
        SELECT s.sequence, s.mac, a.at FROM record_chains c
        JOIN audit_seals s ON s.sequence > c.dropped_sequence AND s.sequence < c.sequence
        LEFT JOIN audit_records a ON a.id = s.record_id
        WHERE c.writer = :chain ORDER BY s.sequence LIMIT :batch
    )
    SELECT sequence, mac FROM oldest
    WHERE sequence < coalesce((SELECT min(sequence) FROM oldest WHERE at >= :over), 9223372036854775807)
    ORDER BY sequence DESC LIMIT 1
    """
)
_DELETE = sa.text(
    """
    WITH gone AS (
        DELETE FROM audit_seals s USING record_chains c
        WHERE c.writer = :chain AND s.sequence <= c.stated_dropped
        RETURNING s.record_id
    )
    DELETE FROM audit_records a USING gone WHERE a.id = gone.record_id
    """
)


async def move_admin_start(connection: AsyncConnection, over: datetime) -> bool:
    """The chain is to begin after a batch of records from before that instant. False: there are none, or it is in use."""
    if await read_admin_chain(connection, lock=True) is None:
        return False
    row = (await connection.execute(_OVER, {"chain": ADMIN_CHAIN, "batch": DROP_BATCH, "over": over})).one_or_none()
    if row is None:
        return False
    await connection.execute(
        sa.update(record_chains)
        .where(record_chains.c.writer == ADMIN_CHAIN)
        .values(dropped_sequence=row.sequence, dropped_mac=row.mac)
    )
    return True


async def delete_dropped(connection: AsyncConnection) -> int:
    """Deletes the records that the chain begins after, by the word of a checkpoint. How many there were."""
    return (await connection.execute(_DELETE, {"chain": ADMIN_CHAIN})).rowcount
