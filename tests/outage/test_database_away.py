"""The database away, in every way it can be: known accounts go on for `outage.max_s`, nothing hangs, all comes back."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from asyncpg.connect_utils import SessionAttribute
from sqlalchemy.engine import make_url

from issuer.events import ListenerLost, RecordsDurable, RecordsNotDurable, SnapshotCurrent, SnapshotStale
from issuer.signing.sealing import generate_master_key_line
from issuer.store import database, listener
from issuer.store.database import Database, DatabaseUnavailable, ReadOnlyStandby
from issuer.workers.loading import AccountLoader
from issuer.workers.recorder import COMMIT_S
from issuer.workers.reload import STALE_AFTER_S
from tests.blackbox.clusters import BaseBackup, Cluster
from tests.databases import Bootstrapped, bootstrap, folder_in_memory
from tests.store.rows import query
from tests.world import Client, World, started_world

POOL_TIMEOUT_S, STATEMENT_TIMEOUT_S = 1.0, 5.0
ANSWER_S = POOL_TIMEOUT_S + 0.5 + 1
"""What takes a connection, half a second for a good-bye; and one second for a busy machine."""
OUTAGE_S = 300
SETTINGS: dict[str, Any] = {
    "database": {"poll_s": 0.05, "pool_timeout_s": POOL_TIMEOUT_S, "statement_timeout_s": STATEMENT_TIMEOUT_S},
    "outage": {"max_s": OUTAGE_S},
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with folder_in_memory(tmp_path_factory) as folder, closing(Cluster(folder / "postgres")) as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def bootstrapped(cluster: Cluster) -> Bootstrapped:
    return asyncio.run(bootstrap(cluster.url, generate_master_key_line("test")))


@pytest.fixture(autouse=True)
def _quick_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(listener, "HEARTBEAT_TIMEOUT_S", 0.2)
    monkeypatch.setattr(listener, "MAX_BACKOFF_S", 0.2)


@dataclass(frozen=True)
class Trouble:
    """How a database goes away, and how it comes back."""

    begin: Callable[[Cluster], object]
    end: Callable[[Cluster], object]


def ask_elsewhere(cluster: Cluster, statement: str) -> None:
    elsewhere = make_url(cluster.url).set(database="postgres").render_as_string(hide_password=False)
    asyncio.run(query(elsewhere, statement))


def refuse(cluster: Cluster) -> None:
    ask_elsewhere(cluster, "ALTER DATABASE issuer ALLOW_CONNECTIONS false")
    ask_elsewhere(cluster, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'issuer'")


TROUBLES = {
    "stopped": Trouble(Cluster.stop, Cluster.start),
    "stalled": Trouble(Cluster.freeze, Cluster.thaw),
    "refusing": Trouble(refuse, lambda cluster: ask_elsewhere(cluster, "ALTER DATABASE issuer ALLOW_CONNECTIONS true")),
}


@asynccontextmanager
async def running(cluster: Cluster, bootstrapped: Bootstrapped, **settings: Any) -> AsyncIterator[World]:
    """A World that polls and listens. Its clock stands all the same, so that an outage is as long as a test says."""
    async with started_world(cluster.url, bootstrapped, **{**SETTINGS, **settings}) as world:
        tasks = [asyncio.create_task(run()) for run in (world.issuer.reloader.run, world.issuer.listener.run)]
        try:
            yield world
            assert not any(task.done() for task in tasks), "whatever the database does, these two go on"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not holds():  # noqa: ASYNC110 - what is waited for knows no Event
            await asyncio.sleep(0.02)


async def ready(world: World) -> int:
    return (await world.anonymous.get("/readyz")).status_code


def is_not_now(answer: httpx.Response) -> bool:
    assert answer.status_code == 503, answer.text
    assert answer.json()["error"] == "temporarily_unavailable"
    return int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
async def test_with_a_spool_known_accounts_go_on_for_the_outage_window_others_are_told_to_come_back_and_all_recovers_by_itself(
    cluster: Cluster, bootstrapped: Bootstrapped, trouble: Trouble, tmp_path: Path
) -> None:
    spool = {"on_outage": "spool", "spool_dir": tmp_path}
    async with running(cluster, bootstrapped, audit=spool) as world:
        names = [f"a-{uuid4()}" for _ in range(2)]
        known, cold = [await world.account(name) for name in names]
        assert (await known.token()).status_code == 200
        await until(lambda: world.issuer.reloader.position is not None)
        await asyncio.to_thread(trouble.begin, cluster)
        try:
            await _while_it_is_away(world, known, cold)
        finally:
            await asyncio.to_thread(trouble.end, cluster)
        await _once_it_is_back(world, known, cold)


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
async def test_without_one_the_first_record_that_cannot_be_committed_ends_tokens_and_readiness_until_it_is(
    cluster: Cluster, bootstrapped: Bootstrapped, trouble: Trouble
) -> None:
    async with running(cluster, bootstrapped) as world:
        known = await world.account(f"a-{uuid4()}")
        assert (await known.token()).status_code == 200
        await asyncio.to_thread(trouble.begin, cluster)
        try:
            assert await ready(world) == 200
            begun = time.monotonic()
            answers = await asyncio.gather(*(known.token() for _ in range(20)))
            assert all(map(is_not_now, answers))
            assert time.monotonic() - begun < COMMIT_S + 1
            assert await ready(world) == 503
            begun = time.monotonic()
            assert is_not_now(await known.token()), "nobody waits for what is known to be away"
            assert time.monotonic() - begun < COMMIT_S
            assert {event.spooling for event in world.seen(RecordsNotDurable)} == {False}
        finally:
            await asyncio.to_thread(trouble.end, cluster)
        await until(lambda: world.seen(RecordsDurable))
        await eventually_200(known.token)
        await eventually_200(lambda: world.anonymous.get("/readyz"))


async def test_without_one_a_replica_that_nobody_asks_is_ready_until_the_outage_window_is_spent(
    cluster: Cluster, bootstrapped: Bootstrapped
) -> None:
    async with running(cluster, bootstrapped) as world:
        cold = await world.account(f"a-{uuid4()}")
        reloader = world.issuer.reloader
        await until(lambda: reloader.position is not None)
        await asyncio.to_thread(cluster.stop)
        try:
            world.clock.advance(seconds=OUTAGE_S - 1)
            await until(lambda: world.seen(SnapshotStale))
            assert is_not_now(await cold.token()), "it is not in memory, and leaves no record"
            assert await ready(world) == 200
            assert "old" in (reloader.degraded or "")
            world.clock.advance(seconds=2)
            assert await ready(world) == 503
        finally:
            await asyncio.to_thread(cluster.start)
        await eventually_200(lambda: world.anonymous.get("/readyz"))


async def _while_it_is_away(world: World, known: Client, cold: Client) -> None:
    reloader = world.issuer.reloader
    world.clock.advance(seconds=STALE_AFTER_S + 0.5)
    await until(lambda: world.seen(SnapshotStale))
    assert "old" in (reloader.degraded or "")
    assert await ready(world) == 200, "degraded is still ready"

    assert (await known.token()).status_code == 200
    begun = time.monotonic()
    strangers = [world.token(f"sa-{uuid4()}", "isk1_wrong") for _ in range(50)]
    wrong = world.token(known.client_id, "isk1_wrong")
    answers = await asyncio.gather(cold.token(), cold.token(), wrong, *strangers)
    assert all(map(is_not_now, answers)), "also the wrong secret: it may have been made elsewhere a moment ago"
    assert time.monotonic() - begun < ANSWER_S
    begun = time.monotonic()
    assert is_not_now(await cold.token())
    assert time.monotonic() - begun < ANSWER_S
    assert (await world.admin.get(known.path)).status_code == 503

    world.clock.advance(seconds=OUTAGE_S - 2)
    assert (await known.token()).status_code == 200
    assert await ready(world) == 200
    world.clock.advance(seconds=2)
    assert is_not_now(await known.token())
    assert await ready(world) == 503


async def _once_it_is_back(world: World, known: Client, cold: Client) -> None:
    reloader = world.issuer.reloader
    await until(lambda: world.seen(SnapshotCurrent))
    assert (reloader.why_not_ready, reloader.degraded) == (None, None)
    assert [(await client.token()).status_code for client in (known, cold)] == [200, 200]
    assert await ready(world) == 200
    assert len(world.issuer.directory._places) == 0
    assert len(world.seen(SnapshotStale)) <= 3, "once for every reason, not for every poll"
    assert len(world.seen(ListenerLost)) == 1
    # Nothing but a notice brings the next write.
    await until(lambda: not world.issuer.listener._reported)
    reloader._poll_s = 3600
    await asyncio.sleep(0.1)
    position = reloader.position
    assert position is not None
    await query(world.database_url, "UPDATE installation SET revision = revision + 1")
    await query(world.database_url, "SELECT pg_notify('issuer_revision', '')")
    await until(lambda: reloader.position is not None and reloader.position.revision > position.revision)


async def test_a_stalled_database_leaves_no_connection_unusable_behind(
    cluster: Cluster, bootstrapped: Bootstrapped
) -> None:
    """Every pool is stalled in the middle of what it does, as often as it has connections, and is whole afterwards."""
    brief = {**SETTINGS["database"], "statement_timeout_s": 1}
    async with running(cluster, bootstrapped, database=brief) as world:
        client = await world.account(f"a-{uuid4()}")
        for _ in range(2):
            asking = [asyncio.create_task(world.token(f"sa-{uuid4()}", "isk1_wrong")) for _ in range(20)]
            reading = [asyncio.create_task(world.admin.get(client.path)) for _ in range(20)]
            await asyncio.sleep(0.005)
            await asyncio.to_thread(cluster.freeze)
            answers = await asyncio.gather(*asking, *reading)
            await asyncio.to_thread(cluster.thaw)
            assert {answer.status_code for answer in answers} <= {200, 401, 503}

        pools = [each.engine.sync_engine.pool for each in world.issuer.databases]
        await until(lambda: [pool.checkedout() for pool in pools[:2]] == [0, 0])  # type: ignore[attr-defined]
        await eventually_200(lambda: world.admin.get(client.path))
        await eventually_200(client.token)


async def eventually_200(ask: Callable[[], Awaitable[httpx.Response]]) -> None:
    async with asyncio.timeout(15):
        while (await ask()).status_code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("how", ["connected to", "behind a proxy that leads there"])
async def test_a_read_only_standby_is_never_believed(
    cluster: Cluster,
    bootstrapped: Bootstrapped,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    """It lags behind by nobody knows how much, and looks like a database that has nothing to tell."""
    if how != "connected to":
        # A pooler's connection is checked once, and may lead elsewhere after that.
        monkeypatch.setattr(database, "SessionAttribute", AnyServerWillDo)
    with folder_in_memory(tmp_path_factory) as folder:
        standby = await asyncio.to_thread(BaseBackup, folder / "standby", cluster, standby=True)
        with closing(standby):
            await asyncio.to_thread(standby.start)
            with pytest.raises(ReadOnlyStandby):
                async with started_world(standby.url, bootstrapped, **SETTINGS):
                    pytest.fail("it must not start")
            async with started_world(cluster.url, bootstrapped, **SETTINGS) as world:
                await must_not_load_from(standby, world)


class AnyServerWillDo:
    read_write = SessionAttribute.any


async def must_not_load_from(standby: Cluster, world: World) -> None:
    """Not even accounts that are there and the same."""
    client = await world.account(f"a-{uuid4()}")
    uid = UUID(client.client_id.removeprefix("sa-"))
    reloader, settings = world.issuer.reloader, world.foundation.settings.database
    await until_replayed(standby, uid)
    there = Database(standby.url, settings, application="issuer test")
    try:
        with pytest.raises(DatabaseUnavailable):
            await AccountLoader(there, lambda: reloader.position, reloader.wake).load([uid])
    finally:
        await there.close()
    assert uid in await AccountLoader(world.issuer.databases[0], lambda: reloader.position, reloader.wake).load([uid])


async def until_replayed(standby: Cluster, uid: UUID) -> None:
    async with asyncio.timeout(15):
        while not await query(standby.url, "SELECT FROM resources WHERE uid = $1", uid):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
