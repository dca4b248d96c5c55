"""The record: no token leaves before what it says is durable. Requests in flight share one commit (group commit).

    waiting ─▶ take a batch ─▶ chain it ─▶ COPY ─▶ let its tokens go
                                             │ not committed after COMMIT_S: an outage
                                             ├─ refuse: its tokens and all that come get 503, until this very batch is committed
                                             └─ spool: batches are fsynced to disk and their tokens go; replayed when it is over

One batch is on its way at a time; what comes meanwhile is the next one, so that no chain ever has a hole. Refusals of accounts
are recorded the same way, and nobody waits for them.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from issuer.events import (
    DecisionsNotRecorded,
    DecisionsRecorded,
    Emit,
    RecordsDurable,
    RecordsNotDurable,
    SpoolAdopted,
    SpoolFailed,
    TokenIssued,
    TokenRefused,
    WorkFailed,
    place_of,
)
from issuer.failures import Failure, Refusal
from issuer.record.chain import ChainedRecord, Link, first_link, next_link
from issuer.record.decision import Decided, record_of
from issuer.record.ids import RecordIds
from issuer.sources import Sources
from issuer.store.database import DatabaseUnavailable
from issuer.workers.shipping import RETRY_S, Access, Shipping
from issuer.workers.spool import Spool, orphans

COMMIT_S = 1.0
"""A batch that is not committed by then is an outage."""
MAX_BATCH = 512
MAX_WAITING = 4_096
"""Decisions that wait for their batch. Beyond that a token is refused with 503, and a refusal is only counted."""
TELL_S = 30.0
"""How often a chain's head is told, and spools that others left behind are looked for."""
_REPLAY_BATCH = 1_000
_NOT_OPEN = "the record is not open yet"

_Waiting: TypeAlias = tuple[Decided, datetime, "asyncio.Future[None] | None"]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Decisions that become durable together, and the chain's head before them."""

    waiting: Sequence[_Waiting]
    before: Link
    rows: Sequence[ChainedRecord]

    def release(self) -> None:
        """Its tokens may go."""
        for _, _, token in self.waiting:
            if token is not None and not token.done():
                token.set_result(None)


def _refuse(waiting: Iterable[_Waiting], why: str) -> None:
    for _, _, token in waiting:
        if token is not None and not token.done():
            token.set_exception(Refusal(Failure.RECORD_NOT_DURABLE, why))


class _Patience:
    """With a commit, for COMMIT_S; then `bridge` begins, which is told by a future when the commit has ended after all.

    A timer and no task around the commit: tokens go in the very turn of the event loop in which the database has answered, and
    not some turns later, each of which strangers may have filled.
    """

    def __init__(self, bridge: "Callable[[asyncio.Future[None]], Coroutine[Any, Any, None]]") -> None:
        loop = asyncio.get_running_loop()
        self._bridge = bridge
        self._written: asyncio.Future[None] = loop.create_future()
        self._bridging: asyncio.Task[None] | None = None
        self._late = loop.call_later(COMMIT_S, self._begin)

    def _begin(self) -> None:
        self._bridging = asyncio.create_task(self._bridge(self._written))

    async def end(self) -> None:
        """The commit has ended, and whatever was begun meanwhile has."""
        self._late.cancel()
        self._written.set_result(None)
        if self._bridging is not None:
            await self._bridging

    def cancel(self) -> None:
        """Nobody waits any more."""
        self._late.cancel()
        if self._bridging is not None:
            self._bridging.cancel()


class Recorder:
    """One worker's record, as a chain of its own. `spool_folder` None: an outage refuses tokens."""

    def __init__(self, access: Access, sources: Sources, emit: Emit, spool_folder: Path | None = None) -> None:
        self._access = access
        self._shipping = Shipping(access, emit)
        self._sources = sources
        self._emit = emit
        self._spool_folder = spool_folder
        self._spool: Spool | None = None
        self._ids = RecordIds(sources.random_bytes)
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._key = b""
        self._head: Link | None = None
        self._told_at_s = 0.0
        self._not_recorded = 0
        self._why_not: str | None = None

    @property
    def idle(self) -> bool:
        """Whether the next decision is written at once."""
        return not self._waiting and self._settled.is_set()

    @property
    def why_not_durable(self) -> str | None:
        """None while decisions become durable, in the database or in the spool; else why no token can be issued."""
        return self._why_not

    async def record(self, issued: TokenIssued) -> None:
        """Ends when the token is on record. Raises Refusal (503) when that cannot be, or not in time."""
        if self._head is None or self._why_not is not None:
            raise Refusal(Failure.RECORD_NOT_DURABLE, self._why_not or _NOT_OPEN)
        if len(self._waiting) >= MAX_WAITING:
            raise Refusal(Failure.RECORD_NOT_DURABLE, "too many decisions wait to be recorded")
        token = asyncio.get_running_loop().create_future()
        self._waiting.append((issued, self._sources.now(), token))
        self._wake.set()
        await token

    def note(self, refused: TokenRefused) -> None:
        """Records the refusal of an account, without waiting; those of strangers are no decisions about anybody."""
        if refused.caller is None:
            return
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append((refused, self._sources.now(), None))
            self._wake.set()
        else:
            self._not_recorded += 1
            self._wake.set()

    async def run(self) -> None:
        """Writes what waits, until the process ends."""
        try:
            while not await self.open():  # noqa: ASYNC110 - nobody tells when the database is there
                await asyncio.sleep(RETRY_S)
            while True:
                if not self._waiting:
                    self._settled.set()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(TELL_S):
                            await self._wake.wait()
                self._wake.clear()
                if self._waiting:
                    self._settled.clear()
                    await self._keep(self._next_batch())
                self._own_up()
                await self._tell_now_and_then()
        finally:
            self._shipping.close()
            if self._spool is not None:
                # What is in it is adopted by whoever comes next.
                self._spool.close(remove=self._spool.end == self._spool.start)

    async def finish(self) -> None:
        """Ends when nothing waits any more; the chain is then known to have ended in order, the database willing."""
        if self._head is not None:
            if self._waiting:
                self._settled.clear()
            await self._settled.wait()
            with suppress(DatabaseUnavailable):
                await self._shipping.tell_head(self._head, ended=True)

    async def open(self) -> bool:
        """Begins the chain, once. Whether it could; else `why_not_durable` says what is missing."""
        if self._head is None:
            self._why_not = _NOT_OPEN
            try:
                await self._open()
            except DatabaseUnavailable as error:
                self._why_not = f"the record cannot be opened: {error}"
            except OSError as error:
                self._why_not = f"the spool cannot be opened: {error.strerror}"
            else:
                self._why_not = None
        return self._head is not None

    async def _open(self) -> None:
        """Begins the chain. Raises DatabaseUnavailable, OSError."""
        key_id, key = await self._access.chain_key()
        first = first_link(key, self._sources.uid())
        await self._shipping.begin_chain(first, key_id)
        if self._spool_folder is not None:
            await self._adopt_orphans(self._spool_folder)
            self._spool = Spool.create(self._spool_folder, first.writer)
        self._key, self._told_at_s, self._head = key, self._sources.elapsed_s(), first

    def _next_batch(self) -> _Batch:
        return self._chained([self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))])

    def _chained(self, waiting: Sequence[_Waiting]) -> _Batch:
        """The decisions as records, each with the next place in this chain."""
        assert self._head is not None  # noqa: S101 - nothing waits before the chain has begun
        before = head = self._head
        rows = []
        for event, at, _ in waiting:
            record = record_of(event, self._ids.next(at), at)
            head = next_link(self._key, head, record)
            rows.append(ChainedRecord(record, head))
        self._head = head
        return _Batch(waiting, before, rows)

    async def _keep(self, batch: _Batch) -> None:
        """Ends when the batch is in the database, and whatever else came to wait for that."""
        since_s = self._sources.elapsed_s()
        patience = _Patience(lambda written: self._bridge(batch, written))
        rejection: Exception | None = None
        try:
            try:
                await self._shipping.write(batch.rows)
            except Exception as error:  # noqa: BLE001 - the database said what it will never take
                rejection = error
            else:
                batch.release()
            await patience.end()
        finally:
            patience.cancel()
        if rejection is not None:
            await self._keep_apart(batch, rejection)
        else:
            self._emit(DecisionsRecorded(len(batch.rows), self._sources.elapsed_s() - since_s, "database"))

    async def _keep_apart(self, batch: _Batch, error: Exception) -> None:
        """A batch that was rejected, one by one, so that one decision does not take others along."""
        self._head = batch.before
        if len(batch.waiting) > 1:
            for each in batch.waiting:
                await self._keep(self._chained([each]))
        else:
            self._emit(WorkFailed("record", "", type(error).__name__, place_of(error)))
            _refuse(batch.waiting, "the database does not take its record")

    # --- an outage -------------------------------------------------------------------------------------------------------

    async def _bridge(self, batch: _Batch, written: "asyncio.Future[None]") -> None:
        """Until the database has the batch: no token, or tokens by way of the spool."""
        since_s = self._sources.elapsed_s()
        why = f"decisions cannot be committed: {self._shipping.trouble or 'no answer'}"
        self._emit(RecordsNotDurable(self._shipping.trouble or "no answer", self._spool is not None))
        if self._spool is None:
            self._why_not = why
            _refuse(batch.waiting, why)
            self._refuse_waiting(why)
            await asyncio.wait({written})
            replayed = 0
        else:
            replayed = await self._by_way_of(self._spool, batch, written)
        self._why_not = None
        self._emit(RecordsDurable(self._sources.elapsed_s() - since_s, replayed))

    async def _by_way_of(self, spool: Spool, batch: _Batch, written: "asyncio.Future[None]") -> int:
        """Spools what comes until the database has it all. How many that were."""
        if not await self._spooled(spool, batch):
            # The database may have it, so it stays in the chain; its tokens do not leave.
            _refuse(batch.waiting, "the spool takes no more")
        replaying, offset, replayed = written, spool.start, 0
        try:
            while True:
                while not replaying.done():
                    await self._spool_what_comes(spool, replaying)
                if offset == spool.end:
                    spool.empty()
                    return replayed
                rows, offset = await asyncio.to_thread(spool.read, offset, _REPLAY_BATCH)
                replayed += len(rows)
                replaying = asyncio.ensure_future(self._shipping.replay(rows))
        finally:
            replaying.cancel()

    async def _spool_what_comes(self, spool: Spool, until: "asyncio.Future[None]") -> None:
        if self._why_not is not None:
            await asyncio.wait({until}, timeout=RETRY_S)
            await self._try_room(spool)
            return
        waking = asyncio.create_task(self._wake.wait())
        waiting: set[asyncio.Future[Any]] = {until, waking}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        waking.cancel()
        self._wake.clear()
        while self._waiting and self._why_not is None:
            batch = self._next_batch()
            if not await self._spooled(spool, batch):
                self._head = batch.before
                self._waiting.extendleft(reversed(batch.waiting))
                self._refuse_waiting("the spool takes no more")

    async def _spooled(self, spool: Spool, batch: _Batch) -> bool:
        """Whether the batch is on disk; then its tokens have gone."""
        since_s = self._sources.elapsed_s()
        try:
            await asyncio.to_thread(spool.append, batch.rows)
        except OSError as error:
            self._why_not = f"the spool takes no more: {error.strerror}"
            self._emit(SpoolFailed(error.strerror or type(error).__name__))
            return False
        batch.release()
        self._emit(DecisionsRecorded(len(batch.rows), self._sources.elapsed_s() - since_s, "spool"))
        return True

    def _refuse_waiting(self, why: str) -> None:
        """No token waits any more; the refusals that do are recorded when that is possible again."""
        _refuse(self._waiting, why)
        self._waiting = deque(each for each in self._waiting if each[2] is None)

    async def _try_room(self, spool: Spool) -> None:
        with suppress(OSError):
            await asyncio.to_thread(spool.try_room)
            self._why_not = None

    # --- now and then ----------------------------------------------------------------------------------------------------

    def _own_up(self) -> None:
        """Says how many refusals found no place, once there is one again."""
        if self._not_recorded:
            self._emit(DecisionsNotRecorded(self._not_recorded))
            self._not_recorded = 0

    async def _tell_now_and_then(self) -> None:
        now_s = self._sources.elapsed_s()
        if self._head is None or now_s - self._told_at_s < TELL_S:
            return
        self._told_at_s = now_s
        with suppress(DatabaseUnavailable, OSError):
            await self._shipping.tell_head(self._head)
            if self._spool_folder is not None:
                await self._adopt_orphans(self._spool_folder)

    async def _adopt_orphans(self, folder: Path) -> None:
        """Brings into the database what processes that are gone have spooled. Raises OSError."""
        for orphan in orphans(folder):
            offset, records = orphan.start, 0
            while True:
                rows, offset = await asyncio.to_thread(orphan.read, offset, _REPLAY_BATCH)
                if not rows:
                    break
                await self._shipping.replay(rows)
                records += len(rows)
            orphan.close(remove=True)
            if records or offset != orphan.end:
                self._emit(SpoolAdopted(str(orphan.writer), records, torn=offset != orphan.end))
