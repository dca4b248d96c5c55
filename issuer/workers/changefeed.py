"""One reader of the change log for all watchers of this process.

The reader follows the revision the reloader has seen, reads each write once, and gives every watcher the line it wants, if
any: a watcher nothing happens for is never woken. One that reads too slowly is not waited for: its queue is dropped, and it
catches up from the database by itself.
"""

import asyncio
import json
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from issuer.administration.reading import MAX_WATCHES, MAX_WATCHES_PER_PRINCIPAL
from issuer.model.filters import Filter
from issuer.store.changelog import Logged, RevisionGone, read_log
from issuer.store.database import Database, DatabaseUnavailable
from issuer.store.listing import with_version

_MAX_QUEUE = 1_000
_MAX_QUEUE_BYTES = 16 * 2**20
_BATCH = 500
_AGAIN_S = 0.25


class TooManyWatches(Exception):
    """This process or this principal holds as many watches as it may."""


def event_line(kind: str, document: Mapping[str, Any]) -> bytes:
    """One line of a watch."""
    return json.dumps({"type": kind, "object": document}, ensure_ascii=False).encode() + b"\n"


class _Write:
    """A write and its lines, each made once however many watch it."""

    __slots__ = ("_lines", "logged")

    def __init__(self, logged: Logged) -> None:
        self.logged = logged
        self._lines: dict[str, bytes] = {}

    def line(self, wanted: Filter) -> bytes | None:
        """What this write is to a watcher: an object that stops matching is a DELETED, one that begins to an ADDED."""
        was, now = wanted.matches(self.logged.before), wanted.matches(self.logged.after)
        if not (was or now):
            return None
        kind = "DELETED" if not now else "MODIFIED" if was else "ADDED"
        if kind not in self._lines:
            document = self.logged.after if now else self.logged.before
            self._lines[kind] = event_line(kind, with_version(document or {}, self.logged.revision))
        return self._lines[kind]


class Watch:
    """The writes that concern one watcher, from a revision on, in order, each once."""

    def __init__(self, feed: "ChangeFeed", wanted: Filter, revision: int) -> None:
        self.wanted = wanted
        self.revision = revision
        """Everything up to here has been read."""
        self._feed = feed
        self._missed_to = feed.revision
        self._queue: deque[tuple[int, bytes]] = deque()
        self._queue_bytes = 0
        self._wake = asyncio.Event()
        self.ended = False
        self._gone = False

    async def read(self, timeout_s: float) -> bytes:
        """The lines of what was written since, empty when nothing was in `timeout_s` or the watch has ended.

        Raises RevisionGone (list again), DatabaseUnavailable.
        """
        if self._gone:
            raise RevisionGone
        if self.revision < self._missed_to:
            return await self._catch_up()
        if not self._queue and not self.ended:
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()
            if self._gone:
                raise RevisionGone
        return self._take()

    def _take(self) -> bytes:
        lines = b"".join(line for revision, line in self._queue if revision > self.revision)
        self._empty()
        self.revision = max(self.revision, self._feed.revision) if self._missed_to <= self.revision else self.revision
        return lines

    async def _catch_up(self) -> bytes:
        """A batch of what the feed does not keep for this watch: what was before it, and what it was too slow for."""
        writes, read_to = await self._feed.history(self.wanted, self.revision, self._missed_to)
        self.revision = read_to
        return b"".join(line for write in writes if (line := write.line(self.wanted)) is not None)

    def bookmark(self) -> bytes:
        """How far this watch is: everything up to here was in the lines it gave."""
        kind = self.wanted.kind
        metadata = {"resourceVersion": str(self.revision)}
        return event_line("BOOKMARK", {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata})

    def offer(self, write: _Write) -> None:
        """Called by the feed for every write that may concern this watch."""
        line = write.line(self.wanted)
        if line is None:
            return
        too_slow = len(self._queue) >= _MAX_QUEUE or self._queue_bytes >= _MAX_QUEUE_BYTES
        if self._missed_to > self.revision or too_slow:
            self._empty()
            self._missed_to = write.logged.revision
        else:
            self._queue.append((write.logged.revision, line))
            self._queue_bytes += len(line)
        self._wake.set()

    def _empty(self) -> None:
        self._queue.clear()
        self._queue_bytes = 0

    def end(self, *, gone: bool) -> None:
        """Nothing more comes. `gone`: what the watcher knows is not to be trusted any more."""
        self.ended, self._gone = True, gone
        self._wake.set()


class ChangeFeed:
    """Follows the change log while anybody watches. `follow` is told how far it may read, `run` reads."""

    def __init__(self, database: Database) -> None:
        self.revision = 0
        """Every watch has been offered everything up to here."""
        self._database = database
        self._target = 0
        self._news = asyncio.Event()
        self._watches: dict[str, set[Watch]] = defaultdict(set)
        self._held: Counter[str] = Counter()
        self._ended = False

    def require_room(self, principal: str) -> None:
        """Raises TooManyWatches when `principal`, or everybody together, holds as many as may be."""
        if self._held[principal] >= MAX_WATCHES_PER_PRINCIPAL or self._held.total() >= MAX_WATCHES:
            raise TooManyWatches

    @contextmanager
    def watching(self, principal: str, wanted: Filter, revision: int) -> Iterator[Watch]:
        """A watch from `revision` on, held by `principal`. Raises TooManyWatches."""
        self.require_room(principal)
        watch = Watch(self, wanted, revision)
        if self._ended:
            watch.end(gone=False)
        watches = self._watches[wanted.kind.kind]
        watches.add(watch)
        self._held[principal] += 1
        try:
            yield watch
        finally:
            watches.discard(watch)
            self._held[principal] -= 1
            if not self._held[principal]:
                del self._held[principal]

    def follow(self, revision: int) -> None:
        """The log is complete up to here."""
        self._target = revision
        self._news.set()

    def replaced(self, revision: int) -> None:
        """The database is another one: what every watcher knows may never have happened in it."""
        self._end_all(gone=True)
        self.revision = self._target = revision

    def end(self) -> None:
        """Ends every watch, and those that come: the process stops."""
        self._ended = True
        self._end_all(gone=False)

    def _end_all(self, *, gone: bool) -> None:
        for watches in self._watches.values():
            for watch in watches:
                watch.end(gone=gone)

    async def run(self) -> None:
        """Reads for ever. While the database is away watchers wait."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self.catch_up()
            except DatabaseUnavailable:
                await asyncio.sleep(_AGAIN_S)
                self._news.set()

    async def catch_up(self) -> None:
        """Offers every watch what was written up to where `follow` allows. Raises DatabaseUnavailable."""
        while self.revision < self._target:
            target = self._target
            if not self._held:
                self.revision = target
                return
            begun = self.revision
            try:
                writes, read_to = await self.history(None, begun, target)
            except RevisionGone:
                self.replaced(target)
                return
            if self.revision != begun:
                return  # replaced meanwhile
            for write in writes:
                for watch in self._watches[write.logged.subject["kind"]]:
                    watch.offer(write)
            self.revision = read_to

    async def history(self, wanted: Filter | None, after: int, upto: int) -> tuple[list[_Write], int]:
        """A batch of the writes in (after, upto], and the revision it is complete to.

        Raises RevisionGone, DatabaseUnavailable.
        """
        async with self._database.transaction(isolation="REPEATABLE READ") as connection:
            logged, read_to = await read_log(connection, after, upto, _BATCH, wanted)
        return [_Write(each) for each in logged], read_to
