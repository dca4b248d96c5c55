"""Accounts read from the database: what is asked for in one tick by one query, each id once however many ask.

House rules: an id is read by one query at a time; a batch waits `PACE_S` after the one before it was sent and never for its
answer, so that a query that hangs holds up nobody but itself; what was invalidated while it was read is read again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from itertools import islice
from typing import TypeAlias
from uuid import UUID

from issuer.snapshot import Account
from issuer.store.database import DatabaseUnavailable

LoadAccounts: TypeAlias = Callable[[Sequence[UUID]], Awaitable[Mapping[UUID, Account]]]
"""Those of the accounts that exist, by one query. Raises DatabaseUnavailable."""
Learn: TypeAlias = Callable[[UUID, Account | None, float], None]
"""Told what was read of an id, and when that read began."""

MAX_BATCH = 1_000
MAX_BATCHES = 4
"""Queries at a time; each holds a connection."""
PACE_S = 0.02
"""At least so much between two queries: a flood of strangers costs 50 of them a second and no more."""

_Batch: TypeAlias = dict[UUID, "asyncio.Future[Account | None]"]
_Absent: TypeAlias = tuple[UUID, "asyncio.Future[Account | None]", float]
"""Whom a query did not find, who waits for it, and when it began."""


class Lookups:
    """The queue of ids to be read, and those being read. Used from one event loop."""

    def __init__(self, load: LoadAccounts, learn: Learn, clock: Callable[[], float]) -> None:
        self._load = load
        self._learn = learn
        self._clock = clock
        self._queue: _Batch = {}
        self._under_way: _Batch = {}
        self._outdated: set[UUID] = set()
        self._free = asyncio.Semaphore(MAX_BATCHES)
        self._sending = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.queries = 0
        """How many were sent."""

    def is_under_way(self, uid: UUID) -> bool:
        """Whether the id is being read by a query that was sent already."""
        return uid in self._under_way

    async def read(self, uid: UUID) -> Account | None:
        """The account as the query finds it that is under way or comes next. Raises what the query raises."""
        future = self._under_way.get(uid) or self._queue.get(uid)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            self._enqueue(uid, future)
        return await asyncio.shield(future)  # who stops waiting takes the others nothing

    def outdate(self, uids: Iterable[UUID]) -> None:
        """What is being read of these is to be read again."""
        self._outdated.update(uid for uid in uids if uid in self._under_way)

    def outdate_all(self) -> None:
        """Whatever is being read is to be read again."""
        self._outdated.update(self._under_way)

    def _enqueue(self, uid: UUID, future: "asyncio.Future[Account | None]") -> None:
        self._queue[uid] = future
        if not self._sending:
            self._sending = True
            self._start(self._send())

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self) -> None:
        """Runs while there is a queue. It begins a tick after the first of it: what comes in that tick goes along."""
        while self._queue:
            await self._free.acquire()
            batch = dict(islice(self._queue.items(), MAX_BATCH))
            for uid in batch:
                del self._queue[uid]
            self._under_way |= batch
            self._start(self._read(batch))
            await asyncio.sleep(PACE_S)
        self._sending = False

    async def _read(self, batch: _Batch) -> None:
        try:
            absent = await self._answer(batch)
        finally:
            self._free.release()
        # One after another: who arrives meanwhile is held up by one stranger, not by all of them.
        for uid, future, begun in absent:
            self._resolve(uid, future, None, begun)
            await asyncio.sleep(0)

    async def _answer(self, batch: _Batch) -> list[_Absent]:
        """Whoever exists has been answered; those left are nobody."""
        begun = self._clock()
        self.queries += 1
        try:
            found = await self._load(list(batch))
        except Exception as error:  # noqa: BLE001 - whoever waits for it reports it
            if len(batch) > 1 and not isinstance(error, DatabaseUnavailable):
                # One row that cannot be read must not cost the others of its batch their tokens.
                return [absent for each in batch.items() for absent in await self._answer(dict([each]))]
            for uid, future in batch.items():
                self._end(uid)
                future.set_exception(error)
                future.exception()  # nobody may be waiting any more
            return []
        for uid, account in found.items():
            self._resolve(uid, batch[uid], account, begun)
        return [(uid, future, begun) for uid, future in batch.items() if uid not in found]

    def _resolve(
        self, uid: UUID, future: "asyncio.Future[Account | None]", account: Account | None, begun: float
    ) -> None:
        if self._end(uid):
            self._enqueue(uid, future)
        else:
            self._learn(uid, account, begun)
            future.set_result(account)

    def _end(self, uid: UUID) -> bool:
        """The read of this id is over; whether it has to be repeated."""
        del self._under_way[uid]
        outdated = uid in self._outdated
        self._outdated.discard(uid)
        return outdated
