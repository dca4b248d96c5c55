"""Accounts in memory: bounded, read once, never older than the last invalidation."""

import asyncio
from uuid import uuid4

import pytest

from issuer import directory as package
from issuer.directory import MAX_ABSENT, REREAD_INTERVAL_S, Directory, lookups
from issuer.model.resource import client_id_of
from issuer.snapshot import Account
from tests.directory.rows import Rows

HERE = "192.0.2.1"


@pytest.fixture
def database() -> Rows:
    return Rows()


@pytest.fixture(autouse=True)
def _no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches follow each other at once: what is in one is decided by ticks, not by milliseconds."""
    monkeypatch.setattr(lookups, "PACE_S", 0)


@pytest.fixture
def directory(database: Rows) -> Directory:
    return Directory(database.load, 3, lambda: database.now)


async def test_an_account_is_read_once_and_then_known(directory: Directory, database: Rows) -> None:
    uid, client_id = database.add()
    first = await directory.account(client_id)
    database.now += 1_000_000
    assert first is not None
    assert await directory.account(client_id) is first
    assert database.reads == [uid]


async def test_the_least_recently_used_go_first(directory: Directory, database: Rows) -> None:
    ids = [database.add() for _ in range(4)]
    for _, client_id in ids[:3]:
        await directory.account(client_id)
    await directory.account(ids[0][1])
    await directory.account(ids[3][1])
    assert len(directory) == 3
    database.queries.clear()
    for _, client_id in (ids[0], ids[2], ids[3]):
        assert await directory.account(client_id) is not None
    assert database.reads == []
    assert await directory.account(ids[1][1]) is not None
    assert database.reads == [ids[1][0]]


async def test_an_account_that_had_to_go_is_read_again_at_once(directory: Directory, database: Rows) -> None:
    """Read and evicted within one second: nobody may be refused because the directory is small."""
    ids = [database.add()[1] for _ in range(12)]
    for index, client_id in enumerate(ids):
        assert await directory.account(client_id) is not None
        for again in ids[: index + 1]:
            assert await directory.account(again) is not None, index
        assert len(directory) <= 3


async def test_a_used_account_keeps_its_place_while_another_read_long_ago_goes(
    directory: Directory, database: Rows
) -> None:
    a, b, c, d = (database.add()[1] for _ in range(4))
    for client_id in (a, b, c, a, d, b):
        assert await directory.account(client_id) is not None


async def test_unknown_ids_take_no_place_of_known_ones_and_are_bounded(directory: Directory, database: Rows) -> None:
    uid, client_id = database.add()
    await directory.account(client_id)
    for _ in range(100):
        assert await directory.account(client_id_of(uuid4())) is None
    database.queries.clear()
    assert await directory.account(client_id) is not None
    assert database.reads == []
    assert uid not in database.reads


async def test_ids_that_nobody_has_are_bounded(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "MAX_ABSENT", 10)
    for _ in range(30):
        await directory.account(client_id_of(uuid4()))
    assert len(directory._absent) == 10
    assert MAX_ABSENT == 10_000


async def test_many_at_once_are_one_read(directory: Directory, database: Rows) -> None:
    uid, client_id = database.add()
    database.gate.clear()
    waiting = [asyncio.create_task(directory.account(client_id)) for _ in range(50)]
    rereading = [asyncio.create_task(directory.reread(client_id, HERE)) for _ in range(50)]
    await database.asked()
    database.gate.set()
    found = [*await asyncio.gather(*waiting), *(seen.account for seen in await asyncio.gather(*rereading))]
    assert len({id(each) for each in found}) == 1
    assert database.reads == [uid]


async def test_one_who_stops_waiting_takes_the_others_nothing(directory: Directory, database: Rows) -> None:
    _, client_id = database.add()
    database.gate.clear()
    first, second = (asyncio.create_task(directory.account(client_id)) for _ in range(2))
    await database.asked()
    first.cancel()
    database.gate.set()
    assert await second is not None
    with pytest.raises(asyncio.CancelledError):
        await first
    assert len(database.reads) == 1


async def test_a_read_that_fails_fails_for_all_who_wait_and_is_tried_by_the_next(
    directory: Directory, database: Rows
) -> None:
    _, client_id = database.add()
    database.error = OSError("gone")
    results = await asyncio.gather(*(directory.account(client_id) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in results] == [OSError] * 3
    assert len(database.reads) == 1
    database.error = None
    assert await directory.account(client_id) is not None


async def test_what_was_invalidated_while_it_was_read_is_read_again(directory: Directory, database: Rows) -> None:
    uid, client_id = database.add(disabled=False)
    database.gate.clear()
    reading = asyncio.create_task(directory.account(client_id))
    await database.asked()
    database.write(uid, disabled=True)
    directory.invalidate([uid])
    database.gate.set()
    found = await reading
    assert found is not None
    assert found.resource.spec["disabled"]
    assert database.reads == [uid, uid]
    assert await directory.account(client_id) is found


async def test_so_is_what_was_cleared_while_it_was_read(directory: Directory, database: Rows) -> None:
    uid, client_id = database.add()
    database.gate.clear()
    reading = asyncio.create_task(directory.account(client_id))
    await database.asked()
    del database.rows[uid]
    directory.clear()
    database.gate.set()
    assert await reading is None
    assert database.reads == [uid, uid]


async def test_an_invalidation_is_for_its_account_only(directory: Directory, database: Rows) -> None:
    (uid, client_id), (_, other) = database.add(), database.add()
    for each in (client_id, other):
        await directory.account(each)
    database.queries.clear()
    directory.invalidate([uid, uuid4()])
    await directory.account(other)
    assert database.reads == []
    await directory.account(client_id)
    assert database.reads == [uid]


async def test_whoever_asks_after_an_invalidation_never_gets_what_was_read_before_it(
    directory: Directory, database: Rows
) -> None:
    """Also in the very tick in which that read ends: who wrote something must find it in force."""
    uid, client_id = database.add(disabled=False)
    database.gate.clear()
    early = asyncio.create_task(directory.account(client_id))
    await database.asked()

    async def invalidate_and_ask() -> Account | None:
        database.write(uid, disabled=True)
        directory.invalidate([uid])
        return await directory.account(client_id)

    database.gate.set()
    late = await asyncio.create_task(invalidate_and_ask())
    await early
    assert late is not None
    assert late.resource.spec["disabled"]


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
async def test_a_reread_is_at_most_one_query_a_second(directory: Directory, database: Rows, known: bool) -> None:
    client_id = database.add()[1] if known else client_id_of(uuid4())
    await directory.account(client_id)
    for _ in range(10):
        database.now += REREAD_INTERVAL_S / 20
        assert ((await directory.reread(client_id, HERE)).account is not None) is known
    assert len(database.reads) == 1
    database.now += REREAD_INTERVAL_S
    await directory.reread(client_id, HERE)
    assert len(database.reads) == 2


async def test_an_id_that_comes_to_exist_is_found_a_second_later_or_when_its_creation_is_heard_of(
    directory: Directory, database: Rows
) -> None:
    for heard in (True, False):
        uid = uuid4()
        client_id = client_id_of(uid)
        assert await directory.account(client_id) is None
        database.write(uid)
        assert await directory.account(client_id) is None
        if heard:
            directory.invalidate([uid])
        else:
            database.now += REREAD_INTERVAL_S
        assert await directory.account(client_id) is not None


async def test_an_account_that_is_gone_is_forgotten_by_a_reread(directory: Directory, database: Rows) -> None:
    uid, client_id = database.add()
    await directory.account(client_id)
    del database.rows[uid]
    database.now += REREAD_INTERVAL_S
    assert (await directory.reread(client_id, HERE)).account is None
    assert len(directory) == 0
    assert await directory.account(client_id) is None


async def test_clear_forgets_everything(directory: Directory, database: Rows) -> None:
    _, client_id = database.add()
    await directory.account(client_id)
    directory.clear()
    assert len(directory) == 0
    await directory.account(client_id)
    assert len(database.reads) == 2


@pytest.mark.parametrize(
    "client_id",
    [
        "",
        "sa-",
        "admin",
        "sa-00000000-0000-0000-0000-000000000000",  # no version 4
        "sa-6BA7B810-9DAD-41D1-80B4-00C04FD430C8",  # upper case
        "sa-6ba7b8109dad41d180b400c04fd430c8",
        "sa-{6ba7b810-9dad-41d1-80b4-00c04fd430c8}",
        "6ba7b810-9dad-41d1-80b4-00c04fd430c8",
        "sa-6ba7b810-9dad-41d1-80b4-00c04fd430c8 ",
        "sa-6ba7b810-9dad-41d1-80b4-00c04fd430c\uff18",
    ],
)
async def test_an_id_of_another_shape_is_never_looked_up(directory: Directory, database: Rows, client_id: str) -> None:
    assert await directory.account(client_id) is None
    assert (await directory.reread(client_id, HERE)).account is None
    assert database.reads == []
    assert not directory._absent
