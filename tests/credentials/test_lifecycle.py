"""Single steps of a secret's life: the instants, and what once went wrong."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from issuer.credentials import (
    MAX_KEPT_VERSIONS,
    LifecycleConflict,
    SecretState,
    Terms,
    Versions,
    acknowledge,
    compile_digests,
    first_use,
    first_version,
    hand_out,
    read_current,
    settle,
)

T0 = datetime(2026, 1, 31, 12, tzinfo=UTC)
DAY = Terms(86_400)


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def states(versions: Versions, terms: Terms, now: datetime) -> list[str]:
    return [version.state_at(now).value for version in settle(versions, terms, now)]


def accepted(versions: Versions, terms: Terms, now: datetime) -> list[bool]:
    """What a token path that compiled these versions accepts at `now`."""
    digests = compile_digests([(version, "p1", b"") for version in versions], terms)
    return [digest.accepted_until is None or now.timestamp() < digest.accepted_until for digest in digests]


@pytest.fixture
def rotating() -> Versions:
    """Version 1 active, version 2 handed out and pending."""
    first = hand_out(first_version(T0), DAY, T0, acknowledge=True).versions
    return hand_out(first, DAY, after(100)).versions


@pytest.mark.parametrize("how", ["acknowledge", "first use"])
def test_the_previous_version_is_accepted_up_to_its_grace_and_not_from_then_on(rotating: Versions, how: str) -> None:
    step = acknowledge if how == "acknowledge" else first_use
    done = step(rotating, 2, DAY, after(200))
    assert states(done, DAY, after(200)) == ["grace", "active"]
    assert done[0].retires_at == after(200 + 86_400)
    assert states(done, DAY, after(200 + 86_400) - timedelta(microseconds=1)) == ["grace", "active"]
    assert states(done, DAY, after(200 + 86_400)) == ["retired", "active"]


def test_without_a_hold_a_pending_version_waits_for_ever(rotating: Versions) -> None:
    assert states(rotating, DAY, T0 + timedelta(days=36_500)) == ["active", "pending"]


def test_a_rotations_own_grace_wins_over_the_accounts() -> None:
    versions = hand_out(first_version(T0), DAY, T0, acknowledge=True).versions
    versions = hand_out(versions, DAY, after(1), grace_s=60).versions
    assert acknowledge(versions, 2, DAY, after(2))[0].retires_at == after(62)


def test_without_one_the_grace_is_the_accounts_at_the_acknowledgement(rotating: Versions) -> None:
    assert acknowledge(rotating, 2, Terms(10), after(200))[0].retires_at == after(210)


def test_a_hold_that_ends_starts_the_grace_at_that_instant_whoever_looks_when() -> None:
    terms = Terms(3600, max_hold_s=600)
    versions = hand_out(first_version(T0), terms, T0, acknowledge=True).versions
    versions = hand_out(versions, terms, T0).versions
    assert states(versions, terms, after(599)) == ["active", "pending"]
    assert states(versions, terms, after(600)) == ["grace", "active"]
    assert settle(versions, terms, after(9999))[0].retires_at == after(4200)
    assert read_current(versions, terms, after(9999)).version == 2
    late = acknowledge(versions, 2, terms, after(9999))
    assert (late[0].retires_at, late[1].activated_at, late[1].acknowledged_at) == (after(4200), after(600), after(9999))


@pytest.mark.parametrize("later_grace_s", [0, 360_000])
def test_a_hold_that_ended_is_not_rewritten_by_an_edit_of_the_account(later_grace_s: float) -> None:
    """A longer grace would bring a retired secret back to life, a shorter one cut a promise that was already given."""
    terms = Terms(3600, max_hold_s=600)
    versions = hand_out(first_version(T0), terms, T0, acknowledge=True).versions
    versions = hand_out(versions, terms, T0).versions
    edited = Terms(later_grace_s, max_hold_s=600)
    for instant in (after(4199), after(4200), after(5000)):
        assert states(versions, edited, instant) == states(versions, terms, instant)
        assert accepted(versions, edited, instant) == accepted(versions, terms, instant)


def test_a_version_in_a_long_grace_is_not_forgotten_by_many_rotations() -> None:
    versions = hand_out(first_version(T0), DAY, T0, acknowledge=True).versions
    versions = hand_out(versions, DAY, T0, acknowledge=True, grace_s=31_536_000).versions
    for _ in range(2 * MAX_KEPT_VERSIONS):
        versions = hand_out(versions, DAY, T0, acknowledge=True, grace_s=0).versions
    assert versions[0].version == 1
    assert versions[0].state_at(after(1)) is SecretState.GRACE
    assert len(versions) == MAX_KEPT_VERSIONS
    assert [version.version for version in versions] == sorted({version.version for version in versions})


def test_a_cut_holds_on_a_replica_whose_clock_is_behind(rotating: Versions) -> None:
    cut = hand_out(rotating, DAY, after(300), compromised=True).versions
    assert states(cut, DAY, after(298)) == ["retired", "retired", "pending"]
    assert accepted(cut, DAY, after(298)) == [False, False, True]


def test_a_cut_never_moves_an_end_that_came_before_it() -> None:
    versions = hand_out(first_version(T0), Terms(10), T0, acknowledge=True).versions
    versions = hand_out(versions, Terms(10), T0, acknowledge=True).versions
    cut = hand_out(versions, DAY, after(500), compromised=True).versions
    assert [version.retires_at for version in cut] == [after(10), after(500), None]
    again = hand_out(cut, DAY, after(600), compromised=True).versions
    assert [version.cut_at for version in again] == [after(500), after(500), after(600), None]


def test_a_first_use_of_a_version_cut_meanwhile_changes_nothing(rotating: Versions) -> None:
    cut = hand_out(rotating, DAY, after(300), compromised=True).versions
    assert first_use(cut, 2, DAY, after(301)) == cut


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_first_use_of_anything_but_a_pending_version_changes_nothing(rotating: Versions, number: int) -> None:
    assert first_use(rotating, number, DAY, after(300)) == rotating


def test_the_conflict_says_what_to_do(rotating: Versions) -> None:
    with pytest.raises(LifecycleConflict, match="acknowledges it, or reads it again at credentials/current"):
        hand_out(rotating, DAY, after(300))
    with pytest.raises(LifecycleConflict, match="the newest version is 2, not 1: read it again"):
        hand_out(rotating, DAY, after(300), expected_version=1, compromised=True)
    with pytest.raises(LifecycleConflict, match="version 1 is superseded: the newest is 2"):
        acknowledge(rotating, 1, DAY, after(300))
    with pytest.raises(LifecycleConflict, match="nobody can have stored it"):
        acknowledge(first_version(T0), 1, DAY, after(300))


def test_eight_live_versions_are_the_most() -> None:
    versions = hand_out(first_version(T0), DAY, T0, acknowledge=True).versions
    for _ in range(7):
        versions = hand_out(versions, DAY, T0, acknowledge=True).versions
    with pytest.raises(LifecycleConflict, match="8 versions are live: wait until one of them retires"):
        hand_out(versions, DAY, after(86_399))
    assert hand_out(versions, DAY, after(86_400)).version == 9
    assert hand_out(versions, DAY, after(1), compromised=True).version == 9


def test_the_digest_of_a_pending_version_says_so_until_it_is_cut_or_active(rotating: Versions) -> None:
    def pending(versions: Versions) -> list[bool]:
        return [digest.pending for digest in compile_digests([(each, "p1", b"") for each in versions], DAY)]

    assert pending(rotating) == [False, True]
    assert pending(acknowledge(rotating, 2, DAY, after(1))) == [False, False]
    assert pending(hand_out(rotating, DAY, after(1), compromised=True).versions) == [False, False, True]


def test_nothing_compiles_to_nothing() -> None:
    assert compile_digests([], DAY) == ()
    assert settle((), DAY, T0) == ()


def test_a_settled_version_is_settled_once(rotating: Versions) -> None:
    held = (*rotating[:1], replace(rotating[1], hold_until=after(400)))
    once = settle(held, DAY, after(500))
    assert settle(once, Terms(1), after(90_000)) == once
