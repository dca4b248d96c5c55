"""Durations: Go syntax, whole seconds, 10 s to 24 h; what is printed is read back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from issuer.model.durations import Duration, format_duration, parse_duration_s

PARSED = {"10s": 10, "5m": 300, "1h": 3600, "1h30m": 5400, "1h0m30s": 3630, "90m": 5400, "30m1h": 5400, "1m1m": 120}
REFUSED = [
    "",
    "5",
    "m",
    "5M",
    "1.5h",
    "-5m",
    "+5m",
    "5 m",
    " 5m",
    "5m ",
    "5m\n",
    "1d",
    "1ms",
    "\u0665m",
    "1e3s",
    "1_0s",
]


@pytest.mark.parametrize(("text", "seconds"), PARSED.items())
def test_reads(text: str, seconds: int) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", REFUSED, ids=repr)
def test_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration_s(text)


@settings(deadline=None)
@given(st.integers(0, 999_999 * 3600))
def test_what_is_printed_is_read_back(seconds: int) -> None:
    assert parse_duration_s(format_duration(seconds)) == seconds


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 999), st.sampled_from("hms")), min_size=1, max_size=4))
def test_what_is_read_prints_the_same_length_of_time(parts: list[tuple[int, str]]) -> None:
    seconds = parse_duration_s("".join(f"{number}{unit}" for number, unit in parts))
    assert parse_duration_s(format_duration(seconds)) == seconds


@pytest.mark.parametrize(("text", "fits"), [("9s", False), ("10s", True), ("24h", True), ("24h1s", False)])
def test_a_token_lives_from_10_s_to_24_h(text: str, fits: bool) -> None:
    adapter = TypeAdapter[str](Duration)
    if fits:
        assert adapter.validate_python(text) == text
    else:
        with pytest.raises(ValidationError, match="from 10s to 24h"):
            adapter.validate_python(text)
