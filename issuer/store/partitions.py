"""The days of the decision records: each is a table of its own, so that a day is made in a moment and dropped in one.

Ids are UUIDv7 and begin with their millisecond (RFC 9562 section 5.7): a range of ids is a range of time, and the primary key
is the index on time. Nothing here waits for a lock while others wait behind it: a day is made beside the others and attached,
and detached before it is dropped, both under locks that let decisions be written.
"""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

_TABLE = "decision_records"
_DAYS = """
    SELECT c.relname AS name, CASE WHEN i.inhrelid IS NULL THEN 'detached' WHEN i.inhdetachpending THEN 'detaching'
                                   ELSE 'attached' END AS state
    FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
    WHERE c.relkind = 'r' AND c.relname ~ $1 AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = $2::regclass)
    ORDER BY c.relname
"""
_NAME = re.compile(_TABLE + r"_(\d{8})", re.ASCII)


class DayState(StrEnum):
    """Of a day's table: among the others, on its way out, or by itself."""

    ATTACHED = "attached"
    DETACHING = "detaching"
    DETACHED = "detached"


def first_id_at(instant: datetime) -> UUID:
    """The least id of a record of this instant: no record before it has a greater one."""
    return UUID(int=int(instant.timestamp() * 1000) << 80)


def day_of(record_id: UUID) -> date:
    """The day, in UTC, whose partition holds the record."""
    return datetime.fromtimestamp((record_id.int >> 80) / 1000, UTC).date()


def partition_of(day: date) -> str:
    """The name of the day's table."""
    return f"{_TABLE}_{day:%Y%m%d}"


async def make_partitions(connection: Any, days: Iterable[date]) -> None:
    """The days have their tables. `connection`: the driver's own, of any user that may write records."""
    for day in sorted(set(days)):
        # Only when it is missing: a new day locks the whole table for a moment.
        if await connection.fetchval("SELECT to_regclass($1)", partition_of(day)) is None:
            await connection.execute("SELECT make_decision_day($1)", day)


async def days_of(connection: Any) -> dict[date, DayState]:
    """Every day that has a table, the oldest first."""
    rows = await connection.fetch(_DAYS, f"^{_NAME.pattern}$", _TABLE)
    return {
        datetime.strptime(found[1], "%Y%m%d").replace(tzinfo=UTC).date(): DayState(row["state"])
        for row in rows
        if (found := _NAME.fullmatch(row["name"])) is not None
    }


async def detach_partition(connection: Any, day: date, state: DayState) -> None:
    """The day's table is by itself. Decisions are written meanwhile; it waits for whoever still reads the day.

    Ends early, with a database error, by the connection's own timeouts; then the day is on its way out, and this goes on.
    """
    name = partition_of(day)
    if state is DayState.ATTACHED:
        await connection.execute(f"ALTER TABLE {_TABLE} DETACH PARTITION {name} CONCURRENTLY")
    elif state is DayState.DETACHING:
        await connection.execute(f"ALTER TABLE {_TABLE} DETACH PARTITION {name} FINALIZE")
