"""Misses: one query for those of one tick, room for so many, and nothing of it costs an account that is known."""

import asyncio
from collections.abc import Iterable
from uuid import UUID, uuid4

import pytest

from issuer import directory as package
from issuer.directory import REREAD_INTERVAL_S, Directory, Seen, lookups
from issuer.model.resource import client_id_of
from issuer.snapshot import Account
from issuer.store.database import DatabaseUnavailable
from tests.directory.rows import Rows

HERE, THERE = "192.0.2.1", "198.51.100.7"


@pytest.fixture
def database() -> Rows:
    return Rows()


@pytest.fixture
def directory(database: Rows) -> Directory:
    return Directory(database.load, 10_000, lambda: database.now)


def asking(directory: Directory, client_ids: Iterable[str], source: str = HERE) -> list["asyncio.Task[Seen]"]:
    return [asyncio.create_task(directory.look_up(client_id, source)) for client_id in client_ids]


def strangers(number: int) -> list[str]:
    return [client_id_of(uuid4()) for _ in range(number)]


async def test_the_misses_of_one_tick_are_one_query(directory: Directory, database: Rows) -> None:
    known = [database.add()[1] for _ in range(20)]
    seen = await asyncio.gather(*asking(directory, known + strangers(80)))
    assert [each.account is not None for each in seen] == [True] * 20 + [False] * 80
    assert [len(query) for query in database.queries] == [100]


async def test_a_query_is_bounded_and_the_next_takes_the_rest(
    directory: Directory, database: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "MAX_BATCH", 40)
    await asyncio.gather(*asking(directory, strangers(100)))
    assert [len(query) for query in database.queries] == [40, 40, 20]


async def test_a_flood_of_strangers_costs_a_query_every_few_milliseconds_and_no_more(
    directory: Directory, database: Rows
) -> None:
    begun = asyncio.get_running_loop().time()
    for _ in range(40):
        asking(directory, strangers(5))
        await asyncio.sleep(0.001)
    passed = asyncio.get_running_loop().time() - begun
    assert len(database.queries) <= passed / lookups.PACE_S + 1


async def test_a_query_that_hangs_does_not_hold_up_the_next(directory: Directory, database: Rows) -> None:
    (_, hung), (_, later) = database.add(), database.add()
    database.gate.clear()
    first = asking(directory, [hung])[0]
    await database.asked()
    waiting, database.gate = database.gate, asyncio.Event()
    database.gate.set()
    assert (await asyncio.wait_for(directory.look_up(later, HERE), 5)).account is not None
    assert not first.done()
    waiting.set()
    assert (await first).account is not None


async def test_but_no_more_than_a_few_run_at_once(
    directory: Directory, database: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "PACE_S", 0)
    database.gate.clear()
    tasks = []
    for number in range(lookups.MAX_BATCHES):
        tasks += asking(directory, strangers(1))
        await database.asked(number + 1)
    tasks += asking(directory, strangers(3))
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(database.queries) == lookups.MAX_BATCHES
    database.gate.set()
    await asyncio.gather(*tasks)
    assert [len(query) for query in database.queries] == [1] * lookups.MAX_BATCHES + [3]


async def test_one_account_that_cannot_be_read_takes_the_others_of_its_query_nothing(database: Rows) -> None:
    ids = [database.add() for _ in range(3)]
    broken = ids[1][0]

    async def load(uids: list[UUID]) -> dict[UUID, Account]:
        if broken in uids:
            raise KeyError("spec")
        return {uid: database.rows[uid] for uid in uids}

    directory = Directory(load, 10, lambda: database.now)  # type: ignore[arg-type]
    seen = await asyncio.gather(*asking(directory, [client_id for _, client_id in ids]), return_exceptions=True)
    assert [type(each) for each in seen] == [Seen, KeyError, Seen]


# --- freshness --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
async def test_what_is_read_for_a_question_is_fresh_and_within_a_second_nothing_else_is(
    directory: Directory, database: Rows, known: bool
) -> None:
    client_id = database.add()[1] if known else client_id_of(uuid4())
    assert (await directory.look_up(client_id, HERE)).fresh
    assert not (await directory.reread(client_id, HERE)).fresh
    database.now += REREAD_INTERVAL_S
    assert (await directory.reread(client_id, HERE)).fresh


async def test_what_was_being_read_before_the_question_is_not_fresh(directory: Directory, database: Rows) -> None:
    """The credential may have been made after that query had seen its rows."""
    _, client_id = database.add()
    database.gate.clear()
    first = asking(directory, [client_id])[0]
    await database.asked()
    second = asking(directory, [client_id])[0]
    await asyncio.sleep(0)
    database.gate.set()
    assert [(await first).fresh, (await second).fresh] == [True, False]
    assert len(database.queries) == 1


async def test_an_id_of_another_shape_has_nothing_newer_to_wait_for(directory: Directory) -> None:
    assert await directory.reread("admin", HERE) == Seen(None, fresh=True)


# --- room -------------------------------------------------------------------------------------------------------------


async def test_while_the_database_hangs_one_source_takes_its_own_places_only(
    directory: Directory, database: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "MAX_WAITING_OF_A_SOURCE", 50)
    directory = Directory(database.load, 10, lambda: database.now)
    _, mine = database.add()
    database.gate.clear()
    flood = asking(directory, strangers(80))
    await asyncio.sleep(0)
    refused = [task for task in flood if task.done()]
    assert {type(task.exception()) for task in refused} == {DatabaseUnavailable}
    assert len(refused) == 30
    (other,) = asking(directory, [mine], THERE)
    database.gate.set()
    assert (await other).account is not None
    assert {seen.account for seen in await asyncio.gather(*(set(flood) - set(refused)))} == {None}


async def test_places_are_bounded_in_all_and_free_again_afterwards(
    database: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "MAX_WAITING", 20)
    directory = Directory(database.load, 10, lambda: database.now)
    for _ in range(3):
        database.gate.clear()
        tasks = [task for number in range(30) for task in asking(directory, strangers(1), f"192.0.2.{number}")]
        await asyncio.sleep(0)
        assert sum(task.done() for task in tasks) == 10
        database.gate.set()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert len(directory._places) == 0


async def test_a_known_account_needs_no_place_no_query_and_not_even_a_tick(
    database: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "MAX_WAITING", 0)
    directory = Directory(database.load, 10, lambda: database.now)
    uid, client_id = database.add()
    directory._learn(uid, database.rows[uid], database.now)
    assert directory.recall(client_id) is database.rows[uid]
    with pytest.raises(DatabaseUnavailable):
        await directory.look_up(client_id_of(uuid4()), HERE)
    assert database.queries == []


async def test_who_goes_away_gives_his_place_back(directory: Directory, database: Rows) -> None:
    database.gate.clear()
    tasks = asking(directory, strangers(10))
    await database.asked()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(directory._places) == 0
    database.gate.set()


async def test_a_flood_of_strangers_evicts_no_account_that_is_known(database: Rows) -> None:
    directory = Directory(database.load, 5, lambda: database.now)
    known = [database.add()[1] for _ in range(5)]
    await asyncio.gather(*asking(directory, known))
    queries = len(database.queries)
    for _ in range(5):
        await asyncio.gather(*asking(directory, strangers(200)))
    assert all(directory.recall(client_id) is not None for client_id in known)
    assert len(database.queries) == queries + 5
