"""Days come and go beside writers, readers and other controllers, and none of them waits or sees half of it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from issuer.events import DayDropped, DayExported, DayKept
from issuer.store import days as days_of_store
from issuer.store.database import DatabaseUnavailable
from tests.databases import Databases
from tests.evidence.days import old_days, retention, tables
from tests.evidence.ledger import Ledger
from tests.world import started_world


async def test_a_day_is_made_while_decisions_are_being_written(weekly: Ledger) -> None:
    """No lock is asked for that the next COPY would have to wait behind."""
    writing = await asyncpg.connect(weekly.url)
    try:
        await writing.execute("BEGIN; LOCK TABLE decision_records IN ROW EXCLUSIVE MODE")
        await asyncio.wait_for(retention(weekly).keep_days(), 10)
    finally:
        await writing.close()
    assert len(await tables(weekly)) == 4


async def test_of_two_controllers_at_once_one_works(databases: Databases, weekly: Ledger, folder: Path) -> None:
    await old_days(weekly)
    audit = {"export_dir": str(folder), "keep_decisions_days": 7}
    async with started_world(weekly.url, databases.bootstrapped, weekly.world.clock, audit=audit) as other:
        both = (retention(weekly), other.issuer.attestation.retention)
        await asyncio.gather(*(each.keep_days() for each in both))
        dropped = weekly.world.seen(DayDropped) + other.seen(DayDropped)
        assert len(dropped) == len({event.day for event in dropped}) == 2
        assert len(weekly.world.seen(DayExported) + other.seen(DayExported)) == 2
    assert await weekly.says() == []


async def test_a_long_look_at_the_record_delays_the_drop_and_nobody_else(
    weekly: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(days_of_store, "_LOCK_TIMEOUT", "100ms")
    old = await old_days(weekly)
    looking = await asyncpg.connect(weekly.url)
    try:
        await looking.execute("BEGIN; SELECT count(*) FROM decision_records")
        dropping = asyncio.create_task(retention(weekly).keep_days())
        writer = await weekly.writer()
        await asyncio.wait_for(writer.write(5, weekly.world.clock.now()), 10)
        await dropping
    finally:
        await looking.close()
    (kept,) = weekly.world.seen(DayKept)
    assert kept.why.startswith("somebody reads it")
    await weekly.attest()
    assert await weekly.says() == []
    await retention(weekly).keep_days()
    assert not set(old) & set(await tables(weekly))
    assert await weekly.says() == []


async def test_beside_writers_checkpoints_and_days_that_go_nothing_is_ever_broken(
    weekly: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look is at one instant, whatever happens around it."""
    monkeypatch.setattr(days_of_store, "_LOCK_TIMEOUT", "50ms")
    clock, going_on = weekly.world.clock, True
    writers = [await weekly.writer() for _ in range(3)]

    async def repeat(step: Callable[[], Awaitable[Any]]) -> None:
        while going_on:
            with suppress(DatabaseUnavailable):  # somebody looks at the day that is to go
                await step()
            await asyncio.sleep(0.005)

    async def write() -> None:
        clock.advance(days=1)
        await asyncio.gather(*(writer.write(3, clock.now(), tell=clock.now().day % 2 == 0) for writer in writers))

    steps = (write, weekly.attest, retention(weekly).keep_days, retention(weekly).drop_admin_records)
    around = [asyncio.create_task(repeat(step)) for step in steps]
    said = [await weekly.says() for _ in range(12)]
    going_on = False
    await asyncio.gather(*around)
    assert said == [[]] * 12
    clock.advance(days=9)
    await retention(weekly).keep_days()
    assert weekly.world.seen(DayDropped)
    assert await weekly.says() == []
