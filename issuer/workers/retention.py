"""How long the record is kept: days are made before they come, and leave when their time is over, but never without a file.

    exported to a file ─▶ remembered, with the last record of each chain ─▶ stated in a checkpoint ─▶ detached ─▶ dropped

Any replica may do it, one at a time does. After a crash the next one goes on where it was: a file that is not remembered is
written again; a day that is, and that somebody brought late records to meanwhile, too.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

from issuer.administration.checkpoints import Checkpoints
from issuer.durable import whole_file
from issuer.events import AdminRecordsDropped, DayDropped, DayExported, DayKept, Emit
from issuer.record.administrative import ADMIN_CHAIN
from issuer.record.chain import Link
from issuer.record.checkpoint import Export
from issuer.record.lines import day_file, to_line
from issuer.settings import AuditSettings
from issuer.store.clock import Clock
from issuer.store.database import Database
from issuer.store.days import Days, OpenExport
from issuer.store.partitions import DayState
from issuer.store.seals import delete_dropped, move_admin_start

DAYS_AHEAD = 3
"""So long nobody may be able to make a day, and decisions are still written."""
_QUIET = timedelta(days=2)
"""A chain of which nothing was heard for so long, after its last day was dropped, has nobody writing to it."""

Alone: TypeAlias = Callable[[], AbstractAsyncContextManager[Days | None]]
"""The days, for one replica at a time."""


class Retention:
    """The controller of days, and of administrative records whose time is over."""

    def __init__(
        self,
        alone: Alone,
        database: Database,
        checkpoints: Checkpoints,
        settings: AuditSettings,
        clock: Clock,
        emit: Emit,
    ) -> None:
        self._alone = alone
        self._database = database
        self._checkpoints = checkpoints
        self._settings = settings
        self._clock = clock
        self._emit = emit
        self._kept: DayKept | None = None

    async def keep_days(self) -> None:
        """Makes the days to come and drops those whose time is over. Raises DatabaseUnavailable."""
        now = await self._now()
        keep = timedelta(days=self._settings.keep_decisions_days)
        async with self._alone() as days:
            if days is None:
                return
            await days.make([now.date() + timedelta(days=more) for more in range(DAYS_AHEAD + 1)])
            for day, state in (await days.all()).items():
                if day >= (now - keep).date() or not await self._drop(days, day, state):
                    break
            await days.forget_chains(now - keep - _QUIET, but=ADMIN_CHAIN)

    async def drop_admin_records(self) -> None:
        """Deletes administrative records whose time is over, in batches, and checkpoints. Raises DatabaseUnavailable."""
        over = await self._now() - timedelta(days=self._settings.keep_admin_days)
        more, dropped = True, 0
        while more:
            async with self._database.transaction() as connection:
                more = await move_admin_start(connection, over)
            # Also where the start was moved by somebody who came no further.
            await self._checkpoints.sign()
            async with self._database.transaction() as connection:
                deleted = await delete_dropped(connection)
            dropped += deleted
            more = more and deleted > 0
        if dropped:
            self._emit(AdminRecordsDropped(dropped))
        await self._checkpoints.forget()

    async def _now(self) -> datetime:
        async with self._database.transaction() as connection:
            return await self._clock(connection)

    async def _drop(self, days: Days, day: date, state: DayState) -> bool:
        """Whether the day is gone. Every round takes one step, and looks again."""
        while True:
            done, export = await days.names_of(day)
            records = await days.count(day)
            if records and (export is None or (state is DayState.DETACHED and records != export.records)):
                if not await self._export(days, day, done, export):
                    return False
            elif export is not None and not export.stated:
                await self._checkpoints.sign()
            elif state is not DayState.DETACHED:
                if not await days.detach(day, state):
                    self._keep(day, "somebody reads it; it goes once they have finished")
                    return False
                state = DayState.DETACHED
            else:
                await days.drop(day, export.name if export is not None else None)
                self._emit(DayDropped(day.isoformat(), records))
                return True

    async def _export(self, days: Days, day: date, done: list[str], export: OpenExport | None) -> bool:
        """Whether the day is in a file, of a name that no file of what is dropped has."""
        folder = self._settings.export_dir
        if folder is None:
            self._keep(day, "audit.export_dir is not set, and nothing is dropped that is in no file")
            return False
        path = folder / (export.name if export is not None else day_file(day, len(done) + 1))
        try:
            made, last = await _write(days, day, path)
        except OSError as error:
            self._keep(day, f"{path} cannot be written: {error.strerror}")
            return False
        await days.note_export(day, made, last)
        self._emit(DayExported(day.isoformat(), str(path), made.records, made.sha256.hex()))
        return True

    def _keep(self, day: date, why: str) -> None:
        """Says why a day stays, once."""
        kept = DayKept(day.isoformat(), why)
        if kept != self._kept:
            self._kept = kept
            self._emit(kept)


async def _write(days: Days, day: date, path: Path) -> tuple[Export, dict[UUID, Link]]:
    """The day as a file, and the last record of each chain in it. Raises OSError."""
    last: dict[UUID, Link] = {}
    records = 0
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with whole_file(path) as file:
        async for batch in days.read(day):
            await asyncio.to_thread(file.write, b"".join(map(to_line, batch)))
            last.update((each.link.writer, each.link) for each in batch)
            records += len(batch)
        made = Export(path.name, records, file.sha256)
    return made, last
