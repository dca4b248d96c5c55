"""Refusals: of an account each one is recorded, of strangers there are only numbers, so that they cannot make us write.

A minute has so many keys (reason, known client or `unknown`, network) in each process; all others of it are one `other` for
each reason. Every few seconds the numbers of the minute so far are written over those from before. While the database is away
they wait, MAX_KEYS at most: then what comes is counted under `other` of the minute in which that happened.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from issuer.events import TokenRefused
from issuer.protocol.source import network_of
from issuer.sources import Sources
from issuer.store.database import Database, DatabaseUnavailable
from issuer.store.refusals import MAX_KEYS_A_MINUTE, RefusalKey, save_counts

MAX_KEYS = 10_000
FLUSH_S = 5.0
OTHER, UNKNOWN = "other", "unknown"

Record: TypeAlias = Callable[[TokenRefused], None]


class Refusals:
    """One process's refusals. `record` takes those of accounts."""

    def __init__(self, record: Record, database: Database, sources: Sources) -> None:
        self._record = record
        self._database = database
        self._sources = sources
        self._writer: UUID = sources.uid()
        self._counts: Counter[RefusalKey] = Counter()
        self._changed: set[RefusalKey] = set()
        self._minute: datetime | None = None
        self._keys_of_minute = 0

    def note(self, refused: TokenRefused) -> None:
        """Takes note of a refusal, without waiting."""
        if refused.caller is not None:
            return self._record(refused)
        key = self._key(refused)
        if key not in self._counts:
            self._keys_of_minute += 1
        self._counts[key] += 1
        self._changed.add(key)
        return None

    async def run(self) -> None:
        """Writes what was counted now and then, until the process ends."""
        while True:
            await asyncio.sleep(FLUSH_S)
            with suppress(DatabaseUnavailable):
                await self.flush()

    async def flush(self) -> None:
        """What was counted is written, and forgotten when its minute is over. Raises DatabaseUnavailable."""
        changed = {key: self._counts[key] for key in self._changed}
        if changed:
            async with self._database.transaction() as connection:
                await save_counts(connection, self._writer, changed)
        self._changed -= {key for key, count in changed.items() if self._counts[key] == count}
        for key in [key for key in self._counts if key.minute != self._minute and key not in self._changed]:
            del self._counts[key]

    def _key(self, refused: TokenRefused) -> RefusalKey:
        minute = self._sources.now().replace(second=0, microsecond=0)
        room = len(self._counts) < MAX_KEYS
        # No minute comes again, whatever the clock does: its numbers may be written and forgotten.
        if self._minute is None or (minute > self._minute and room):
            self._minute, self._keys_of_minute = minute, 0
        key = RefusalKey(
            self._minute, refused.failure, refused.client_id or UNKNOWN, network_of(refused.source) or UNKNOWN
        )
        if key in self._counts or (room and self._keys_of_minute < MAX_KEYS_A_MINUTE):
            return key
        return RefusalKey(self._minute, refused.failure, OTHER, OTHER)
