"""First uses of pending secrets: written beside the token path, once, and not lost while the database is away."""

import asyncio
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from issuer.administration.secrets import SecretKeeper
from issuer.events import Event, FirstUseNotRecorded, SecretFirstUsed
from issuer.model.resource import client_id_of
from issuer.store.database import DatabaseUnavailable
from issuer.workers import firstuse
from issuer.workers.firstuse import MAX_WAITING, FirstUses
from tests.delivery.driver import Driver

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Keeper:
    """Writes first uses; the first `failures` times the database is away."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.written: list[tuple[UUID, int]] = []
        self.wrote = asyncio.Event()

    async def record_first_use(self, uid: UUID, version: int) -> None:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailable("08006")
        self.written.append((uid, version))
        self.wrote.set()


def first_uses(keeper: Any, events: list[Event]) -> FirstUses:
    return FirstUses(cast("SecretKeeper", keeper), events.append)


@pytest.fixture(autouse=True)
def retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firstuse, "_RETRY_S", 0)


async def test_while_the_database_is_away_nothing_is_lost_and_everybody_hears_of_it() -> None:
    keeper, events, uid = Keeper(failures=2), list[Event](), uuid4()
    noted = first_uses(keeper, events)
    noted.note(client_id_of(uid), 3)
    await noted.flush()
    assert events == [FirstUseNotRecorded(client_id_of(uid), 3, "08006")] * 2
    assert keeper.written == [(uid, 3)]


async def test_the_same_use_is_written_once() -> None:
    keeper, uid = Keeper(), uuid4()
    noted = first_uses(keeper, [])
    for version in (1, 2, 1, 1):
        noted.note(client_id_of(uid), version)
    await noted.flush()
    await noted.flush()
    assert keeper.written == [(uid, 1), (uid, 2)]


async def test_what_waits_is_bounded_and_what_did_not_fit_is_noted_at_its_next_use() -> None:
    keeper, late = Keeper(), uuid4()
    noted = first_uses(keeper, [])
    for number in range(MAX_WAITING):
        noted.note(client_id_of(UUID(int=number, version=4)), 1)
    noted.note(client_id_of(late), 1)
    assert len(noted._waiting) == MAX_WAITING
    noted._waiting.clear()
    noted.note(client_id_of(late), 1)
    await noted.flush()
    assert keeper.written == [(late, 1)]


async def test_the_worker_writes_as_soon_as_something_is_noted() -> None:
    keeper, uid = Keeper(), uuid4()
    noted = first_uses(keeper, [])
    running = asyncio.create_task(noted.run())
    for version in (1, 2):
        noted.note(client_id_of(uid), version)
        async with asyncio.timeout(5):
            await keeper.wrote.wait()
        keeper.wrote.clear()
    running.cancel()
    assert keeper.written == [(uid, 1), (uid, 2)]


async def test_noting_never_waits_and_ignores_what_is_no_client_id() -> None:
    keeper = Keeper()
    noted = first_uses(keeper, [])
    noted.note("isk1_not-an-id", 1)
    await noted.flush()
    assert keeper.written == []


async def test_the_first_use_of_an_account_deleted_meanwhile_is_no_error(driver: Driver) -> None:
    assert await driver.works(await driver.given())
    await driver.admin.delete(driver.path)
    await driver.world.issuer.first_uses.flush()
    assert driver.world.seen(SecretFirstUsed) == []
    assert driver.world.seen(FirstUseNotRecorded) == []


async def test_the_workers_of_a_server_write_it_without_being_asked(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, written = driver.world, asyncio.Event()
    record = world.issuer.keeper.record_first_use

    async def recording(uid: UUID, version: int) -> None:
        await record(uid, version)
        written.set()

    monkeypatch.setattr(world.issuer.keeper, "record_first_use", recording)
    secret = await driver.given()
    running = asyncio.create_task(world.issuer.first_uses.run())
    assert await driver.works(secret)
    async with asyncio.timeout(5):
        await written.wait()
    running.cancel()
    assert world.seen(SecretFirstUsed) == [SecretFirstUsed(driver.client_id, 1)]
    assert await driver.states() == {1: "active"}


async def test_no_token_waits_for_its_first_use_to_be_written(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_: UUID, __: int) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(driver.world.issuer.keeper, "record_first_use", never)
    running = asyncio.create_task(driver.world.issuer.first_uses.run())
    secret = await driver.given()
    async with asyncio.timeout(5):
        for _ in range(3):
            assert await driver.works(secret)
            await asyncio.sleep(0)
    running.cancel()
