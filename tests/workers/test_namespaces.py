"""The worker that empties deleted namespaces: found in the snapshot, several at once, the database away in between."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from issuer.store.database import DatabaseUnavailable
from issuer.workers import housekeeping
from issuer.workers.housekeeping import Housekeeping, empty_terminating_namespaces
from tests.administration.paths import account
from tests.databases import Databases
from tests.store.rows import query
from tests.world import ACCOUNTS, NAMESPACES, World, started_world


@asynccontextmanager
async def working(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.Task[None]]:
    monkeypatch.setattr(housekeeping, "AFTER_FAILURE_S", 0.01)
    emit = world.events.append
    step = empty_terminating_namespaces(world.issuer.reloader.snapshot, world.issuer.resources, emit)
    task = asyncio.create_task(Housekeeping(emit, time.monotonic).every(0.01, "namespaces", step)())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def deleted(world: World, *names: str) -> None:
    for name in names:
        await world.namespace(name)
        assert (await world.admin.post(ACCOUNTS.format(namespace=name), json=account("a"))).status_code == 201
        assert (await world.admin.delete(f"{NAMESPACES}/{name}")).status_code == 200


async def gone(world: World, *names: str) -> None:
    async with asyncio.timeout(10):
        for name in names:
            while (await world.admin.get(f"{NAMESPACES}/{name}")).status_code != 404:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_deleted_namespaces_end_and_others_stay(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.account("stays", "other")
    await deleted(world, "one", "two")
    async with working(world, monkeypatch):
        await gone(world, "one", "two")
    names = [each["metadata"]["name"] for each in (await world.admin.get(NAMESPACES)).json()["items"]]
    assert names == ["issuer-system", "other"]
    await world.issuer.reloader.catch_up()
    snapshot = world.issuer.reloader.snapshot()
    assert snapshot is not None
    assert snapshot.terminating == frozenset()
    assert (await world.account("again", "one")).client_id


async def test_two_replicas_at_once_remove_each_object_once(
    world: World, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deleted(world, "one", "two")
    async with (
        started_world(world.database_url, databases.bootstrapped, world.clock) as replica,
        working(world, monkeypatch) as first,
        working(replica, monkeypatch) as second,
    ):
        await gone(world, "one", "two")
        assert not first.done()
        assert not second.done()
    rows = await query(world.database_url, "SELECT uid, count(*) FROM changes WHERE type = 'DELETED' GROUP BY uid")
    assert [row["count"] for row in rows] == [1] * 4


async def test_it_outlives_an_outage(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await deleted(world, "one")
    empty, outages = world.issuer.resources.empty_namespace, 3

    async def sometimes(namespace: str) -> Any:
        nonlocal outages
        if outages:
            outages -= 1
            raise DatabaseUnavailable("away")
        return await empty(namespace)

    monkeypatch.setattr(world.issuer.resources, "empty_namespace", sometimes)
    async with working(world, monkeypatch):
        await gone(world, "one")
    assert outages == 0
