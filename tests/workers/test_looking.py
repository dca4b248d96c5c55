"""How the reloader looks: once for all who wait, soon after a notice, and honestly about how old its world is."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from issuer.events import SnapshotCurrent, SnapshotStale, WorldReplaced
from issuer.store.database import DatabaseUnavailable
from issuer.workers.loading import AccountLoader
from issuer.workers.reload import STALE_AFTER_S, WOKEN_PACE_S
from tests.administration.paths import MERGE
from tests.store.rows import query
from tests.world import World


@asynccontextmanager
async def polling(world: World, poll_s: float) -> AsyncIterator[None]:
    """The reloader runs."""
    world.issuer.reloader._poll_s = poll_s
    running = asyncio.create_task(world.issuer.reloader.run())
    try:
        yield
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@contextmanager
def counted(world: World, statement: str = "pg_control_system") -> Iterator[list[str]]:
    """The looks of the reloader."""
    seen: list[str] = []

    def note(_: object, __: object, sent: str, *___: object) -> None:
        if statement in sent:
            seen.append(sent)

    engine = world.issuer.databases[2].engine.sync_engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is waited for knows no Event
            await asyncio.sleep(0.005)


@asynccontextmanager
async def closed(world: World) -> AsyncIterator[None]:
    """The database lets nobody in."""
    name = make_url(world.database_url).database
    server = make_url(world.database_url).set(database="postgres").render_as_string(hide_password=False)
    await query(server, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    for database in world.issuer.databases:
        await database.renew()
    try:
        yield
    finally:
        await query(server, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


# --- waiting for a look -----------------------------------------------------------------------------------------------


async def test_the_next_look_is_one_for_all_who_wait_for_it_and_began_after_they_came(world: World) -> None:
    reloader = world.issuer.reloader
    with counted(world) as looks:
        await asyncio.gather(*(reloader.next_look() for _ in range(50)))
        assert len(looks) == 1
        await asyncio.gather(*(reloader.next_look() for _ in range(50)))
    assert len(looks) == 2


async def test_who_comes_while_it_looks_gets_another_look(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reloader = world.issuer.reloader
    looking, go, looked = asyncio.Event(), asyncio.Event(), 0
    catch_up = reloader.catch_up

    async def slow(revision: int = 0) -> None:
        nonlocal looked
        looked += 1
        looking.set()
        await go.wait()
        await catch_up(revision)

    monkeypatch.setattr(reloader, "catch_up", slow)
    first = asyncio.create_task(reloader.next_look())
    await looking.wait()
    second = asyncio.create_task(reloader.next_look())
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, second)
    assert looked == 2


async def test_waiting_for_a_look_costs_none_beside_the_polls(world: World) -> None:
    """Strangers wait as often as they like; the database is asked as often as before."""
    async with polling(world, 0.1):
        with counted(world) as looks:
            loop = asyncio.get_running_loop()
            begun = loop.time()
            for _ in range(5):
                await world.issuer.reloader.next_look()
            passed = loop.time() - begun
    assert len(looks) <= passed / 0.1 + 1


async def test_a_look_that_failed_is_no_look(world: World) -> None:
    async with closed(world):
        with pytest.raises(DatabaseUnavailable):
            await world.issuer.reloader.next_look()
    await world.issuer.reloader.next_look()


async def test_nobody_waits_longer_for_a_look_than_for_staleness_to_be_noticed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_: int = 0) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(world.issuer.reloader, "catch_up", hang)
    monkeypatch.setattr("issuer.workers.reload.STALE_AFTER_S", 0.05)
    with pytest.raises(DatabaseUnavailable):
        await asyncio.wait_for(world.issuer.reloader.next_look(), 5)


# --- being woken ------------------------------------------------------------------------------------------------------


async def test_a_notice_brings_the_next_look_forward(world: World) -> None:
    reloader = world.issuer.reloader
    async with polling(world, 3600):
        with counted(world) as looks:
            reloader.wake()
            await until(lambda: looks)


async def test_any_number_of_notices_is_a_look_now_and_then(world: World) -> None:
    reloader = world.issuer.reloader
    loop = asyncio.get_running_loop()
    async with polling(world, 3600):
        with counted(world) as looks:
            begun = loop.time()
            while loop.time() < begun + 4 * WOKEN_PACE_S:
                reloader.wake()
                await asyncio.sleep(0.001)
            passed = loop.time() - begun
    assert 1 <= len(looks) <= passed / WOKEN_PACE_S + 1


# --- how old its world is ---------------------------------------------------------------------------------------------


async def test_degraded_says_how_old_and_why_without_names_and_ends_with_the_next_good_look(world: World) -> None:
    reloader = world.issuer.reloader
    said = [reloader.degraded]
    async with closed(world):
        await reloader.hasten()
        said.append(reloader.degraded)  # a moment is no staleness
        world.clock.advance(seconds=STALE_AFTER_S + 1)
        await reloader.hasten()
        said.append(reloader.degraded)
        assert reloader.why_not_ready is None
    assert world.seen(SnapshotCurrent) == []
    await reloader.hasten()
    said.append(reloader.degraded)
    old = "what is known of the database is 2.0 s old: the database does not answer"
    assert said == [None, None, old, None]
    assert [event.stale_s for event in world.seen(SnapshotCurrent)] == [2.0]
    await reloader.hasten()
    assert len(world.seen(SnapshotCurrent)) == 1


async def test_a_database_that_hangs_is_reported_while_it_hangs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has failed yet: a statement may take seconds until it has."""

    async def hang(_: int = 0) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(world.issuer.reloader, "catch_up", hang)
    monkeypatch.setattr("issuer.workers.reload.STALE_AFTER_S", 0.05)
    async with polling(world, 0.01):
        world.clock.advance(seconds=5)
        await until(lambda: world.seen(SnapshotStale))
    assert [event.age_s for event in world.seen(SnapshotStale)] == [5.0]


async def test_two_reasons_in_turns_are_two_events_and_no_more(world: World) -> None:
    reloader = world.issuer.reloader
    world.clock.advance(seconds=STALE_AFTER_S + 1)
    for why in ("refused", "TimeoutError") * 5:
        reloader._note_trouble(DatabaseUnavailable(why))
    assert [event.error for event in world.seen(SnapshotStale)] == ["refused", "TimeoutError"]


# --- another history --------------------------------------------------------------------------------------------------


async def test_another_past_at_a_known_revision_is_another_database(world: World) -> None:
    """A restore, and as many writes since as were lost: revision and identity say that nothing happened."""
    client = await world.account()
    assert (await client.token()).status_code == 200
    await world.issuer.reloader.catch_up()
    before = world.issuer.reloader.position
    await query(
        world.database_url,
        """UPDATE resources SET document = jsonb_set(document::jsonb, '{spec,disabled}', 'true')::json
           WHERE name = 'api'""",
    )
    await query(
        world.database_url,
        "UPDATE changes SET at = at + interval '1 ms' WHERE revision = (SELECT revision FROM installation)",
    )
    await world.issuer.reloader.catch_up()
    assert [event.reason for event in world.seen(WorldReplaced)] == ["history"]
    assert (await client.token()).status_code == 401
    after = world.issuer.reloader.position
    assert before is not None
    assert after is not None
    assert (after.identity, after.revision) == (before.identity, before.revision)


async def test_a_log_that_was_trimmed_is_no_other_past(world: World) -> None:
    await world.issuer.reloader.catch_up()
    await query(world.database_url, "WITH gone AS (DELETE FROM changes) UPDATE installation SET trimmed_to = revision")
    await world.issuer.reloader.catch_up()
    await world.namespace("later")
    await world.issuer.reloader.catch_up()
    assert world.seen(WorldReplaced) == []


# --- accounts come from the database that is followed -----------------------------------------------------------------

ELSEWHERE = {
    "another epoch": "UPDATE installation SET epoch = gen_random_uuid()",
    "behind what was seen": "UPDATE installation SET revision = revision - 1",
    "another past": "UPDATE changes SET at = at + interval '1 ms'",
}


@pytest.mark.parametrize("statement", ELSEWHERE.values(), ids=ELSEWHERE.keys())
async def test_an_account_is_not_read_from_a_database_that_is_not_followed(world: World, statement: str) -> None:
    """An old primary that still answers, reached by a pooled connection: its accounts would stay for good."""
    known, cold = await world.account("known"), await world.account("cold")
    assert (await known.token()).status_code == 200
    await world.issuer.reloader.catch_up()
    await query(world.database_url, statement)
    assert (await cold.token()).status_code == 503
    assert (await known.token()).status_code == 200
    await world.issuer.reloader.catch_up()
    assert (await cold.token()).status_code == 200


async def test_a_write_that_is_seen_while_an_account_is_read_does_not_spoil_the_read(world: World) -> None:
    client = await world.account()
    uid = UUID(client.client_id.removeprefix("sa-"))
    reloader = world.issuer.reloader
    await reloader.catch_up()
    early = reloader.position
    await world.namespace("meanwhile")
    await reloader.catch_up()
    positions = iter([early])
    loaded = await AccountLoader(world.issuer.databases[0], lambda: next(positions), reloader.wake).load([uid])
    assert uid in loaded


async def test_nothing_is_loaded_before_anything_is_followed(world: World) -> None:
    loader = AccountLoader(world.issuer.databases[0], lambda: None, world.issuer.reloader.wake)
    with pytest.raises(DatabaseUnavailable):
        await loader.load([])


async def test_one_query_loads_many_accounts_with_all_their_secrets(world: World) -> None:
    clients = [await world.account(f"a{number}") for number in range(5)]
    for _ in range(2):
        await world.admin.post(f"{clients[0].path}/credentials", json={"acknowledge": True})
    await world.admin.patch(clients[1].path, json={"spec": {"authentication": {"methods": []}}}, headers=MERGE)
    uids = [UUID(client.client_id.removeprefix("sa-")) for client in clients]
    reloader = world.issuer.reloader
    loader = AccountLoader(world.issuer.databases[0], lambda: reloader.position, reloader.wake)
    found = await loader.load([*uids, *(replace_last(uid) for uid in uids)])
    assert found.keys() == set(uids)
    assert [each.version for each, _, _ in found[uids[0]].stored_secrets] == [1, 2, 3]
    assert [len(found[uid].stored_secrets) for uid in uids[1:]] == [1, 1, 1, 1]
    assert {each.resource.uid for each in found.values()} == set(uids)


def replace_last(uid: UUID) -> UUID:
    """An id nobody has."""
    return UUID(int=uid.int ^ 1)
