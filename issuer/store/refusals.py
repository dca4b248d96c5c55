"""What strangers were refused, in numbers: as many rows a minute as each process allows itself, and kept for a month."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.store.tables import refusal_counts

KEEP_DAYS = 30
MAX_KEYS_A_MINUTE = 256
"""Rows of one process; what does not fit into them is summed up."""
TRIM_BATCH = 5_000
_ROWS = 1_000
"""In one statement, so that it does not take the token path's turn for long."""


class RefusalKey(NamedTuple):
    """What is counted together: a minute, why, whom it was said to be (`unknown`, `other`), from which network (`other`)."""

    minute: datetime
    reason: str
    client_id: str
    source: str


@dataclass(frozen=True, slots=True)
class RefusalCount:
    """The same of all processes together."""

    minute: datetime
    reason: str
    client_id: str
    source: str
    count: int


# Columns and not rows: with a value of its own for each row it is compiled anew each time, for 30 ms of the token path.
_SAVE = sa.text(
    """
    INSERT INTO refusal_counts AS c (minute, writer, reason, client_id, source, count)
    SELECT minute, :writer, reason, client_id, source, count
    FROM unnest(:minutes ::timestamptz[], :reasons ::text[], :clients ::text[], :sources ::text[], :counts ::bigint[])
         AS counted(minute, reason, client_id, source, count)
    ON CONFLICT (minute, writer, reason, client_id, source) DO UPDATE SET count = greatest(c.count, excluded.count)
    """
)


async def save_counts(connection: AsyncConnection, writer: UUID, counts: Mapping[RefusalKey, int]) -> None:
    """What a process has counted, of each minute the whole so far: to write the same again changes nothing."""
    # In one order everywhere, although nobody else writes this process's rows.
    ordered = sorted(counts.items())
    for first in range(0, len(ordered), _ROWS):
        keys, numbers = zip(*ordered[first : first + _ROWS], strict=True)
        minutes, reasons, clients, sources = map(list, zip(*keys, strict=True))
        columns = {"minutes": minutes, "reasons": reasons, "clients": clients, "sources": sources}
        await connection.execute(_SAVE, {"writer": writer, **columns, "counts": list(numbers)})


async def refusals_between(
    connection: AsyncConnection, begin: datetime, end: datetime, limit: int
) -> list[RefusalCount]:
    """At most `limit` counts of the minutes in [begin, end), the newest first, the most frequent of a minute first."""
    count = sa.func.sum(refusal_counts.c.count).cast(sa.BigInteger).label("count")
    keys = [refusal_counts.c[name] for name in RefusalKey._fields]
    query = (
        sa.select(*keys, count)
        .where(refusal_counts.c.minute >= begin, refusal_counts.c.minute < end)
        .group_by(*keys)
        .order_by(refusal_counts.c.minute.desc(), count.desc(), *keys[1:])
        .limit(limit)
    )
    return [RefusalCount(**row) for row in (await connection.execute(query)).mappings()]


async def trim_refusals(connection: AsyncConnection) -> bool:
    """Forgets a batch of minutes older than KEEP_DAYS, by the database's clock. Whether there may be more."""
    oldest = (
        sa.select(refusal_counts.c.minute, refusal_counts.c.writer, refusal_counts.c.reason)
        .add_columns(refusal_counts.c.client_id, refusal_counts.c.source)
        .where(refusal_counts.c.minute < sa.func.now() - sa.func.make_interval(0, 0, 0, KEEP_DAYS))
        .order_by(refusal_counts.c.minute)
        .limit(TRIM_BATCH)
    )
    key = sa.tuple_(*refusal_counts.primary_key.columns)
    gone = await connection.execute(sa.delete(refusal_counts).where(key.in_(oldest)))
    return gone.rowcount == TRIM_BATCH
