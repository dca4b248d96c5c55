"""Durations, instants, client ids, scope tokens: the small values, read and written."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuer.model.durations import format_duration, parse_duration_s
from issuer.model.resource import client_id_of, parse_client_id
from issuer.model.scopes import is_scope_token
from issuer.model.times import format_time, parse_time


# Source of the syntax: Go's time.ParseDuration; whole hours, minutes and seconds of it.
@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5m", 300), ("1h30m", 5400), ("90s", 90), ("0h5m", 300), ("1m1h", 3660), ("24h", 86400), ("0s", 0), ("1s1s", 2)],
)
def test_a_duration_is_read_as_go_reads_it(text: str, seconds: int) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "5 m", "5min", "-5m", "+5m", "1.5h", "300ms", "1d", "m", "5m ", "5m\n", "PT5M", "\u0665m", "5M"]
)
def test_another_writing_of_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration_s(text)


@given(st.integers(min_value=0, max_value=10**9))
def test_a_written_duration_is_read_back(seconds: int) -> None:
    assert parse_duration_s(format_duration(seconds)) == seconds


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_written_instant_is_read_back_to_the_second(instant: datetime) -> None:
    assert parse_time(format_time(instant)) == instant.replace(microsecond=0)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-01-15T03:00:00Z", datetime(2026, 1, 15, 3, tzinfo=UTC)),
        ("2026-01-15t03:00:00z", datetime(2026, 1, 15, 3, tzinfo=UTC)),
        ("2026-01-15T03:00:00.123456789+01:00", datetime(2026, 1, 15, 2, 0, 0, 123456, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_rfc_3339_is_read(text: str, instant: datetime) -> None:
    assert parse_time(text) == instant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-15",
        "2026-01-15T03:00:00",
        "2026-01-15 03:00:00Z",
        "2026-01-15T03:00Z",
        "20260115T030000Z",
        "2026-W03-4T03:00:00Z",
        "2026-02-30T03:00:00Z",
        "2026-01-15T24:00:01Z",
        "2026-01-15T03:00:60Z",
        "2026-01-15T03:00:00+24:00",
        "2026-01-15T03:00:00Z\n",
        "٢٠٢٦-01-15T03:00:00Z",
    ],
)
def test_another_writing_of_an_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="RFC 3339"):
        parse_time(text)


UID = UUID("a1b2c3d4-e5f6-4890-abcd-ef1234567890")


def test_a_client_id_leads_back_to_its_account() -> None:
    assert client_id_of(UID) == f"sa-{UID}"
    assert parse_client_id(client_id_of(UID)) == UID


@pytest.mark.parametrize(
    "client_id",
    [
        "",
        str(UID),
        f"sb-{UID}",
        f"sa-{str(UID).upper()}",
        f"sa-{UID}x",
        f"sa-{{{UID}}}",
        f"sa-{UID.hex}",
        f"sa-urn:uuid:{UID}",
        "sa-a1b2c3d4-e5f6-7890-abcd-ef1234567890",
        "sa-a1b2c3d4e-5f6-4890-abcd-ef1234567890",
        "sa-" + "é" * 36,
        "sa-\0" + "0" * 35,
    ],
    ids=lambda value: repr(value)[:48],
)
def test_an_id_of_another_shape_is_nobodys(client_id: Any) -> None:
    assert parse_client_id(client_id) is None


@given(st.text(max_size=3))
def test_a_scope_token_has_the_characters_of_rfc_6749_section_3_3(text: str) -> None:
    allowed = {chr(code) for code in (0x21, *range(0x23, 0x5C), *range(0x5D, 0x7F))}
    assert is_scope_token(text) == (text != "" and set(text) <= allowed)
