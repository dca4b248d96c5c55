"""The life of one account's secret as a state machine, whatever carries it: `Life` is the thing under test.

The rules play a driver, its workload, a thief and the clock; what holds after every one of them is asserted here, in terms
of what an outsider can see. Letters in parentheses name the promises of DESIGN section 4.

(a) the newest secret works, and so does the one a workload stored, until somebody said that a newer one is stored or used it
(b) nothing works from its retiresAt on       (c) nothing works that was cut      (d) a pending version shortens nothing
(e) acknowledging twice is once               (f) one driver at a time            (g) first use is not delivery
(h) few versions live, few are remembered     (i) pending, active, grace, retired, never back
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from issuer.credentials import MAX_KEPT_VERSIONS, MAX_LIVE_VERSIONS

ORDER = ("pending", "active", "grace", "retired")
HOUR_S = 3600
TICK = timedelta(microseconds=1)

graces = st.none() | st.sampled_from([0, 1, 24, 8760])
jumps_s = st.sampled_from([0, 1, 599, 1800, 3599, 3600, 3601, 86_400, 90_000, 700_000]) | st.integers(0, 1_000_000)


@dataclass(frozen=True)
class Seen:
    """A version as the listing shows it."""

    version: int
    state: str
    retires_at: datetime | None


@dataclass(frozen=True)
class Answer:
    """What a driver was told: an HTTP status, and the version it was given."""

    code: int
    version: int | None = None


class Life(Protocol):
    """An account's secrets behind some surface. Secrets are known by their version number here."""

    @property
    def now(self) -> datetime: ...
    def begin(self, grace_h: int, hold_s: int | None) -> None: ...
    def rotate(self, body: dict[str, Any]) -> Answer: ...
    def read(self) -> Answer: ...
    def acknowledge(self, version: int) -> Answer: ...
    def use(self, version: int) -> bool: ...
    def working(self, versions: Iterable[int]) -> set[int]: ...
    def first_uses_are_written(self) -> None: ...
    def first_uses_are_lost(self) -> None: ...
    def advance(self, time: timedelta) -> None: ...
    def change_grace(self, hours: int) -> None: ...
    def listing(self) -> tuple[Seen, ...]: ...
    def close(self) -> None: ...


class SecretLife(RuleBasedStateMachine):
    """Rules and promises. A subclass sets `life`."""

    longest_burst = 40

    def __init__(self, life: Life) -> None:
        super().__init__()
        self.life = life
        self.given: set[int] = set()
        self.stored: set[int] = set()
        self.in_hand: int | None = None
        self.acknowledged: set[int] = set()
        self.cut: set[int] = set()
        self.before: tuple[Seen, ...] = ()
        self.cutting = False
        self.used: set[int] = set()
        self.hold_s: int | None = None
        self.hold_ends: datetime | None = None

    @initialize(grace_h=st.sampled_from([0, 1, 24, 168]), hold_s=st.none() | st.sampled_from([60, 3600, 604_800]))
    def an_account_is_made(self, grace_h: int, hold_s: int | None) -> None:
        self.hold_s = hold_s
        self.life.begin(grace_h, hold_s)
        assert [(seen.version, seen.state) for seen in self.life.listing()] == [(1, "pending")]

    # --- a driver -----------------------------------------------------------------------------------------------------

    @rule(
        expected=st.none() | st.sampled_from(["newest", "older"]),
        acknowledge=st.booleans(),
        grace_h=graces,
    )
    def rotate(self, expected: str | None, acknowledge: bool, grace_h: int | None) -> None:
        self._rotate(expected=expected, acknowledge=acknowledge, grace_h=grace_h)

    @rule(acknowledge=st.booleans(), grace_h=graces)
    def rotate_as_compromised(self, acknowledge: bool, grace_h: int | None) -> None:
        self.cutting = True
        older = {seen.version for seen in self.life.listing()}
        given = self._rotate(acknowledge=acknowledge, grace_h=grace_h, compromised=True)
        assert given not in older
        self.cut |= older
        assert all(seen.state == "retired" for seen in self.life.listing() if seen.version != given)  # (c)

    @rule(times=st.integers(1, 40))
    def rotate_in_a_hurry(self, times: int) -> None:
        """A driver in a loop, without grace: what is remembered stays bounded."""
        for _ in range(min(times, self.longest_burst)):
            self._rotate(acknowledge=True, grace_h=0)
            self.what_holds()

    @rule()
    def read(self) -> None:
        newest = self._newest()
        answer = self.life.read()
        if newest.version in self.acknowledged:
            assert answer == Answer(404)
        else:
            assert answer == Answer(200, newest.version)  # (g): used or not, held too long or not
            self._give(newest.version)
        assert self.life.listing() == self.before

    @precondition(lambda self: self.in_hand is not None)
    @rule()
    def store(self) -> None:
        if self.in_hand is not None:
            self.stored.add(self.in_hand)

    @rule()
    def crash_before_storing(self) -> None:
        self.in_hand = None

    @precondition(lambda self: self.stored)
    @rule()
    def acknowledge_what_was_stored(self) -> None:
        version, before = max(self.stored), self._by_version()
        newest = self._newest()
        answer = self.life.acknowledge(version)
        if version != newest.version:
            assert answer == Answer(409)  # (e)
            assert self._by_version() == before
            return
        assert answer == Answer(200)
        after = self._by_version()
        assert after[version].state == "active"
        if before[version].state != "pending":
            assert after == before  # (g): the acknowledgement moves no time
        self.acknowledged.add(version)
        assert self.life.acknowledge(version) == Answer(200)  # (e)
        assert self._by_version() == after

    @rule(version=st.integers(1, 50))
    def acknowledge_some_other(self, version: int) -> None:
        known, newest = self._by_version(), self._newest()
        if version == newest.version:
            if version in self.given:
                return
            assert self.life.acknowledge(version) == Answer(409)  # nobody can have stored it
        elif version in known:
            assert self.life.acknowledge(version) == Answer(409)  # (e): superseded
        else:
            assert self.life.acknowledge(version) == Answer(404)

    @rule(hours=st.sampled_from([0, 1, 24, 168]))
    def the_account_is_edited(self, hours: int) -> None:
        self.life.change_grace(hours)

    # --- a workload, and a thief --------------------------------------------------------------------------------------

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def use(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.given)), "version")
        expected = self._state_of(version) != "retired"
        assert self.life.use(version) is expected
        if expected:
            self.used.add(version)

    @rule()
    def first_uses_are_written(self) -> None:
        self.life.first_uses_are_written()
        for version in self.used:
            assert self._state_of(version) != "pending"

    @rule()
    def first_uses_are_lost(self) -> None:
        """The process died before it wrote them: the next use notes them again."""
        self.life.first_uses_are_lost()
        self.used.clear()

    # --- time ---------------------------------------------------------------------------------------------------------

    @rule(seconds=jumps_s)
    def time_passes(self, seconds: int) -> None:
        self.life.advance(timedelta(seconds=seconds))

    @rule(data=st.data())
    def time_reaches_an_edge(self, data: st.DataObject) -> None:
        """The last instant before something ends, and the first one after."""
        edges = [seen.retires_at for seen in self.life.listing() if seen.retires_at is not None]
        edges = [
            edge for edge in (*edges, *([self.hold_ends] if self.hold_ends else [])) if edge - TICK > self.life.now
        ]
        if edges:
            edge = data.draw(st.sampled_from(sorted(edges)), "edge")
            self.life.advance(edge - TICK - self.life.now)
            self.what_holds()
            self.life.advance(TICK)

    # --- the promises -------------------------------------------------------------------------------------------------

    @invariant()
    def what_holds(self) -> None:
        after = self.life.listing()
        if not after:
            return
        now, by_version = self.life.now, {seen.version: seen for seen in after}
        assert [seen.version for seen in after] == sorted(by_version)
        for seen in after:
            retired = seen.retires_at is not None and seen.retires_at <= now
            assert (seen.state == "retired") is retired, seen
            assert (seen.state == "grace") is (seen.retires_at is not None and not retired), seen
            if seen.version in self.cut:
                assert retired, seen  # (c)
        live = {seen.version for seen in after if seen.state != "retired"}
        assert self.life.working(self.given) == live & self.given  # (b), (c)
        for old in self.before:
            self._moved_as_allowed(old, by_version.get(old.version))
        newest = after[-1]
        assert newest.state in {"pending", "active"}  # (a)
        older = [seen for seen in after[:-1] if seen.version not in self.cut]
        if newest.state == "pending":
            assert self.hold_ends is None or now < self.hold_ends
            # (d): what was the newest before is still without an end.
            assert not older or older[-1].retires_at is None
        self._workload_goes_on(by_version)
        assert sum(seen.state != "retired" for seen in after) <= MAX_LIVE_VERSIONS  # (h)
        assert len(after) <= MAX_KEPT_VERSIONS
        self.before, self.cutting = after, False

    def teardown(self) -> None:
        self.life.close()

    def _moved_as_allowed(self, old: Seen, new: Seen | None) -> None:
        if new is None:
            # (h): forgotten only when retired.
            assert self.cutting or (old.retires_at is not None and old.retires_at <= self.life.now)
            return
        assert ORDER.index(new.state) >= ORDER.index(old.state), (old, new)  # (i)
        if old.retires_at is not None:
            assert new.retires_at is not None
            if not self.cutting:
                assert new.retires_at == old.retires_at, (old, new)
            assert new.retires_at <= old.retires_at

    def _workload_goes_on(self, by_version: dict[int, Seen]) -> None:
        """(a): what a workload stored works until a newer one was acknowledged or used, or the hold ended; then its grace."""
        if not self.stored:
            return
        stored = max(self.stored)
        newer = [version for version in by_version if version > stored]
        superseded = any(
            version in self.acknowledged or by_version[version].state != "pending" or version in self.cut
            for version in newer
        )
        if stored not in self.cut and not superseded:
            seen = by_version[stored]
            assert seen.state in {"pending", "active"}

    # --- bookkeeping --------------------------------------------------------------------------------------------------

    def _rotate(
        self,
        *,
        expected: str | None = None,
        acknowledge: bool = False,
        grace_h: int | None = None,
        compromised: bool = False,
    ) -> int | None:
        before, newest = self._by_version(), self._newest()
        body: dict[str, Any] = {"acknowledge": acknowledge, "compromised": compromised}
        if expected is not None:
            body["expectedVersion"] = newest.version if expected == "newest" else max(1, newest.version - 1)
        if grace_h is not None:
            body["gracePeriodHours"] = grace_h
        code, version = self._expected(newest, body)
        answer = self.life.rotate(body)
        assert answer == Answer(code, version), (newest, body)
        after = self._by_version()
        if version is None:
            assert after == before
            return None
        self._give(version)
        if version not in before and self.hold_s is not None:
            self.hold_ends = self.life.now + timedelta(seconds=self.hold_s)
        if acknowledge:
            self._acknowledged_at_once(version)
        elif not compromised:
            assert all(after.get(old.version, old) == old for old in before.values())  # (d)
        return version

    def _acknowledged_at_once(self, version: int) -> None:
        self.stored.add(version)
        self.acknowledged.add(version)
        self.hold_ends = None
        assert self._state_of(version) == "active"

    def _expected(self, newest: Seen, body: dict[str, Any]) -> tuple[int, int | None]:
        live = sum(seen.state != "retired" for seen in self._by_version().values())
        if body.get("expectedVersion", newest.version) != newest.version:
            return 409, None
        if body["compromised"]:
            return 201, newest.version + 1
        if newest.state == "pending":
            return (409, None) if newest.version in self.given else (201, newest.version)  # (f)
        return (409, None) if live >= MAX_LIVE_VERSIONS else (201, newest.version + 1)  # (h)

    def _give(self, version: int) -> None:
        self.given.add(version)
        self.in_hand = version

    def _newest(self) -> Seen:
        return self.life.listing()[-1]

    def _by_version(self) -> dict[int, Seen]:
        return {seen.version: seen for seen in self.life.listing()}

    def _state_of(self, version: int) -> str:
        seen = self._by_version().get(version)
        return seen.state if seen is not None else "retired"


def edges_of(instants: Iterable[datetime | None]) -> list[datetime]:
    """Each instant, the one before it and the one after it."""
    return [each + shift for each in instants if each is not None for shift in (-TICK, timedelta(), TICK)]
