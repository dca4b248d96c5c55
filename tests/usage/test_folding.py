"""Usage is what the record says, exactly: nothing twice, nothing missing, whatever the order in which it became visible."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.store import folding
from issuer.store.database import Database, DatabaseUnavailable
from issuer.store.folding import MAX_KEYS
from issuer.workers.folding import UsageFolder
from tests.usage.conftest import Writers
from tests.usage.records import API, JOB, NOON, decision, expected_rows, usage_rows

DAY = NOON.date()


async def test_a_token_counts_for_its_account_credential_scopes_and_source(
    database: Database, connection: Any, writer: Writers
) -> None:
    one = await writer()
    await one.write(decision(scope="api:read api:write", credential="secret/3"), decision(scope="api:read"))
    assert await UsageFolder(database).fold() == 2
    rows = await usage_rows(connection)
    audience = "https://api.example.com"
    assert {key[2:]: numbers[:2] for key, numbers in rows.items()} == {
        ("account", "", ""): (2, 0),
        ("credential", "secret/1", ""): (1, 0),
        ("credential", "secret/3", ""): (1, 0),
        ("scope", "api:read", audience): (2, 0),
        ("scope", "api:write", audience): (1, 0),
        ("source", "192.0.2.1", ""): (2, 0),
    }
    assert {key[:2] for key in rows} == {(API, DAY)}


async def test_a_refusal_counts_for_what_was_asked_for(database: Database, connection: Any, writer: Writers) -> None:
    one = await writer()
    refused = decision(outcome="scope_withheld", requested_scope="api:read ? ?", source="2001:db8:1:2:3::4")
    await one.write(refused, decision(outcome="account_disabled"))
    await UsageFolder(database).fold()
    assert {key[2:]: numbers[:2] for key, numbers in (await usage_rows(connection)).items()} == {
        ("account", "", ""): (0, 2),
        ("credential", "secret/1", ""): (0, 2),
        ("scope", "api:read", ""): (0, 1),
        ("scope", "?", ""): (0, 1),
        ("source", "2001:db8:1:2::/64", ""): (0, 1),
        ("source", "192.0.2.1", ""): (0, 1),
    }


async def test_a_day_is_one_of_utc_and_knows_its_first_and_last_use(
    database: Database, connection: Any, writer: Writers
) -> None:
    one = await writer()
    evening = NOON.replace(hour=23, minute=59)
    instants = [NOON, evening, evening + timedelta(minutes=2)]
    await one.write(*(decision(at=each) for each in instants))
    await UsageFolder(database).fold()
    rows = await usage_rows(connection)
    assert {key[1]: numbers for key, numbers in rows.items() if key[2] == "account"} == {
        DAY: (2, 0, NOON, evening),
        DAY + timedelta(days=1): (1, 0, instants[2], instants[2]),
    }


async def test_folding_again_folds_only_what_is_new(database: Database, connection: Any, writer: Writers) -> None:
    one, folder = await writer(), UsageFolder(database)
    records = [decision(), decision(JOB)]
    await one.write(*records)
    assert await folder.fold() == 2
    assert await folder.fold() == 0
    records.append(decision())
    await one.write(records[-1])
    assert await UsageFolder(database).fold() == 1
    assert await usage_rows(connection) == expected_rows(records)


async def test_a_writer_that_was_idle_for_long_is_folded_at_once(
    database: Database, connection: Any, writer: Writers
) -> None:
    now = await connection.fetchval("SELECT now()")
    one, busy, folder = await writer(at=now - timedelta(hours=5)), await writer(at=now), UsageFolder(database)
    await one.write(decision())
    await busy.write(decision())
    assert await folder.fold() == 2
    one.at = now
    await one.write(decision())
    assert await folder.fold() == 1


async def test_records_that_come_hours_later_with_ids_of_long_ago_are_folded_once_they_are_told_of(
    database: Database, connection: Any, writer: Writers
) -> None:
    """As a spool leaves them that was replayed when its writer was gone: by another process, an hour after."""
    now = await connection.fetchval("SELECT now()")
    gone, busy, folder = await writer(at=now - timedelta(hours=3)), await writer(at=now), UsageFolder(database)
    records = [decision() for _ in range(7)]
    await gone.write(*records[:2])
    spooled = gone.batch(*records[2:5])
    await busy.write(records[5])
    await folder.fold()
    await gone.heard_of(now - timedelta(days=2))
    await folder.fold()
    assert not await connection.fetchval(
        "SELECT count(*) FROM usage_positions WHERE writer = $1 AND NOT complete", gone.id
    )
    await busy.connection.replay(spooled.rows)
    await busy.connection.replay(spooled.rows)
    await busy.write(records[6])
    await folder.fold()
    assert await usage_rows(connection) == expected_rows(records)


async def test_what_becomes_visible_late_is_not_taken_for_folded_because_something_later_was_seen(
    database: Database, connection: Any, writer: Writers
) -> None:
    now = await connection.fetchval("SELECT now()")
    late, folder = await writer(at=now - timedelta(hours=1)), UsageFolder(database)
    records = [decision() for _ in range(4)]
    await late.write(records[0])
    await late.tell()
    assert await folder.fold() == 1
    await late.write(records[1])  # an hour old, and nobody told of it
    late.at = now
    await late.write(records[2])
    assert await folder.fold() == 0
    assert await folder.fold() == 2
    await late.write(records[3])
    await folder.fold()
    assert await usage_rows(connection) == expected_rows(records)


async def test_a_record_that_is_lost_for_good_holds_up_nothing_behind_it(
    database: Database, connection: Any, writer: Writers
) -> None:
    one, folder = await writer(), UsageFolder(database)
    first, lost, last, lost_too = (one.batch(decision()) for _ in range(4))
    for each in (first, last):
        await one.connection.write(each.rows)
    del lost, lost_too
    await folder.fold()
    await folder.fold()
    await one.tell()
    await folder.fold()
    after = one.batch(decision())
    await one.connection.write(after.rows)
    await folder.fold()
    records = [each.rows[0].record for each in (first, last, after)]
    assert await usage_rows(connection) == expected_rows(records)


async def test_a_writer_that_was_killed_is_looked_at_once_more_and_then_left_alone(
    database: Database, connection: Any, writer: Writers
) -> None:
    now = await connection.fetchval("SELECT now()")
    killed, folder = await writer(at=now - timedelta(hours=1)), UsageFolder(database)
    await killed.heard_of(now)
    await folder.fold()
    await killed.write(decision())  # late, not told of, and its writer is gone
    assert await folder.fold() == 0
    await killed.heard_of(now - timedelta(seconds=folding.SILENT_S + 5))
    assert await folder.fold() == 1
    await folder.fold()
    row = await connection.fetchrow("SELECT sequence, complete FROM usage_positions")
    assert tuple(row) == (1, True)


async def test_a_day_has_only_so_many_sources_with_numbers_of_their_own(
    database: Database, connection: Any, writer: Writers
) -> None:
    one, folder = await writer(), UsageFolder(database)
    for first in (0, 30, 60):
        await one.write(*(decision(source=f"198.51.100.{first + number}") for number in range(30)))
        await folder.fold()
    await one.write(decision(source="198.51.100.0"), decision(source="203.0.113.9"))
    await folder.fold()
    rows = {key[3]: numbers[0] for key, numbers in (await usage_rows(connection)).items() if key[2] == "source"}
    assert len(rows) == MAX_KEYS + 1
    assert (rows["198.51.100.0"], rows["198.51.100.49"]) == (2, 1)
    assert rows[""] == 90 + 2 - MAX_KEYS - 1


async def test_two_folders_at_once_are_one(database: Database, connection: Any, writer: Writers) -> None:
    writers = [await writer() for _ in range(3)]
    records = []
    folders = [UsageFolder(database, piece=7) for _ in range(2)]
    for _ in range(5):
        for one in writers:
            made = [decision() for _ in range(9)]
            await one.write(*made)
            records += made
        await asyncio.gather(*(folder.fold() for folder in folders))
    await folders[0].fold()
    assert await usage_rows(connection) == expected_rows(records)


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("statement", range(9))
async def test_a_crash_between_any_two_statements_neither_loses_nor_doubles(
    database: Database, connection: Any, writer: Writers, monkeypatch: pytest.MonkeyPatch, statement: int
) -> None:
    one = await writer()
    records = [decision(account) for account in (API, JOB) for _ in range(6)]
    await one.write(*records)
    executed = AsyncConnection.execute
    left = statement

    async def execute(self: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        return await executed(self, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(AsyncConnection, "execute", execute)
        with pytest.raises(Killed):
            await UsageFolder(database, piece=5).fold()
    rows = await usage_rows(connection)
    assert sum(numbers[0] for key, numbers in rows.items() if key[2] == "account") in {0, 5}
    await UsageFolder(database, piece=5).fold()
    assert await usage_rows(connection) == expected_rows(records)


async def test_nothing_is_folded_of_an_empty_record(database: Database, connection: Any, writer: Writers) -> None:
    assert await UsageFolder(database).fold() == 0
    await writer()
    assert await UsageFolder(database).fold() == 0
    assert await usage_rows(connection) == {}
    assert UUID(int=0) < API


async def test_a_database_that_is_too_slow_for_a_piece_is_given_smaller_ones(
    database: Database, connection: Any, writer: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    fold_piece = folding.fold_piece

    async def slow(opened: Any, after: UUID, known: Any, most: int) -> Any:
        asked.append(most)
        if most > 300:
            raise DatabaseUnavailable("57014")
        return await fold_piece(opened, after, known, most)

    monkeypatch.setattr("issuer.workers.folding.fold_piece", slow)
    one, folder = await writer(), UsageFolder(database, piece=1000)
    await one.write(decision())
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            await folder.fold()
    assert await folder.fold() == 1
    with pytest.raises(DatabaseUnavailable):
        await folder.fold()
    assert asked == [1000, 500, 250, 500]
    assert len(await usage_rows(connection)) == 4
