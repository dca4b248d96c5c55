"""Two replicas on one database: what one made works on the other, and how often the database is asked."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
import pytest_asyncio
import sqlalchemy as sa

from tests.databases import Databases
from tests.delivery.driver import Driver, driver_of_new_account
from tests.world import Clock, World, started_world

pytestmark = pytest.mark.asyncio(loop_scope="module")

REREAD_S = 1


@pytest_asyncio.fixture(loop_scope="module")
async def other(world: World, databases: Databases) -> AsyncIterator[World]:
    """A second replica on the same database, with the same clock."""
    async with started_world(world.database_url, databases.bootstrapped, world.clock) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def driver(other: World) -> Driver:
    """A driver that talks to the second replica."""
    return await driver_of_new_account(other)


@contextmanager
def counted_queries(world: World) -> Iterator[list[str]]:
    """The statements of the token path, as they are sent."""
    statements: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        statements.append(statement)

    engine = world.issuer.databases[0].engine.sync_engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


async def code(world: World, client_id: str, secret: str) -> int:
    return (await world.token(client_id, secret)).status_code


async def test_a_secret_made_on_another_replica_works_at_once(world: World, driver: Driver) -> None:
    first = await driver.given(acknowledge=True)
    assert await code(world, driver.client_id, first) == 200
    world.clock.advance(seconds=REREAD_S)
    await other_renewed(driver)
    second = await driver.given()
    with counted_queries(world) as queries:
        assert await code(world, driver.client_id, second) == 200
        assert await code(world, driver.client_id, first) == 200
    assert len(queries) == 1


async def test_a_cut_on_another_replica_is_in_force_here_after_the_next_poll(world: World, driver: Driver) -> None:
    first = await driver.given(acknowledge=True)
    assert await code(world, driver.client_id, first) == 200
    await driver.given(compromised=True)
    await world.issuer.reloader.catch_up()
    assert await code(world, driver.client_id, first) == 401


async def test_a_cut_made_by_a_replica_whose_clock_runs_ahead_is_in_force_here(
    world: World, databases: Databases
) -> None:
    async with started_world(world.database_url, databases.bootstrapped, Clock(world.clock.now())) as ahead:
        driver = await driver_of_new_account(ahead)
        first = await driver.given(acknowledge=True)
        await driver.later(seconds=2)
        await driver.given(compromised=True)
        await world.issuer.reloader.catch_up()
        assert world.clock.now() < ahead.clock.now()
        assert await code(world, driver.client_id, first) == 401


async def test_a_first_use_here_is_written_once_whichever_replica_saw_it(world: World, driver: Driver) -> None:
    secret = await driver.given()
    assert await code(world, driver.client_id, secret) == 200
    assert await driver.works(secret)
    await world.issuer.first_uses.flush()
    await driver.world.issuer.first_uses.flush()
    assert await driver.states() == {1: "active"}
    first_uses = [*world.events, *driver.world.events]
    assert sum(type(event).__name__ == "SecretFirstUsed" for event in first_uses) == 1


@pytest.mark.parametrize("whose", ["known", "unknown"])
async def test_wrong_secrets_cost_at_most_one_query_a_second_for_known_and_unknown_ids_alike(
    world: World, driver: Driver, whose: str
) -> None:
    await driver.given(acknowledge=True)
    await world.issuer.reloader.catch_up()
    client_id = driver.client_id if whose == "known" else f"sa-{uuid4()}"
    counts = []
    for seconds in (0, 0, 0.5, 0.499, 0.001, 0.001, 5, 0):
        world.clock.advance(seconds=seconds)
        with counted_queries(world) as queries:
            assert await code(world, client_id, "isk1_wrong") == 401
        counts.append(len(queries))
    assert counts == [1, 0, 0, 0, 1, 0, 1, 0]


async def test_the_right_secret_of_an_account_in_memory_costs_no_query(world: World, driver: Driver) -> None:
    secret = await driver.given(acknowledge=True)
    await world.issuer.reloader.catch_up()
    assert await code(world, driver.client_id, secret) == 200
    world.clock.advance(days=1)
    with counted_queries(world) as queries:
        for _ in range(3):
            assert await code(world, driver.client_id, secret) == 200
    assert queries == []


UUID4 = "0b0f4f6e-6f4f-4b6e-9d3a-2f1c7a5e8d90"


@pytest.mark.parametrize(
    "client_id", ["", "admin", "sa-", "sa-1", f"SA-{UUID4}", f"sa-{UUID4}x", f"sa-{UUID4.replace('-', '')}"]
)
async def test_an_id_of_another_shape_is_never_looked_up(world: World, client_id: str) -> None:
    with counted_queries(world) as queries:
        assert await code(world, client_id, "isk1_wrong") == 401
    assert queries == []


async def other_renewed(driver: Driver) -> None:
    """The clock was moved: the second replica's administrator signs in again."""
    await driver.world.renew_admin()
