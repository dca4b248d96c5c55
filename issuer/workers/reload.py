"""Keeps the snapshot and the directory true.

House rules:

- Polling one row is the truth. A notice of the database, or a write of this process, asks for an early look: nothing else is
  needed for correctness, and nothing it says is believed.
- What changed is read from the change log: changed accounts are forgotten, anything else rebuilds the snapshot.
- A look is one repeatable read on one connection, one look at a time: the last one read is the newest.
- Another identity of the database, a revision that fell, or another past at a known revision means failover or restore:
  everything is dropped and read anew. What a standby says is never believed.
- What cannot be read keeps the last good snapshot in force and says so. Nothing is served before the first good one.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from issuer.administration.bootstrap import NotBootstrapped
from issuer.directory import Directory
from issuer.events import Emit, SnapshotCurrent, SnapshotLoaded, SnapshotStale, WorldReplaced, place_of
from issuer.signing.sealing import MasterKeyError, SealError
from issuer.snapshot import Snapshot
from issuer.sources import Sources
from issuer.store.clock import Clock
from issuer.store.database import Connection, Database, DatabaseUnavailable, ReadOnlyStandby, RightMissing
from issuer.store.installation import read_master_key_check
from issuer.store.schema import SchemaError, require_schema
from issuer.store.world import Position, Pulse, WorldRows, read_changed, read_pulse, read_world
from issuer.workers.changefeed import ChangeFeed
from issuer.workers.clockskew import Skew, SkewWatch
from issuer.workers.compiler import Compiler
from issuer.workers.turnstile import Turnstile

STALE_AFTER_S = 1.0
DEBOUNCE_S = 0.01
"""How long a notice waits for more of them."""
WOKEN_PACE_S = 0.05
"""At least so much between two looks, however many notices come: bulk work on one replica must not busy the others."""

_EXPECTED = (DatabaseUnavailable, RightMissing, SchemaError, NotBootstrapped, MasterKeyError, SealError)
_IN_THE_WAY: Mapping[type[Exception], str] = {
    DatabaseUnavailable: "the database does not answer",
    ReadOnlyStandby: "the database is a read-only standby, and the primary is needed",
    RightMissing: "the database user lacks a right",
    MasterKeyError: "what this database holds is sealed under another master key",
    SealError: "something sealed does not open under this master key",
}


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the database is looked at, how long a process may go on that cannot see it, and the clock seen there."""

    poll_s: float
    max_outage_s: float
    clock: Clock


class Reloader:
    """Owns the current snapshot. `catch_up` brings it to a revision, `run` keeps it there."""

    def __init__(
        self,
        database: Database,
        directory: Directory,
        feed: ChangeFeed,
        compiler: Compiler,
        sources: Sources,
        emit: Emit,
        pace: Pace,
    ) -> None:
        self._database = database
        self._directory = directory
        self._feed = feed
        self._compiler = compiler
        self._sources = sources
        self._emit = emit
        self._poll_s = pace.poll_s
        self._max_outage_s = pace.max_outage_s
        self._skew = SkewWatch(pace.clock, sources, emit)
        self._lock = asyncio.Lock()
        self._position: Position | None = None
        self._snapshot: Snapshot | None = None
        self._why_not_ready: str | None = "nothing was read from the database yet"
        self._good_at = sources.elapsed_s()
        self._trouble = ""
        self._reported: set[str] = set()
        self._woken = asyncio.Event()
        self._next: asyncio.Task[bool] | None = None
        self._looked_at = 0.0
        self._turnstile = Turnstile()

    def snapshot(self) -> Snapshot | None:
        """The world as last read; None before the first good read, and once the outage window is spent."""
        return None if self.followed_s > self._max_outage_s else self._snapshot

    @property
    def position(self) -> Position | None:
        """How far the database was followed; None before the first good read."""
        return self._position

    @property
    def followed_s(self) -> float:
        """How long ago the database was last seen, or began to be looked for."""
        return self._sources.elapsed_s() - self._good_at

    @property
    def why_not_ready(self) -> str | None:
        """None when tokens can be issued, else what is missing, in plain words."""
        if self._snapshot is not None and self.snapshot() is None:
            return f"the database could not be followed for {self._max_outage_s:g} s (outage.max_s)"
        return self._why_not_ready or self._skew.why_not_ready

    @property
    def skew(self) -> Skew | None:
        """Of this machine's clock against the database's, as last measured."""
        return self._skew.skew

    @property
    def degraded(self) -> str | None:
        """None while the world is no older than STALE_AFTER_S, else how old it is and why, in words without names.

        Then whether the clocks of this machine and the database are apart.
        """
        age = self.followed_s
        if self._snapshot is None or age <= STALE_AFTER_S:
            return self._skew.degraded
        why = self._trouble or "the database does not answer"
        return f"what is known of the database is {age:.1f} s old: {why}"

    async def catch_up(self, revision: int = 0) -> None:
        """Returns when everything up to `revision` is in force here.

        Raises DatabaseUnavailable, and until the first good read also SchemaError, NotBootstrapped and MasterKeyError.
        """
        async with self._lock:
            if self._position is not None and 0 < revision <= self._position.revision:
                return
            async with self._database.transaction(isolation="REPEATABLE READ") as connection:
                if not revision:  # a poll; who waits for a write does not wait for this, too
                    await self._skew.measure(connection)
                if self._position is None:
                    await require_schema(connection)
                sight = await self._look(connection)
            # With the transaction over: compiling takes a while, and the database would end it.
            self._follow(sight)
            if self._reported:
                self._emit(SnapshotCurrent(round(self.followed_s, 3)))
            self._good_at = self._sources.elapsed_s()
            self._why_not_ready = None
            self._trouble = ""
            self._reported.clear()

    async def run(self) -> None:
        """Polls for ever. Trouble is reported once it costs freshness, and what it waits for is looked for again."""
        look = self._schedule()
        try:
            while True:
                if not (await asyncio.wait({look}, timeout=self._poll_s + STALE_AFTER_S))[0]:
                    # A database that hangs says nothing by itself for as long as a statement may take.
                    self._note_trouble(DatabaseUnavailable("TimeoutError"))
                    await asyncio.wait({look})
                look = self._schedule()
        finally:
            look.cancel()

    def wake(self) -> None:
        """Something was written, or may have been: look soon."""
        self._woken.set()

    async def next_look(self) -> None:
        """Returns after the next poll, a good look that began after this call. Raises DatabaseUnavailable: it was none.

        All who wait go on one after another, since they are strangers, in any number.
        """
        if not await self._turnstile.wait_for(self._schedule(), self._poll_s + STALE_AFTER_S):
            raise DatabaseUnavailable("it could not be looked at again")

    def _schedule(self) -> "asyncio.Task[bool]":
        """The next look, which has not begun: one for all who want it."""
        if self._next is None:
            self._next = asyncio.create_task(self._look_when_due())
        return self._next

    async def _look_when_due(self) -> bool:
        """Whether the look was a good one. Due after `poll_s`, or soon after somebody woke us."""
        loop = asyncio.get_running_loop()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._poll_s):
                await self._woken.wait()
                await asyncio.sleep(max(DEBOUNCE_S, self._looked_at + WOKEN_PACE_S - loop.time()))
        self._woken.clear()
        self._next = None  # who comes from here on needs another one
        self._looked_at = loop.time()
        return await self._try()

    async def hasten(self, revision: int = 0) -> None:
        """`catch_up`, unless something is in its way: then that is noted, and the next poll tries again.

        What writers call after their commit: it holds whether or not this process could look at it yet.
        """
        await self._try(revision)

    async def _try(self, revision: int = 0) -> bool:
        try:
            await self.catch_up(revision)
        except Exception as error:  # noqa: BLE001 - what cannot be compiled must not end every replica: the last good stays
            self._note_trouble(error)
            return False
        return True

    def _note_trouble(self, error: Exception) -> None:
        # The words of errors that are not ours may quote what was read.
        why = str(error) if isinstance(error, _EXPECTED) else f"{type(error).__name__} at {place_of(error)}"
        # Readiness is open to everybody and carries no names; the event has the details.
        self._trouble = _IN_THE_WAY.get(type(error), why)
        if self._snapshot is None:
            self._why_not_ready = self._trouble
        age = self.followed_s
        if age > STALE_AFTER_S and why not in self._reported:
            self._emit(SnapshotStale(round(age, 3), why))
            self._reported.add(why)

    async def _look(self, connection: Connection) -> "_Sight":
        position = self._position
        pulse = await read_pulse(connection, position.revision if position is not None else -1)
        if pulse.in_recovery:
            raise ReadOnlyStandby
        if not pulse.bootstrapped:
            raise NotBootstrapped
        if position is None or (departure := position.departure(pulse)) is not None:
            return _Sight(pulse, "start" if position is None else departure, await _read_world(connection))
        if pulse.revision == position.revision:
            return _Sight(pulse)
        changed = await read_changed(connection, position.revision)
        # Accounts first: a world that cannot be read must not keep a disabled account alive.
        if changed.uids is None:
            self._directory.clear()
        else:
            self._directory.invalidate(changed.uids)
        return _Sight(pulse, world=await _read_world(connection) if changed.world else None)

    def _follow(self, sight: "_Sight") -> None:
        pulse = sight.pulse
        if sight.world is not None:
            check, rows = sight.world
            if check is not None:
                self._compiler.master_key.check(check)
            if sight.departure is not None:
                self._compiler.forget()
            self.swap(self._compiler.snapshot(rows))
        if sight.departure is not None:
            # Accounts follow the snapshot in the same breath: a world that cannot be compiled leaves the last one whole.
            self._directory.clear()
            if self._position is not None:
                self._emit(WorldReplaced(sight.departure))
                self._feed.replaced(pulse.revision)
        if self._position is None or sight.departure is not None or pulse.revision > self._position.revision:
            self._position = Position(pulse.identity, pulse.revision, pulse.written_at)
            self._feed.follow(pulse.revision)

    def swap(self, snapshot: Snapshot) -> None:
        """From here on this is the world."""
        self._snapshot = snapshot
        self._emit(SnapshotLoaded(snapshot.revision, len(snapshot.published)))


@dataclass(frozen=True, slots=True)
class _Sight:
    """What one look saw. `departure`: why everything is read anew; `world`: the master key's check value, and the rows."""

    pulse: Pulse
    departure: str | None = None
    world: tuple[bytes | None, WorldRows] | None = None


async def _read_world(connection: Connection) -> tuple[bytes | None, WorldRows]:
    return await read_master_key_check(connection), await read_world(connection)
