"""Decisions as they are written: by COPY, a batch a transaction, over a connection that does nothing else."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

import asyncpg

from issuer.record.chain import ChainedRecord, Link
from issuer.settings import DatabaseSettings
from issuer.store.database import connect, database_errors
from issuer.store.partitions import day_of, make_partitions
from issuer.store.tables import decision_records

WRITERS = 2
"""Connections over which one process writes its decisions, each a chain of its own."""

_TABLE = decision_records.name
_COLUMNS = tuple(column.name for column in decision_records.columns)
_REPLAY_TABLE = "CREATE TEMPORARY TABLE IF NOT EXISTS replayed (LIKE decision_records) ON COMMIT DELETE ROWS"
# No order of the columns is relied upon: LIKE keeps it.
_REPLAY = "INSERT INTO decision_records SELECT * FROM replayed ON CONFLICT DO NOTHING"
_BEGIN_CHAIN = """
    INSERT INTO record_chains (writer, key_id, host, sequence, mac) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
"""
_TELL_HEAD = """
    UPDATE record_chains SET sequence = $2, mac = $3, ended = $4, told_at = now() WHERE writer = $1 AND sequence <= $2
"""


class DecisionWriter:
    """One connection that writes decisions. Everything raises DatabaseUnavailable; after that it is of no more use."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, url: str, settings: DatabaseSettings) -> Self:
        """Connects to the primary."""
        with database_errors():
            return cls(await connect(url, settings, "issuer record"))

    async def begin_chain(self, first: Link, key_id: str, host: str) -> None:
        """Makes the chain known, before the first record of it."""
        with database_errors():
            await self._connection.execute(_BEGIN_CHAIN, first.writer, key_id, host, first.sequence, first.mac)

    async def tell_head(self, head: Link, *, ended: bool = False) -> None:
        """Says how far a chain has come, never less than was said before."""
        with database_errors():
            await self._connection.execute(_TELL_HEAD, head.writer, head.sequence, head.mac, ended)

    async def write(self, batch: Sequence[ChainedRecord]) -> None:
        """Commits records that were never written before, in one transaction. The day's partition is made if it is missing."""
        rows = [(*record, *link) for record, link in batch]
        with database_errors():
            try:
                await self._copy(_TABLE, rows)
            except asyncpg.CheckViolationError:
                await self._make_days(batch)
                await self._copy(_TABLE, rows)

    async def replay(self, batch: Sequence[ChainedRecord]) -> None:
        """Commits records of one writer that may have been committed already: those are left as they are.

        Their head is told with them: whoever spooled them may be gone, and their ids are of long ago.
        """
        rows = [(*record, *link) for record, link in batch]
        head = batch[-1].link
        with database_errors():
            await self._make_days(batch)
            async with self._connection.transaction():
                await self._connection.execute(_REPLAY_TABLE)
                await self._copy("replayed", rows)
                await self._connection.execute(_REPLAY)
                await self._connection.execute(_TELL_HEAD, head.writer, head.sequence, head.mac, False)  # noqa: FBT003

    def close(self) -> None:
        """Ends the connection without waiting for a good-bye."""
        with suppress(asyncpg.InterfaceError):
            self._connection.terminate()

    async def _copy(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        await self._connection.copy_records_to_table(table, records=rows, columns=_COLUMNS)

    async def _make_days(self, batch: Sequence[ChainedRecord]) -> None:
        await make_partitions(self._connection, {day_of(record.id) for record, _ in batch})
