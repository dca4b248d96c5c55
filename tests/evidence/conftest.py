"""Fixtures: a record with real chains, and one in which something happened."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.databases import Databases
from tests.evidence.ledger import Ledger, Scene
from tests.world import World, started_world


@pytest.fixture
def ledger(world: World) -> Ledger:
    return Ledger(world)


@pytest.fixture
async def scene(ledger: Ledger) -> Scene:
    writer, other = await ledger.writer(), await ledger.writer()
    now = ledger.world.clock.now()
    await ledger.world.account()
    rows = await writer.write(3, now)
    await other.write(3, now)
    await ledger.attest()
    rows += await writer.write(3, now + timedelta(seconds=1))
    await other.write(3, now, ended=True)
    await ledger.attest()
    assert await ledger.says() == []
    return Scene(ledger, writer, rows, other.writer)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "exported"


@pytest.fixture
async def weekly(databases: Databases, database_url: str, folder: Path) -> AsyncIterator[Ledger]:
    """One that keeps decisions for a week and exports them."""
    audit = {"export_dir": str(folder), "keep_decisions_days": 7, "keep_admin_days": 400}
    async with started_world(database_url, databases.bootstrapped, audit=audit) as world:
        yield Ledger(world)
