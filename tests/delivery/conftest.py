"""Fixtures of delivery: one issuer for each file, and for each test an account whose first secret waits for its driver."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.databases import Databases
from tests.delivery.driver import Driver, driver_of_new_account
from tests.world import World, started_world


@pytest.fixture(scope="module")
def standing_database_url(databases: Databases) -> Iterator[str]:
    with databases.copy() as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing_world(databases: Databases, standing_database_url: str) -> AsyncIterator[World]:
    """A world that many tests use, each with an account of its own."""
    async with started_world(standing_database_url, databases.bootstrapped) as world:
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def world(standing_world: World) -> World:
    """As good as new but for its age: nothing was noticed yet, nothing waits, the administrator is signed in."""
    standing_world.issuer.first_uses._waiting.clear()
    standing_world.anonymous.headers.pop("authorization", None)
    await standing_world.renew_admin()
    standing_world.events.clear()
    return standing_world


@pytest_asyncio.fixture(loop_scope="module")
async def driver(world: World) -> Driver:
    return await driver_of_new_account(world)
