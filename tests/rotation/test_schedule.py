"""When a secret is rotated, whatever happens to the account, its policies and the clock: the pure functions alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from issuer.administration.schedule import next_rotation
from issuer.credentials import (
    MAX_LIVE_VERSIONS,
    LifecycleConflict,
    SecretState,
    SecretVersion,
    Terms,
    Versions,
    acknowledge,
    first_use,
    first_version,
    hand_out,
    live_versions,
    make_next,
    read_current,
    settle,
)

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
WEEK = timedelta(days=7)
SECOND = timedelta(seconds=1)

intervals = st.integers(1, 400).map(lambda days: timedelta(days=days))
jumps = st.sampled_from([0, 1, 3600, 86_400, 604_800, 10_000_000]) | st.integers(0, 1_000_000)


def delivered(created_at: datetime) -> Versions:
    """One version, stored by its driver as soon as it was made."""
    return (SecretVersion(1, created_at, created_at, created_at, created_at),)


@given(age=intervals, interval=intervals, uids=st.lists(st.uuids(version=4), min_size=2, max_size=20))
def test_what_stricter_rules_made_overdue_is_spread_within_bounds_and_the_same_by_every_replica(
    age: timedelta, interval: timedelta, uids: list[UUID]
) -> None:
    rhythm = (interval, min(interval, WEEK))
    for uid in uids:
        planned = next_rotation(uid, delivered(NOW - age), rhythm, None, NOW)
        assert planned == next_rotation(uid, delivered(NOW - age), rhythm, None, NOW)
        assert planned is not None
        if age < interval:
            assert planned == NOW - age + interval
        else:
            assert NOW <= planned <= NOW + min(interval, WEEK)


def test_a_backlog_is_spread_evenly() -> None:
    rhythm = (timedelta(days=30), WEEK)
    places = [next_rotation(uuid4(), delivered(NOW - timedelta(days=99)), rhythm, None, NOW) for _ in range(7000)]
    of_a_day = [sum(place is not None and (place - NOW).days == day for place in places) for day in range(7)]
    assert all(800 < number < 1200 for number in of_a_day), of_a_day


@given(later=st.integers(0, 6 * 86_400), interval=st.integers(7, 30))
def test_what_was_planned_stays_planned_however_often_it_is_worked_out(later: int, interval: int) -> None:
    rhythm, uid = (timedelta(days=interval), WEEK), uuid4()
    versions = delivered(NOW - timedelta(days=99))
    planned = next_rotation(uid, versions, rhythm, None, NOW)
    assert next_rotation(uid, versions, rhythm, planned, NOW + timedelta(seconds=later)) == planned


def test_nothing_is_due_while_so_many_secrets_are_live_that_none_can_be_made() -> None:
    end = NOW + timedelta(days=3)
    older = [SecretVersion(number, NOW, NOW, NOW, NOW, retires_at=end) for number in range(1, MAX_LIVE_VERSIONS)]
    versions = (*older, replace(*delivered(NOW - timedelta(days=40)), version=MAX_LIVE_VERSIONS))
    due = next_rotation(uuid4(), versions, (timedelta(days=30), timedelta()), NOW, NOW)
    assert due == end + SECOND
    assert make_next(versions, Terms(0), due)[-1].version == MAX_LIVE_VERSIONS + 1


class Rotating(RuleBasedStateMachine):
    """An account, its driver, its administrator and the rotator, under a clock that jumps both ways."""

    @initialize(
        interval=intervals, grace_h=st.integers(0, 23), hold_h=st.none() | st.integers(1, 400), uid=st.uuids(version=4)
    )
    def an_account_is_made(self, interval: timedelta, grace_h: int, hold_h: int | None, uid: UUID) -> None:
        self.now, self.uid, self.interval = NOW, uid, interval
        self.terms = Terms(grace_h * 3600, hold_h * 3600 if hold_h is not None else None)
        self.versions = first_version(self.now)
        self.planned: datetime | None = None
        self.restated()

    def restated(self) -> None:
        """What a write of the account does to its status."""
        self.planned = self.as_planned_now()

    def as_planned_now(self) -> datetime | None:
        rhythm = (self.interval, min(self.interval, WEEK))
        settled = settle(self.versions, self.terms, self.now)
        return next_rotation(self.uid, settled, rhythm, self.planned, self.now)

    @rule()
    def the_rotator_looks(self) -> None:
        if self.planned is None or self.planned > self.now:
            return  # its index does not show the account
        self.restated()
        if self.planned is not None and self.planned <= self.now:
            before = settle(self.versions, self.terms, self.now)
            self.versions = make_next(self.versions, self.terms, self.now)
            # A new secret changes nothing for the old ones.
            assert self.versions[:-1] == before[-(len(self.versions) - 1) :]
            assert self.versions[-1].created_at - before[-1].created_at >= self.interval - SECOND
        self.restated()
        assert self.planned is None or self.planned > self.now

    @rule()
    def its_driver_stores_it(self) -> None:
        if self.versions[-1].readable:
            self.versions = read_current(self.versions, self.terms, self.now).versions
            self.versions = acknowledge(self.versions, self.versions[-1].version, self.terms, self.now)
        self.restated()

    @rule()
    def its_workload_uses_the_newest(self) -> None:
        self.versions = first_use(self.versions, self.versions[-1].version, self.terms, self.now)
        self.restated()

    @rule(compromised=st.booleans())
    def somebody_rotates_by_hand(self, compromised: bool) -> None:
        try:
            self.versions = hand_out(self.versions, self.terms, self.now, compromised=compromised).versions
        except LifecycleConflict:
            return
        self.restated()

    @rule(interval=intervals)
    def a_policy_is_written(self, interval: timedelta) -> None:
        self.interval = interval

    @rule()
    def a_controller_follows_it(self) -> None:
        self.restated()

    @rule(seconds=jumps)
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(seconds=st.integers(0, 10_000_000))
    def the_clock_is_set_back(self, seconds: int) -> None:
        self.now -= timedelta(seconds=seconds)

    @invariant()
    def one_is_always_usable_and_never_two_are_pending(self) -> None:
        settled = settle(self.versions, self.terms, self.now)
        assert live_versions(settled, self.now)
        states = [version.state_at(self.now) for version in settled]
        assert states.count(SecretState.PENDING) <= 1
        assert SecretState.PENDING not in states[:-1]

    @invariant()
    def an_undelivered_version_holds_the_one_before_it(self) -> None:
        settled = settle(self.versions, self.terms, self.now)
        if len(settled) > 1 and settled[-1].state_at(self.now) is SecretState.PENDING and settled[-2].cut_at is None:
            assert settled[-2].retires_at is None

    @invariant()
    def the_next_one_is_planned_within_bounds(self) -> None:
        """An interval after the newest, or within the spread, or when there is room; never further."""
        planned = self.as_planned_now()
        settled = settle(self.versions, self.terms, self.now)
        if planned is None:
            assert settled[-1].state_at(self.now) is SecretState.PENDING
            return
        ends = [version.retires_at for version in live_versions(settled, self.now) if version.retires_at is not None]
        bounds = [settled[-1].created_at + self.interval, self.now + min(self.interval, WEEK)]
        assert planned <= max([*bounds, *(end + SECOND for end in ends)])


def test_rotation_keeps_its_promises_whatever_the_order_and_the_clock() -> None:
    run_state_machine_as_test(Rotating, settings=settings(max_examples=150, stateful_step_count=25, deadline=None))
