"""How long the record is kept (DESIGN section 12): nothing is dropped that is in no file, and what remains still verifies."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from issuer.administration.verification import Witnesses
from issuer.events import DayDropped, DayKept
from issuer.store.days import Days
from issuer.store.partitions import partition_of
from tests.databases import Databases
from tests.evidence.days import exported, lines_of, old_days, retention, tables
from tests.evidence.ledger import Ledger
from tests.world import started_world


async def test_days_are_made_before_they_come(weekly: Ledger) -> None:
    await retention(weekly).keep_days()
    today = weekly.world.clock.now().date()
    assert await tables(weekly) == [partition_of(today + timedelta(days=more)) for more in range(4)]
    await retention(weekly).keep_days()
    assert len(await tables(weekly)) == 4


async def test_a_day_whose_time_is_over_is_in_a_file_before_it_is_gone(weekly: Ledger, folder: Path) -> None:
    old = await old_days(weekly)
    rows = await weekly.query("SELECT * FROM decision_records ORDER BY id")
    await retention(weekly).keep_days()
    assert not set(old) & set(await tables(weekly))
    files = exported(folder)
    assert list(files) == [f"decisions-{name[-8:]}.jsonl" for name in old]
    lines = lines_of(files)
    gone = [row for row in rows if any(line["id"] == str(row["id"]) for line in lines)]
    assert len(gone) == len(lines) == 7 + 1  # and the token of the test's administrator
    for line, row in zip(lines, gone, strict=True):
        assert line | {"mac": bytes.fromhex(line["mac"])} == {
            name: str(value) if name in {"id", "account_uid", "writer"} else value for name, value in row.items()
        } | {"at": row["at"].isoformat(), "policies": json.loads(row["policies"])}


async def test_what_remains_and_the_files_verify(weekly: Ledger, folder: Path) -> None:
    await old_days(weekly)
    await retention(weekly).keep_days()
    files = {name: sha256(content).digest() for name, content in exported(folder).items()}
    result = await weekly.verify(witnesses=Witnesses(files))
    assert result.faults.told == []
    assert result.decisions == 4


async def test_a_file_under_the_name_of_a_day_is_the_one_that_a_checkpoint_names_or_a_fault(
    weekly: Ledger, folder: Path
) -> None:
    await old_days(weekly)
    await retention(weekly).keep_days()
    intact = {name: sha256(content).digest() for name, content in exported(folder).items()}
    first, second = sorted(intact)[:2]
    given = {first: sha256(b"changed").digest(), second: intact[first], "decisions-19700101-2.jsonl": intact[first]}
    result = await weekly.verify(witnesses=Witnesses(given))
    assert [fault.says for fault in result.faults.told] == [
        f"{first}: it is not what was exported under this name",
        f"{second}: it is not what was exported under this name",
        "decisions-19700101-2.jsonl: no checkpoint names it",
    ]
    assert result.unchecked == []


async def test_a_file_under_another_name_is_never_taken_for_a_day_whatever_is_in_it(
    weekly: Ledger, folder: Path
) -> None:
    """Not even one that is intact: it was renamed, and nobody can tell what else was done to such a file."""
    await old_days(weekly)
    await retention(weekly).keep_days()
    name, content = min(exported(folder).items())
    given = {other: sha256(content).digest() for other in ("day.jsonl", f"{name}.bak", f"x{name}", name.upper())}
    result = await weekly.verify(witnesses=Witnesses({**given, name: sha256(content).digest()}))
    assert (result.unchecked, result.faults.told) == (list(given), [])


@pytest.mark.parametrize(
    ("tamper", "kind"),
    [
        ("DELETE FROM decision_records WHERE sequence = 6", "record missing"),
        (
            "UPDATE record_chains SET dropped_sequence = 6; DELETE FROM decision_records WHERE sequence = 6",
            "record missing",
        ),
        ("UPDATE decision_records SET sequence = 1 WHERE sequence = 6", "record changed"),
        ("UPDATE decision_records SET sequence = 5 WHERE sequence = 6", "record missing"),
    ],
)
async def test_after_days_were_dropped_tampering_with_the_first_that_remains_is_found(
    weekly: Ledger, tamper: str, kind: str
) -> None:
    await old_days(weekly)
    await retention(weekly).keep_days()
    await weekly.execute(tamper)
    assert [each for each, _ in await weekly.says()] == [kind]


async def test_without_a_folder_nothing_is_dropped_and_it_is_said_once(databases: Databases, database_url: str) -> None:
    async with started_world(database_url, databases.bootstrapped, audit={"keep_decisions_days": 7}) as world:
        weekly = Ledger(world)
        old = await old_days(weekly)
        await retention(weekly).keep_days()
        await retention(weekly).keep_days()
        assert set(old) <= set(await tables(weekly))
        (kept,) = world.seen(DayKept)
        assert "audit.export_dir is not set" in kept.why
        assert partition_of(world.clock.now().date() + timedelta(days=3)) in await tables(weekly)


@pytest.fixture
def occupied(folder: Path) -> None:
    """A file is where the folder should be."""
    folder.touch()


@pytest.mark.usefixtures("occupied")
async def test_a_folder_that_cannot_be_written_keeps_the_day(weekly: Ledger) -> None:
    old = await old_days(weekly)
    await retention(weekly).keep_days()
    assert set(old) <= set(await tables(weekly))
    (kept,) = weekly.world.seen(DayKept)
    assert kept.why.endswith("cannot be written: File exists")


async def test_an_empty_day_needs_no_file(weekly: Ledger, folder: Path) -> None:
    await retention(weekly).keep_days()
    made = await tables(weekly)
    weekly.world.clock.advance(days=20)
    await retention(weekly).keep_days()
    assert not set(made[1:]) & set(await tables(weekly))
    assert [event.records for event in weekly.world.seen(DayDropped)] == [1, 0, 0, 0]
    assert len(exported(folder)) == 1


class Crash(Exception):
    """The process is killed."""


Step = Callable[..., Awaitable[Any]]


@pytest.mark.parametrize("step", ["note_export", "detach", "drop"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_at_any_step_loses_nothing_and_the_next_one_goes_on(
    weekly: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    old = await old_days(weekly)
    real: Step = getattr(Days, step)

    async def crash(*arguments: Any) -> None:
        if when == "after":
            await real(*arguments)
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(Days, step, crash)
        with pytest.raises(Crash):
            await retention(weekly).keep_days()
    assert await weekly.says() == []
    await retention(weekly).keep_days()
    assert not set(old) & set(await tables(weekly))
    assert await weekly.says() == []
    assert len(exported(folder)) == 2
    exports = await weekly.query("SELECT stated, dropped_at FROM record_exports")
    assert all(each["stated"] and each["dropped_at"] for each in exports)


async def test_a_crash_in_the_middle_of_a_file_leaves_none(
    weekly: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await old_days(weekly)

    real = Days.read

    async def crash(*arguments: Any) -> AsyncIterator[list[Any]]:
        async for batch in real(*arguments):
            yield batch
            raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(Days, "read", crash)
        with pytest.raises(Crash):
            await retention(weekly).keep_days()
    assert exported(folder) == {}


async def test_records_that_come_late_are_exported_too(
    weekly: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spool of last month is found: before its day was dropped, and after."""
    late = await weekly.writer()
    first = weekly.world.clock.now().replace(hour=12)
    await late.write(2, first, tell=False)
    await old_days(weekly)
    real = Days.detach

    async def late_arrival(days: Days, *arguments: Any) -> bool:
        monkeypatch.setattr(Days, "detach", real)
        await late.write(3, first, tell=False)
        return await real(days, *arguments)

    monkeypatch.setattr(Days, "detach", late_arrival)
    await retention(weekly).keep_days()
    assert await weekly.says() == []
    await late.write(1, first, tell=False)
    assert await weekly.says() == []
    await retention(weekly).keep_days()
    ours = [line["sequence"] for line in lines_of(exported(folder)) if line["writer"] == str(late.writer)]
    assert sorted(ours) == [1, 2, 3, 4, 5, 6]
    assert len(exported(folder)) == 3
    assert await weekly.says() == []


async def test_chains_of_which_nothing_is_left_are_forgotten(weekly: Ledger) -> None:
    await old_days(weekly)
    weekly.world.clock.advance(days=20)
    await retention(weekly).keep_days()
    left = await weekly.query("SELECT writer, sequence, dropped_sequence FROM record_chains")
    assert [row["writer"].int for row in left] == [0]
    assert await weekly.says() == []
