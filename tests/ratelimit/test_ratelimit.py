"""Rates and places: so much and no more, for each key alone, in bounded memory."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuer.ratelimit import FailureRates, NoPlace, Places, Rates

MINE, YOURS = "sa-1", "sa-2"
HERE, THERE = "192.0.2.1", "198.51.100.7"


@given(st.integers(1, 1000), st.lists(st.floats(0, 30), max_size=200))
def test_never_more_than_a_minutes_allowance_and_what_has_filled_again_since(
    per_minute: int, pauses: list[float]
) -> None:
    rates, now, admitted = Rates(10), 1000.0, 0
    for pause in pauses:
        now += pause
        admitted += rates.admit("a", per_minute, now) is None
    assert admitted <= per_minute + (now - 1000) * per_minute / 60 + 1


@given(st.integers(1, 600))
def test_after_the_wait_it_named_one_more_is_admitted(per_minute: int) -> None:
    rates = Rates(10)
    while (wait_s := rates.admit("a", per_minute, 5.0)) is None:
        pass
    assert rates.admit("a", per_minute, 5.0 + wait_s) is None


def test_who_is_refused_is_not_counted_and_looking_counts_nothing() -> None:
    rates = Rates(10)
    for _ in range(100):
        assert rates.wait_s("a", 1, 0.0) is None
    assert rates.admit("a", 1, 0.0) is None
    waits = [rates.admit("a", 1, 0.0) for _ in range(100)]
    assert waits == [60] * 100


def test_rates_are_bounded_and_the_least_recently_counted_begins_anew() -> None:
    rates = Rates(2)
    for key in "abc":
        assert rates.admit(key, 1, 0.0) is None
    assert len(rates) == 2
    assert rates.admit("c", 1, 0.0) is not None
    assert rates.admit("a", 1, 0.0) is None


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_client_fails_so_often_from_one_source_and_no_other_pair_pays_for_it() -> None:
    failures = FailureRates()
    for _ in range(FailureRates.PER_MINUTE):
        assert failures.admit(MINE, HERE, 0.0) is None
    assert failures.admit(MINE, HERE, 0.0) == failures.wait_s(MINE, HERE, 0.0) == 2
    assert failures.wait_s(MINE, THERE, 0.0) is None
    assert failures.wait_s(YOURS, HERE, 0.0) is None


def test_a_source_fails_so_often_whatever_it_names() -> None:
    failures = FailureRates()
    for number in range(FailureRates.PER_MINUTE_OF_A_SOURCE):
        assert failures.admit(f"sa-{number}", HERE, 0.0) is None
    assert failures.wait_s("sa-new", HERE, 0.0) is not None
    assert failures.wait_s("sa-new", THERE, 0.0) is None


def test_a_client_fails_so_often_from_however_many_sources() -> None:
    failures = FailureRates()
    for number in range(FailureRates.PER_MINUTE_OF_A_CLIENT):
        assert failures.admit(MINE, f"192.0.2.{number}", 0.0) is None
    assert failures.wait_s(MINE, HERE, 0.0) is not None
    assert failures.wait_s(YOURS, HERE, 0.0) is None


def test_one_client_that_fails_for_ever_does_not_use_up_its_source() -> None:
    """A deployment with an old secret must not stand in the light of its neighbours behind the same address."""
    failures = FailureRates()
    for _ in range(10_000):
        failures.admit(MINE, HERE, 0.0)
    assert failures.wait_s(YOURS, HERE, 0.0) is None


@pytest.mark.parametrize(
    ("failed", "per_minute"),
    [
        ([(MINE, HERE)] * 1000, FailureRates.PER_MINUTE),
        ([(f"sa-{number}", HERE) for number in range(1000)], FailureRates.PER_MINUTE_OF_A_SOURCE),
        ([(MINE, f"192.0.2.{number}") for number in range(1000)], FailureRates.PER_MINUTE_OF_A_CLIENT),
    ],
    ids=["a pair", "a source", "a client"],
)
def test_no_more_are_expected_than_may_still_fail(failed: list[tuple[str, str]], per_minute: int) -> None:
    failures = FailureRates()
    for pair in failed:
        failures.admit(*pair, 0.0)
    later = 4 * 60 / per_minute
    with ExitStack() as waiting:
        for _ in range(4):
            assert failures.wait_s(MINE, HERE, later) is None
            waiting.enter_context(failures.expected(MINE, HERE, later))
        assert failures.wait_s(MINE, HERE, later) is not None
        with pytest.raises(NoPlace), failures.expected(MINE, HERE, later):
            pytest.fail("a fifth may not fail")
        with failures.expected(YOURS, THERE, later):
            pass
    assert [failures.admit(MINE, HERE, later) is None for _ in range(5)] == [True] * 4 + [False]


def test_who_finds_no_room_beside_the_expected_waits_as_if_they_were_not_there() -> None:
    failures = FailureRates()
    with ExitStack() as waiting:
        for _ in range(256):
            waiting.enter_context(failures.expected(MINE, HERE, 100.0))
        assert failures.admit(MINE, HERE, 100.25) is None
        assert failures.wait_s(MINE, HERE, 100.25) == 1, "none of them may fail, and there is room at once"
        while failures.admit(MINE, HERE, 100.25) is None:
            pass
        assert failures.wait_s(MINE, HERE, 100.25) == failures.admit(MINE, HERE, 100.25) == 2


def test_where_nobody_failed_any_number_is_expected_and_forgotten_afterwards() -> None:
    failures = FailureRates()
    with ExitStack() as waiting:
        for _ in range(10_000):
            waiting.enter_context(failures.expected(MINE, HERE, 1000.0))
    for rates in (failures._of_pairs, failures._of_sources, failures._of_clients):
        assert not rates._expected


# --- places -----------------------------------------------------------------------------------------------------------


def test_places_are_bounded_for_a_source_and_in_all_and_come_back() -> None:
    places = Places(5, 3)
    with ExitStack() as taken:
        for _ in range(3):
            taken.enter_context(places.place(HERE))
        with pytest.raises(NoPlace), places.place(HERE):
            pytest.fail("there was room")
        for _ in range(2):
            taken.enter_context(places.place(THERE))
        with pytest.raises(NoPlace), places.place("203.0.113.1"):
            pytest.fail("there was room")
        assert len(places) == 5
    assert len(places) == 0
    assert not places._taken, "a source that waits no more is forgotten"


def test_a_place_comes_back_after_an_error() -> None:
    places = Places(1, 1)
    for _ in range(3):
        with pytest.raises(KeyError), places.place(HERE):
            raise KeyError
    assert len(places) == 0
