"""The one counter: dense, unique, never visible out of order; object, change log and audit record together or not at all."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import pytest

from issuer.model.kinds import SCOPE
from issuer.model.resource import API_VERSION, Resource
from issuer.settings import DatabaseSettings
from issuer.sources import system_sources
from issuer.store.database import Database
from issuer.store.resources import (
    CHANNEL,
    MAX_CHANGES,
    AlreadyExists,
    AuditEntry,
    Change,
    commit_changes,
    current_revision,
    find,
    list_of_kind,
)
from tests.administration.paths import ACCOUNT, MERGE, account
from tests.store.rows import count_rows, query
from tests.world import World

NOW = datetime(2026, 1, 15, 3, tzinfo=UTC)
WRITERS, WRITES_EACH = 8, 12


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url, DatabaseSettings(pool_size=WRITERS + 1), application="test")
    yield opened
    await opened.close()


def scope(name: str, token: str | None = None) -> Resource:
    spec = {"scope": token or name, "risk": "read"}
    return Resource(API_VERSION, "Scope", "", name, uuid4(), NOW, spec)


def entry(subject: Resource) -> AuditEntry:
    return AuditEntry(system_sources().event_id(), {"kind": "local", "name": "test"}, "test", subject)


async def write(database: Database, *changes: Change) -> tuple[Change, ...]:
    async with database.transaction() as connection:
        return await commit_changes(connection, [(change, entry(change.subject)) for change in changes])


async def test_concurrent_writers_make_dense_revisions_that_appear_in_order(
    database: Database, database_url: str
) -> None:
    start = (await count_rows(database_url)).revision

    async def writer(number: int) -> list[int]:
        revisions = []
        for turn in range(WRITES_EACH):
            made, extra = scope(f"w{number}-{turn}"), scope(f"w{number}-{turn}-extra")
            first, _ = await write(database, Change(None, made), Change(None, extra))
            assert first.after is not None
            (second,) = await write(database, Change(first.after, replace(first.after, labels={"a": "b"})))
            revisions += [first.revision, first.revision + 1, second.revision]
            if turn % 4 == 0:
                # A transaction that fails takes no number with it.
                with pytest.raises(AlreadyExists):
                    await write(database, Change(None, scope(made.name)))
        return revisions

    async def reader(stop: asyncio.Event) -> int:
        """Whatever counter is read, every change up to it is there; each object shows its own revision."""
        reads = 0
        connection = await asyncpg.connect(database_url)
        try:
            while not stop.is_set():
                seen = await connection.fetchval("SELECT revision FROM installation")
                rows = await connection.fetch("SELECT revision FROM changes WHERE revision > $1", start)
                found = sorted(row["revision"] for row in rows)
                assert found[: seen - start] == list(range(start + 1, seen + 1))
                assert found == list(range(start + 1, start + 1 + len(found)))
                reads += 1
                await asyncio.sleep(0.002)
        finally:
            await connection.close()
        return reads

    stop = asyncio.Event()
    reading = asyncio.create_task(reader(stop))
    written = await asyncio.gather(*(writer(number) for number in range(WRITERS)))
    stop.set()
    assert await reading > 5
    revisions = [revision for each in written for revision in each]
    assert sorted(revisions) == list(range(start + 1, start + 1 + WRITERS * WRITES_EACH * 3))
    rows = await query(
        database_url,
        """SELECT count(*) AS wrong FROM changes c LEFT JOIN audit_records a USING (revision, uid)
           WHERE c.revision > $1 AND a.id IS NULL""",
        start,
    )
    assert rows[0]["wrong"] == 0


async def test_concurrent_requests_to_one_account_lose_nothing(world: World) -> None:
    await world.namespace("payments")
    start = (await count_rows(world.database_url)).revision
    creations = await asyncio.gather(*(world.admin.post(ACCOUNT, json=account("one")) for _ in range(6)))
    assert sorted(answer.status_code for answer in creations) == [201, *[409] * 5]
    others = await asyncio.gather(*(world.admin.post(ACCOUNT, json=account(f"a{n}")) for n in range(6)))
    assert {answer.status_code for answer in others} == {201}
    patches = await asyncio.gather(
        *(
            world.admin.patch(f"{ACCOUNT}/one", json={"metadata": {"labels": {f"l{n}": "x"}}}, headers=MERGE)
            for n in range(8)
        )
    )
    assert {answer.status_code for answer in patches} == {200}
    read = (await world.admin.get(f"{ACCOUNT}/one")).json()
    assert read["metadata"]["labels"] == {f"l{n}": "x" for n in range(8)}
    revisions = await query(
        world.database_url, "SELECT revision FROM changes WHERE revision > $1 ORDER BY revision", start
    )
    assert [row["revision"] for row in revisions] == list(range(start + 1, start + 16))


async def test_conditional_replaces_of_one_version_have_one_winner(world: World) -> None:
    client = await world.account()
    version = (await world.admin.get(client.path)).json()["metadata"]["resourceVersion"]
    documents = [account("api", resourceVersion=version, purpose=f"p{n}") for n in range(6)]
    answers = await asyncio.gather(*(world.admin.put(client.path, json=each) for each in documents))
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 5]
    winner = next(answer.json() for answer in answers if answer.status_code == 200)
    assert (await world.admin.get(client.path)).json()["spec"] == winner["spec"]


async def test_the_name_and_the_unique_value_are_held_by_the_database(database: Database, database_url: str) -> None:
    await write(database, Change(None, scope("a", "token")))
    before = await count_rows(database_url)
    for other, field in ((scope("a", "other"), "metadata.name"), (scope("b", "token"), "spec.scope")):
        with pytest.raises(AlreadyExists) as caught:
            await write(database, Change(None, scope("fine")), Change(None, other))
        assert caught.value.field == field
    assert await count_rows(database_url) == before


async def test_a_transaction_changes_at_most_a_hundred_objects(database: Database, database_url: str) -> None:
    before = await count_rows(database_url)
    for wrong in (0, MAX_CHANGES + 1):
        with pytest.raises(ValueError, match="1 to 100"):
            await write(database, *(Change(None, scope(f"s{n}")) for n in range(wrong)))
    assert await count_rows(database_url) == before
    written = await write(database, *(Change(None, scope(f"s{n}")) for n in range(MAX_CHANGES)))
    assert [change.revision for change in written] == list(range(before.revision + 1, before.revision + 101))
    assert [change.subject.revision for change in written] == [change.revision for change in written]


async def test_a_rollback_after_the_write_loses_all_of_it(database: Database, database_url: str) -> None:
    before = await count_rows(database_url)

    class Lost(Exception):
        pass

    async def lose() -> None:
        async with database.transaction() as connection:
            await commit_changes(connection, [(Change(None, scope("x")), entry(scope("x")))])
            raise Lost

    with pytest.raises(Lost):
        await lose()
    assert await count_rows(database_url) == before


async def test_an_audit_record_that_cannot_be_written_takes_the_write_with_it(
    database: Database, database_url: str
) -> None:
    before = await count_rows(database_url)
    same = entry(scope("x"))
    with pytest.raises(Exception, match="audit_records_pkey"):
        async with database.transaction() as connection:
            await commit_changes(connection, [(Change(None, scope("x")), same), (Change(None, scope("y")), same)])
    assert await count_rows(database_url) == before


async def test_the_change_log_and_the_audit_record_hold_the_object_before_and_after(
    database: Database, database_url: str
) -> None:
    (created,) = await write(database, Change(None, scope("x")))
    assert created.after is not None
    (changed,) = await write(database, Change(created.after, replace(created.after, labels={"a": "b"}, generation=7)))
    assert changed.after is not None
    (removed,) = await write(database, Change(changed.after, None))
    for table, columns in (("changes", "type, "), ("audit_records", "principal, verb, ")):
        rows = await query(
            database_url,
            f"SELECT {columns}before, after FROM {table} WHERE revision >= $1 ORDER BY revision",  # noqa: S608
            created.revision,
        )
        documents = [
            [json.loads(row[side]) if row[side] is not None else None for side in ("before", "after")] for row in rows
        ]
        first, second = created.after.to_document(), changed.after.to_document()
        assert documents == [[None, first], [first, second], [second, None]]
        if table == "changes":
            assert [row["type"] for row in rows] == ["ADDED", "MODIFIED", "DELETED"]
        else:
            assert {(row["verb"], json.loads(row["principal"])["name"]) for row in rows} == {("test", "test")}
    assert removed.revision == created.revision + 2


async def test_what_was_written_is_read_back_whole(database: Database) -> None:
    full = replace(
        scope("x"),
        namespace="",
        labels={"b": "1", "a": "2"},
        annotations={"note": "ü \U0001f600"},
        owner_references=({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"},),
        finalizers=("a/b",),
        status={"conditions": []},
        generation=3,
        deleted_at=NOW,
    )
    (change,) = await write(database, Change(None, full))
    async with database.transaction() as connection:
        assert await find(connection, SCOPE, "", "x") == change.after
        assert await current_revision(connection) == change.revision


async def test_pages_begin_behind_a_name_in_one_order(database: Database) -> None:
    await write(database, *(Change(None, scope(name)) for name in ("b", "a.b", "a-b", "a")))
    async with database.transaction() as connection:
        everything = [each.name for each in await list_of_kind(connection, SCOPE, None, limit=10)]
        paged: list[str] = []
        while page := await list_of_kind(connection, SCOPE, None, after=("", paged[-1]) if paged else None, limit=1):
            paged += [each.name for each in page]
    assert sorted(everything) == ["a", "a-b", "a.b", "b"]
    assert paged == everything


async def test_every_commit_wakes_listeners_with_its_last_revision(database: Database, database_url: str) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await asyncpg.connect(database_url)
    try:
        await listener.add_listener(CHANNEL, lambda *said: heard.put_nowait(str(said[3])))
        changes = await write(database, Change(None, scope("x")), Change(None, scope("y")))
        assert await asyncio.wait_for(heard.get(), 5) == str(changes[-1].revision)
    finally:
        await listener.close()


def test_event_ids_are_uuid_version_7_of_their_time() -> None:
    sources = replace(system_sources(), now=lambda: NOW)
    made: UUID = sources.event_id()
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == int(NOW.timestamp() * 1000)
