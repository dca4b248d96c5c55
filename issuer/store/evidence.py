"""All that verifying and exporting reads: of one instant, by a cursor of the server's, in batches, and nothing is changed."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

import asyncpg

from issuer.record.administrative import ADMIN_CHAIN, AdministrativeRecord
from issuer.record.chain import ChainedRecord, Link
from issuer.record.decision import DecisionRecord
from issuer.record.statements import StoredCheckpoint
from issuer.record.verifying import ToldChain
from issuer.settings import DatabaseSettings
from issuer.store.auditkeys import StoredAuditKey
from issuer.store.database import connect, database_errors
from issuer.store.partitions import first_id_at
from issuer.store.tables import decision_records

_BATCH = 2_000
_COLUMNS = ", ".join(f'"{column.name}"' for column in decision_records.columns)
_FIELDS = len(DecisionRecord._fields)
_GREATEST_ID = UUID(int=(1 << 128) - 1)
_CHECKPOINT = 'SELECT number, at, "full", text FROM checkpoints'
_SEALED = """
    SELECT s.sequence, s.mac, s.record_id,
           a.id, a.at, a.revision, a.principal::text, a.verb, a.kind, a.namespace, a.name, a.uid,
           a.before::text, a.after::text, a.note::text
    FROM audit_seals s LEFT JOIN audit_records a ON a.id = s.record_id WHERE s.sequence > $1 ORDER BY s.sequence
"""
# What the sealer does not look for any more; and what it will seal in a moment is none of it.
_NEVER_SEALED = """
    SELECT a.id, a.revision FROM audit_records a, (SELECT revision_reached, sealed_at FROM audit_seals
                                                   ORDER BY sequence DESC LIMIT 1) AS last
    WHERE NOT EXISTS (SELECT FROM audit_seals s WHERE s.record_id = a.id)
      AND CASE WHEN a.revision IS NULL THEN a.at < last.sealed_at - $1::interval
               ELSE a.revision <= last.revision_reached END
    ORDER BY a.id
"""


def chained_record(row: Any) -> ChainedRecord:
    """The record of a row that has all columns, in their order."""
    return ChainedRecord(DecisionRecord(*row[:_FIELDS]), Link(*row[_FIELDS:]))


class Evidence:
    """One look at the record. Everything raises DatabaseUnavailable."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def at_one_instant(cls, url: str, settings: DatabaseSettings) -> AsyncIterator[Self]:
        """Opens it. No day is dropped until it is closed, which whoever drops days waits for and does not insist on."""
        with database_errors():
            connection = await connect(url, settings, "issuer audit")
            try:
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    # Before the first query: what is seen from then on is what is locked.
                    await connection.execute(
                        "LOCK TABLE decision_records, audit_records, audit_seals IN ACCESS SHARE MODE"
                    )
                    yield cls(connection)
            finally:
                with suppress(asyncpg.InterfaceError):
                    connection.terminate()

    async def keys(self) -> list[StoredAuditKey]:
        """All keys of the record, sealed."""
        rows = await self._connection.fetch("SELECT id, purpose, public_jwk, sealed FROM audit_keys")
        return [
            StoredAuditKey(id_, purpose, json.loads(jwk) if jwk else None, sealed) for id_, purpose, jwk, sealed in rows
        ]

    async def chains(self) -> dict[UUID, ToldChain]:
        """What is known of each chain, by its writer."""
        rows = await self._connection.fetch(
            "SELECT writer, key_id, sequence, mac, ended, stated_sequence FROM record_chains"
        )
        return {
            writer: ToldChain(key_id, Link(writer, sequence, mac), ended, stated)
            for writer, key_id, sequence, mac, ended, stated in rows
        }

    async def newest_checkpoint(self) -> StoredCheckpoint | None:
        """The one with the greatest number."""
        row = await self._connection.fetchrow(f"{_CHECKPOINT} ORDER BY number DESC LIMIT 1")
        return StoredCheckpoint(*row) if row is not None else None

    async def checkpoints(self) -> AsyncIterator[StoredCheckpoint]:
        """All of them, by number."""
        async for rows in self._batches(f"{_CHECKPOINT} ORDER BY number"):
            for row in rows:
                yield StoredCheckpoint(*row)

    async def decisions(self, since: datetime | None, until: datetime | None) -> AsyncIterator[list[ChainedRecord]]:
        """Decisions from one instant on and before another, by their ids, in batches."""
        statement = f"SELECT {_COLUMNS} FROM decision_records WHERE id >= $1 AND id < $2 ORDER BY id"  # noqa: S608 - our names
        first = first_id_at(since) if since is not None else UUID(int=0)
        after = first_id_at(until) if until is not None else _GREATEST_ID
        async for rows in self._batches(statement, first, after):
            yield [chained_record(row) for row in rows]

    async def sealed(self, after: int) -> AsyncIterator[tuple[Link, UUID, AdministrativeRecord | None]]:
        """Administrative records by their seals, from one seal on; None for a record that is gone."""
        async for rows in self._batches(_SEALED, after):
            for sequence, mac, record_id, *fields in rows:
                record = AdministrativeRecord(*fields) if fields[0] is not None else None
                yield Link(ADMIN_CHAIN, sequence, mac), record_id, record

    async def never_sealed(self, latest: timedelta) -> AsyncIterator[tuple[UUID, int | None]]:
        """Administrative records without a seal that should have one; without a revision, those `latest` before the newest."""
        async for rows in self._batches(_NEVER_SEALED, latest):
            for record_id, revision in rows:
                yield record_id, revision

    async def _batches(self, statement: str, *values: Any) -> AsyncIterator[list[Any]]:
        cursor = await self._connection.cursor(statement, *values)
        while rows := await cursor.fetch(_BATCH):
            yield rows
