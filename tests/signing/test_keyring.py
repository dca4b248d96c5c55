"""The states of a signing key (DESIGN section 7): instants are stored, states computed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from issuer.signing.keyring import KeyRecord, KeyState, active_key, published_keys

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(hours: float) -> datetime:
    return T0 + timedelta(hours=hours)


def key(
    kid: str = "k",
    keyset: str = "default",
    *,
    created: float = 0,
    published: float | None = 0,
    activated: float | None = None,
    retires: float | None = None,
    compromised: float | None = None,
) -> KeyRecord:
    instants = [None if hours is None else at(hours) for hours in (published, activated, retires, compromised)]
    parts: dict[str, Any] = dict(
        zip(("published_at", "activated_at", "retires_at", "compromised_at"), instants, strict=True)
    )
    return KeyRecord(kid, keyset, "ES256", {"kty": "EC"}, at(created), **parts)


STATES = {
    "made": (key(published=None), KeyState.PENDING),
    "published": (key(), KeyState.PENDING),
    "activated": (key(activated=1), KeyState.ACTIVE),
    "superseded, its tokens still live": (key(activated=1, retires=11), KeyState.RETIRING),
    "its last token has expired": (key(activated=1, retires=10), KeyState.RETIRED),
    "retired long ago": (key(activated=1, retires=2), KeyState.RETIRED),
    "compromised while pending": (key(compromised=5), KeyState.COMPROMISED),
    "compromised while active": (key(activated=1, compromised=5), KeyState.COMPROMISED),
    "compromised while retiring": (key(activated=1, retires=11, compromised=5), KeyState.COMPROMISED),
    "compromised after it retired": (key(activated=1, retires=2, compromised=5), KeyState.COMPROMISED),
}


@pytest.mark.parametrize(("record", "state"), STATES.values(), ids=STATES.keys())
def test_state_ten_hours_on(record: KeyRecord, state: KeyState) -> None:
    assert record.state_at(at(10)) is state


@pytest.mark.parametrize(("record", "state"), STATES.values(), ids=STATES.keys())
def test_published_in_these_states(record: KeyRecord, state: KeyState) -> None:
    shown = state in {KeyState.PENDING, KeyState.ACTIVE, KeyState.RETIRING} and record.published_at is not None
    assert published_keys([record], at(10)) == ((record,) if shown else ())


@pytest.mark.parametrize(("record", "state"), STATES.values(), ids=STATES.keys())
def test_signs_in_this_state_only(record: KeyRecord, state: KeyState) -> None:
    assert active_key([record], at(10)) == (record if state is KeyState.ACTIVE else None)


def test_a_key_that_nobody_has_seen_published_never_signs() -> None:
    assert active_key([key(published=None, activated=1)], at(10)) is None


def test_retirement_is_at_its_moment() -> None:
    record = key(activated=1, retires=10)
    just_before = at(10) - timedelta(microseconds=1)
    assert [record.state_at(instant) for instant in (just_before, at(10))] == [KeyState.RETIRING, KeyState.RETIRED]


def test_of_two_active_keys_the_one_activated_last_signs() -> None:
    """spring AS #1005: two keys of one algorithm must not break signing."""
    older, newer = key("a", activated=1), key("b", activated=2)
    assert active_key([newer, older], at(10)) == active_key([older, newer], at(10)) == newer


def test_two_keys_activated_at_once_are_told_apart_the_same_way_everywhere() -> None:
    one, other = key("a", activated=1), key("b", activated=1)
    assert active_key([one, other], at(10)) == active_key([other, one], at(10))


def test_no_keys_no_signature() -> None:
    assert active_key([], at(10)) is None
    assert published_keys([], at(10)) == ()


def test_the_jwks_is_ordered_by_keyset_and_age() -> None:
    keys = [key("d", "rs256"), key("c", created=2), key("b", created=1), key("a", created=1)]
    assert [record.kid for record in published_keys(keys, at(10))] == ["a", "b", "c", "d"]


def test_an_unknown_kid_is_not_made_up_and_no_private_half_is_in_the_record() -> None:
    assert set(KeyRecord.__slots__) == {
        *("kid", "keyset", "algorithm", "public_jwk"),
        *("created_at", "published_at", "activated_at", "retires_at", "compromised_at", "signed_ttl_s"),
    }


instants = st.none() | st.floats(0, 20)
records = st.lists(
    st.builds(
        lambda number, published, activated, retires, compromised: key(
            f"k{number}", published=published, activated=activated, retires=retires, compromised=compromised
        ),
        st.integers(0, 1000),
        instants,
        instants,
        instants,
        instants,
    ),
    max_size=6,
)


@settings(deadline=None)
@given(records, st.floats(0, 25))
def test_what_signs_is_published(keys: list[KeyRecord], hours: float) -> None:
    signing = active_key(keys, at(hours))
    assert signing is None or signing in published_keys(keys, at(hours))


@settings(deadline=None)
@given(records, st.floats(0, 25), st.floats(0, 25))
def test_a_retired_or_compromised_key_never_comes_back(keys: list[KeyRecord], one: float, other: float) -> None:
    early, late = at(min(one, other)), at(max(one, other))
    for record in keys:
        if record.state_at(early) in {KeyState.RETIRED, KeyState.COMPROMISED}:
            assert record not in published_keys(keys, late)
