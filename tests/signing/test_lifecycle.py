"""The life of signing keys: every invariant of DESIGN section 7, whatever the numbers, the order of events, and the clock."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from issuer.signing.keyring import KeyRecord, KeyState, active_key, published_keys
from issuer.signing.lifecycle import (
    Activate,
    KeySchedule,
    KeyTiming,
    Prepare,
    Prune,
    Retire,
    Step,
    Wait,
    coming,
    compromised,
    next_step,
    taken,
    with_lifetimes,
)

START = datetime(2026, 1, 15, tzinfo=UTC)
DAY = timedelta(days=1)
DEFAULTS = KeyTiming(jwks_max_age_s=300, verifier_refresh_s=600, skew_s=300, max_ttl_s=86_400, outage_s=300)
MONTHLY = KeySchedule("ES256", timedelta(days=30), DEFAULTS)


def key(kid: str, *, algorithm: str = "ES256", **instants: datetime) -> KeyRecord:
    made: dict[str, Any] = {"created_at": START, "published_at": START, **instants}
    return KeyRecord(kid, "default", algorithm, {"kid": kid}, **made)


ACTIVE = key("active", activated_at=START)
SPARE = key("spare")


def test_the_defaults_are_25_minutes_of_lead_and_a_day_and_a_quarter_hour_of_retention() -> None:
    assert timedelta(minutes=25) == DEFAULTS.lead
    assert timedelta(hours=24, minutes=15) == DEFAULTS.retention(0)


def test_a_ring_without_a_spare_gets_one_at_once() -> None:
    assert next_step([], START, MONTHLY) == Prepare()
    assert next_step([ACTIVE], START, MONTHLY) == Prepare()


def test_the_spare_takes_over_when_the_interval_is_over_and_not_before() -> None:
    due = START + timedelta(days=30)
    assert next_step([ACTIVE, SPARE], due - timedelta(seconds=1), MONTHLY) == Wait(due)
    assert next_step([ACTIVE, SPARE], due, MONTHLY) == Activate("spare")


def test_a_spare_that_verifiers_may_not_know_yet_waits_however_overdue_the_rotation_is() -> None:
    late = replace(SPARE, published_at=START + timedelta(days=40))
    known = START + timedelta(days=40) + DEFAULTS.lead
    assert next_step([ACTIVE, late], START + timedelta(days=40), MONTHLY) == Wait(known)
    assert next_step([ACTIVE, late], known, MONTHLY) == Activate("spare")


def test_the_first_key_of_a_new_key_set_waits_for_its_lead() -> None:
    assert next_step([SPARE], START, MONTHLY) == Wait(START + DEFAULTS.lead)
    assert next_step([SPARE], START + DEFAULTS.lead, MONTHLY) == Activate("spare")


def test_rotation_switched_off_rotates_nothing_and_keeps_a_spare() -> None:
    off = replace(MONTHLY, interval=None)
    assert next_step([ACTIVE], START, off) == Prepare()
    assert next_step([ACTIVE, SPARE], START + 1000 * DAY, off) == Wait(None)


def test_another_algorithm_is_prepared_published_and_takes_over_after_its_lead() -> None:
    wanted = replace(MONTHLY, algorithm="Ed25519")
    new = key("new", algorithm="Ed25519", published_at=START + DAY)
    assert next_step([ACTIVE, SPARE], START + DAY, wanted) == Prepare()
    assert next_step([ACTIVE, SPARE, new], START + DAY, wanted) == Prune("spare")
    assert next_step([ACTIVE, new], START + DAY, wanted) == Wait(START + DAY + DEFAULTS.lead)
    assert next_step([ACTIVE, new], START + DAY + DEFAULTS.lead, wanted) == Activate("new")


def test_a_key_that_signed_is_kept_for_the_retention_and_then_goes() -> None:
    after = taken([ACTIVE, SPARE], Activate("spare"), START + 30 * DAY, MONTHLY)
    ends = START + 30 * DAY + DEFAULTS.retention(0)
    assert [(each.kid, each.state_at(START + 30 * DAY), each.retires_at) for each in after] == [
        ("active", KeyState.RETIRING, ends),
        ("spare", KeyState.ACTIVE, None),
    ]
    ring = [*after, key("next", published_at=START + 30 * DAY)]
    assert next_step(ring, ends - timedelta(seconds=1), MONTHLY) == Wait(ends)
    assert next_step(ring, ends, MONTHLY) == Prune("active")


def test_a_longer_lifetime_of_before_keeps_a_key_longer() -> None:
    shorter = replace(MONTHLY, timing=replace(DEFAULTS, max_ttl_s=600))
    (old, _) = taken([replace(ACTIVE, signed_ttl_s=86_400), SPARE], Activate("spare"), START, shorter)
    assert old.retires_at == START + DEFAULTS.retention(0)


def test_two_active_keys_become_one_the_newest() -> None:
    newer = key("newer", activated_at=START + DAY)
    assert next_step([ACTIVE, newer, SPARE], START + DAY, MONTHLY) == Retire("active")


def test_a_compromised_key_leaves_the_jwks_at_once_and_the_spare_signs_whatever_its_age() -> None:
    ring = compromised([ACTIVE, SPARE], "active", START)
    assert [each.kid for each in published_keys(ring, START)] == ["spare"]
    signer = active_key(ring, START)
    assert signer is not None
    assert signer.kid == "spare"
    assert next_step(ring, START, MONTHLY) == Prepare()


def test_a_compromised_key_without_a_spare_is_replaced_without_waiting() -> None:
    ring = compromised([ACTIVE], "active", START)
    assert next_step(ring, START, MONTHLY) == Prepare()
    assert next_step([*ring, key("new", published_at=START)], START, MONTHLY) == Activate("new")


def test_a_compromised_spare_is_replaced_and_nothing_else_changes() -> None:
    ring = compromised([ACTIVE, SPARE], "spare", START)
    signer = active_key(ring, START)
    assert signer is not None
    assert signer.kid == "active"
    assert next_step(ring, START, MONTHLY) == Prepare()


def test_what_comes_next_is_said_before_it_is_due() -> None:
    assert coming([ACTIVE], START, MONTHLY) == (Prepare(), START)
    assert coming([ACTIVE, SPARE], START, MONTHLY) == (Activate("spare"), START + 30 * DAY)
    assert coming([ACTIVE, SPARE], START, replace(MONTHLY, interval=None)) is None
    ring = [*taken([ACTIVE, SPARE], Activate("spare"), START + 30 * DAY, MONTHLY), key("next")]
    assert coming(ring, START + 30 * DAY, MONTHLY) == (Prune("active"), START + 30 * DAY + DEFAULTS.retention(0))


def test_the_largest_lifetime_in_force_is_noted_on_the_key_that_signs_and_never_shrinks() -> None:
    ring = with_lifetimes([ACTIVE, SPARE], START, DEFAULTS)
    assert [each.signed_ttl_s for each in ring] == [86_400, 0]
    assert with_lifetimes(ring, START, replace(DEFAULTS, max_ttl_s=600)) == ring


def test_a_ring_that_ends_signs_no_more_drops_its_spare_and_waits_for_what_it_signed() -> None:
    ending = replace(MONTHLY, ending=True)
    assert next_step([ACTIVE, SPARE], START, ending) == Retire("active")
    ring = taken([ACTIVE, SPARE], Retire("active"), START, ending)
    assert next_step(ring, START, ending) == Prune("spare")
    (left,) = taken(ring, Prune("spare"), START, ending)
    assert next_step([left], START, ending) == Wait(START + DEFAULTS.retention(0))
    assert next_step([left], START + DEFAULTS.retention(0), ending) == Prune("active")
    assert next_step([], START, ending) == Wait(None)


# --- whatever happens ---

seconds = st.floats(0, 10_000, allow_nan=False)
timings = st.builds(KeyTiming, seconds, seconds, seconds, st.floats(10, 100_000), seconds)
intervals = st.one_of(st.none(), st.timedeltas(timedelta(seconds=1), timedelta(days=400)))
schedules = st.builds(KeySchedule, st.sampled_from(("ES256", "Ed25519")), intervals, timings)
jumps = st.timedeltas(-timedelta(days=3), timedelta(days=60))
happenings = st.one_of(
    st.tuples(st.just("time"), st.timedeltas(timedelta(0), timedelta(days=40))),
    st.tuples(st.just("jump"), jumps),
    st.tuples(st.just("work"), st.integers(1, 6)),
    st.tuples(st.just("change"), schedules),
    st.tuples(st.just("compromise"), st.integers(0, 3)),
)


def take(
    ring: Sequence[KeyRecord], step: Step, now: datetime, schedule: KeySchedule, kid: str
) -> tuple[KeyRecord, ...]:
    """A step as the rotator takes it: what it makes is published in the same instant."""
    if isinstance(step, Prepare):
        return (*ring, key(kid, algorithm=schedule.algorithm, created_at=now, published_at=now))
    return taken(ring, step, now, schedule)


@given(schedules, st.lists(happenings, max_size=30))
@settings(max_examples=300)
def test_every_invariant_holds_whatever_happens(schedule: KeySchedule, happened: list[tuple[str, object]]) -> None:
    now, kids = START, map(str, count())
    first: dict[str, Any] = {"algorithm": schedule.algorithm, "created_at": now, "published_at": now}
    ring: tuple[KeyRecord, ...] = (key(next(kids), activated_at=now, **first), key(next(kids), **first))
    emergencies: set[str] = set()
    for what, detail in happened:
        match what, detail:
            case (("time" | "jump"), timedelta() as passed):
                now += passed
            case "change", KeySchedule() as changed:
                schedule = changed
            case "compromise", int(place) if place < len(ring):
                before, ring = ring, compromised(ring, ring[place].kid, now)
                emergencies |= {each.kid for each, was in zip(ring, before, strict=True) if each != was}
            case "work", int(times):
                for _ in range(times):
                    step = next_step(ring, now, schedule)
                    after = take(ring, step, now, schedule, next(kids))
                    check_step(ring, after, now, schedule, step, emergencies)
                    ring = after
            case _:
                pass  # a compromise of a key there is not
    # Left alone it comes to rest, with one key that signs (or will, after its lead) and one spare.
    for _ in range(len(ring) + 4):
        step = next_step(ring, now, schedule)
        if isinstance(step, Wait):
            break
        ring = take(ring, step, now, schedule, next(kids))
    assert isinstance(next_step(ring, now, schedule), Wait)
    states = [each.state_at(now) for each in ring]
    assert states.count(KeyState.PENDING) == 1
    assert states.count(KeyState.ACTIVE) == 1


def check_step(
    before: Sequence[KeyRecord],
    after: Sequence[KeyRecord],
    now: datetime,
    schedule: KeySchedule,
    step: Step,
    emergencies: set[str],
) -> None:
    timing, kept = schedule.timing, {each.kid: each for each in after}
    bereft = active_key(before, now) is None
    # Once there is a key that signs there always is one.
    assert bereft or active_key(after, now) is not None
    for each in before:
        became = kept.get(each.kid)
        if became is None:
            # Only what cannot verify anything, or never signed, goes.
            assert isinstance(step, Prune)
            ends = each.retires_at or (
                each.compromised_at and each.compromised_at + timing.retention(each.signed_ttl_s)
            )
            assert ends <= now if ends is not None else each.activated_at is None
            continue
        # No decided end moves, none comes back, none becomes unpublished.
        assert each.retires_at in {None, became.retires_at}
        assert became.published_at == each.published_at
        if each.retires_at is None and became.retires_at is not None:
            # Kept for everything it may have signed.
            assert became.retires_at >= now + timing.retention(0)
            assert active_key(after, now) is not None
        if each.activated_at is None and became.activated_at is not None:
            # Published before use: nobody meets a key it does not know. An emergency alone may come sooner.
            assert became.published_at is not None
            assert (bereft and emergencies) or now >= became.published_at + timing.lead
    # Never two that sign, once it was put right; never a key out of nothing.
    assert len(after) <= len(before) + 1
    if isinstance(step, Activate):
        assert [each.state_at(now) for each in after].count(KeyState.ACTIVE) == 1
