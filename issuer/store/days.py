"""Days of decisions on their way into files and out of the database: one connection, and one such in all replicas.

What was exported is remembered before anything is dropped, together with the last record of each chain in it, from which on the
chain goes on. Every step can be repeated: a crash anywhere leaves something for the next one to go on with.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import asyncpg

from issuer.record.chain import ChainedRecord, Link
from issuer.record.checkpoint import Export
from issuer.settings import DatabaseSettings
from issuer.store.database import connect, database_errors
from issuer.store.evidence import chained_record
from issuer.store.partitions import DayState, days_of, detach_partition, make_partitions, partition_of

_LOCK = 0x1550E764617973
"""Any number nobody else uses."""
_PATIENCE_S = 600
"""A day may have tens of millions of records."""
_LOCK_TIMEOUT = "2s"
_READ = 2_000

_NOTE_EXPORT = """
    INSERT INTO record_exports (name, day, records, sha256) VALUES ($1, $2, $3, $4)
    ON CONFLICT (name) DO UPDATE SET records = excluded.records, sha256 = excluded.sha256, exported_at = now(), stated = NULL
"""
_NOTE_DROPPED = (
    "UPDATE record_chains SET dropped_sequence = $2, dropped_mac = $3 WHERE writer = $1 AND dropped_sequence < $2"
)
# Chains of which nothing is left: whoever writes to one tells its head all the time.
_FORGET_CHAINS = "DELETE FROM record_chains WHERE sequence <= dropped_sequence AND told_at < $1 AND writer <> $2"


@dataclass(frozen=True, slots=True)
class OpenExport:
    """A day that was exported and is still in the database. `stated`: a checkpoint names it."""

    name: str
    records: int
    stated: bool


class Days:
    """What the controller of days asks of the database. Everything raises DatabaseUnavailable."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def alone(cls, url: str, settings: DatabaseSettings) -> AsyncIterator["Days | None"]:
        """The days, for as long as nobody else has them; None: somebody has."""
        patient = settings.model_copy(update={"statement_timeout_s": _PATIENCE_S})
        with database_errors():
            connection = await connect(url, patient, "issuer days")
            try:
                mine = await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK)
                await connection.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
                yield cls(connection) if mine else None
            finally:
                with suppress(asyncpg.InterfaceError):
                    connection.terminate()

    async def make(self, days: Sequence[date]) -> None:
        """The days have their tables."""
        await make_partitions(self._connection, days)

    async def all(self) -> dict[date, DayState]:
        """Every day there is, the oldest first."""
        return await days_of(self._connection)

    async def read(self, day: date) -> AsyncIterator[list[ChainedRecord]]:
        """The day's records by their ids, in batches; all of one instant."""
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            cursor = await self._connection.cursor(f"SELECT * FROM {partition_of(day)} ORDER BY id")  # noqa: S608 - our name
            while rows := await cursor.fetch(_READ):
                yield [chained_record(row) for row in rows]

    async def count(self, day: date) -> int:
        """How many records the day has."""
        return int(await self._connection.fetchval(f"SELECT count(*) FROM {partition_of(day)}"))  # noqa: S608 - our name

    async def names_of(self, day: date) -> tuple[list[str], OpenExport | None]:
        """The files of the day that nothing may be written into any more, and the one whose records are still here."""
        rows = await self._connection.fetch(
            "SELECT name, records, stated, dropped_at FROM record_exports WHERE day = $1 ORDER BY exported_at, name",
            day,
        )
        still_here = [row for row in rows if row["dropped_at"] is None]
        export = still_here[0] if still_here else None
        return (
            [row["name"] for row in rows if row["dropped_at"] is not None],
            OpenExport(export["name"], export["records"], export["stated"] is not None) if export is not None else None,
        )

    async def note_export(self, day: date, export: Export, last: Mapping[UUID, Link]) -> None:
        """The file exists; each chain goes on after the last record in it."""
        async with self._connection.transaction():
            await self._connection.execute(_NOTE_EXPORT, export.name, day, export.records, export.sha256)
            await self._connection.executemany(_NOTE_DROPPED, [tuple(last[writer]) for writer in sorted(last)])

    async def detach(self, day: date, state: DayState) -> bool:
        """The day is by itself: nothing comes to it any more, and no query over all days sees it. False: somebody reads it."""
        try:
            await detach_partition(self._connection, day, state)
        except asyncpg.LockNotAvailableError:
            return False
        return True

    async def drop(self, day: date, name: str | None) -> None:
        """The detached day is gone, and its export says so."""
        async with self._connection.transaction():
            await self._connection.execute(f"DROP TABLE {partition_of(day)}")
            await self._connection.execute("UPDATE record_exports SET dropped_at = now() WHERE name = $1", name)

    async def forget_chains(self, told_before: datetime, but: UUID) -> None:
        """Chains of which every record was dropped, and of whose writers nothing was heard since, are not kept."""
        await self._connection.execute(_FORGET_CHAINS, told_before, but)
