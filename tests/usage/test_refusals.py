"""Refusals of strangers are numbers, as many as we allow: no stranger makes us write more, and none is written twice."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from issuer.events import Caller, TokenRefused
from issuer.sources import system_sources
from issuer.store.database import Database, DatabaseUnavailable
from issuer.store.refusals import MAX_KEYS_A_MINUTE, RefusalKey, save_counts
from issuer.workers import refusals
from issuer.workers.refusals import MAX_KEYS, OTHER, Refusals
from tests.world import Clock

KNOWN = "sa-5f0c1d3e-0000-4000-8000-000000000001"


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.instant = clock.instant.replace(second=1, microsecond=0)
    return clock


@pytest.fixture
def counted(database: Database, clock: Clock) -> Refusals:
    def nobody(_: TokenRefused) -> None:
        pytest.fail("no account was refused")

    return Refusals(nobody, database, replace(system_sources(), now=clock.now))


def refused(failure: str = "secret_wrong", client_id: str | None = KNOWN, source: str = "192.0.2.1") -> TokenRefused:
    return TokenRefused(failure, "", client_id, source)


async def written(connection: Any) -> list[tuple[Any, ...]]:
    rows = await connection.fetch(
        "SELECT reason, client_id, source, count FROM refusal_counts ORDER BY minute, 1, 2, 3"
    )
    return [tuple(row) for row in rows]


async def test_strangers_are_numbers_by_minute_reason_known_client_and_network(
    counted: Refusals, connection: Any, clock: Clock
) -> None:
    for each in (
        refused(),
        refused(),
        refused(source="2001:db8::1"),
        refused(source="2001:db8::2"),
        refused("client_unknown", None),
    ):
        counted.note(each)
    clock.advance(minutes=1)
    counted.note(refused())
    await counted.flush()
    assert await written(connection) == [
        ("client_unknown", "unknown", "192.0.2.1", 1),
        ("secret_wrong", KNOWN, "192.0.2.1", 2),
        ("secret_wrong", KNOWN, "2001:db8::/64", 2),
        ("secret_wrong", KNOWN, "192.0.2.1", 1),
    ]


async def test_the_refusal_of_an_account_goes_to_the_record_and_to_no_number(
    database: Database, connection: Any
) -> None:
    recorded: list[TokenRefused] = []
    counted = Refusals(recorded.append, database, system_sources())
    caller = Caller(uuid4(), "payments", "api", 1, "client_secret_basic", "secret/1", "192.0.2.1", None)
    counted.note(TokenRefused("account_disabled", "", KNOWN, "192.0.2.1", caller))
    await counted.flush()
    assert [each.caller for each in recorded] == [caller]
    assert await written(connection) == []


async def test_a_minute_is_written_over_and_over_as_the_whole_of_it(counted: Refusals, connection: Any) -> None:
    for number in range(1, 4):
        counted.note(refused())
        await counted.flush()
        await counted.flush()
        assert await written(connection) == [("secret_wrong", KNOWN, "192.0.2.1", number)]


async def test_the_same_numbers_written_again_and_older_ones_after_newer_change_nothing(
    database: Database, connection: Any, clock: Clock
) -> None:
    key, writer = RefusalKey(clock.now().replace(second=0), "secret_wrong", KNOWN, "192.0.2.1"), uuid4()
    for count in (2, 5, 5, 2):
        async with database.transaction() as opened:
            await save_counts(opened, writer, {key: count})
    assert [row[3] for row in await written(connection)] == [5]


async def test_strangers_write_no_more_rows_a_minute_than_we_allow(counted: Refusals, connection: Any) -> None:
    for number in range(3 * MAX_KEYS_A_MINUTE):
        counted.note(
            refused(("secret_wrong", "client_unknown")[number % 2], None, f"10.0.{number >> 8}.{number & 255}")
        )
    await counted.flush()
    rows = await written(connection)
    assert len(rows) <= MAX_KEYS_A_MINUTE + 2
    assert sum(row[3] for row in rows) == 3 * MAX_KEYS_A_MINUTE
    assert {row[:3] for row in rows} >= {("secret_wrong", OTHER, OTHER), ("client_unknown", OTHER, OTHER)}


async def test_while_the_database_is_away_nothing_grows_beyond_the_bound_and_nothing_is_forgotten(
    counted: Refusals, connection: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise DatabaseUnavailable("away")

    total = 0
    with monkeypatch.context() as patched:
        patched.setattr(refusals, "save_counts", away)
        for minute in range(60):
            for number in range(MAX_KEYS_A_MINUTE + 10):
                counted.note(refused("client_unknown", None, f"10.{minute}.{number >> 8}.{number & 255}"))
                total += 1
            clock.advance(minutes=1)
            with pytest.raises(DatabaseUnavailable):
                await counted.flush()
        assert len(counted._counts) <= MAX_KEYS + 1
    await counted.flush()
    assert sum(row[3] for row in await written(connection)) == total
    clock.advance(minutes=1)
    counted.note(refused())
    await counted.flush()
    assert len(counted._counts) == 1


async def test_a_clock_that_goes_back_does_not_bring_a_minute_back(
    counted: Refusals, connection: Any, clock: Clock
) -> None:
    counted.note(refused())
    clock.advance(minutes=2)
    counted.note(refused())
    await counted.flush()
    clock.advance(minutes=-2)
    counted.note(refused())
    await counted.flush()
    assert [row[3] for row in await written(connection)] == [1, 2]
