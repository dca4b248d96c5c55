"""WATCH: what is written reaches those it concerns, once, in order; and a stream that cannot go on says so."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from issuer.model.filters import parse_filter
from issuer.model.kinds import SERVICE_ACCOUNT
from issuer.store import batches
from issuer.store.changelog import trim_log
from issuer.workers import changefeed
from tests.administration.paths import ACCOUNT, MERGE, account, account_path, status_of
from tests.administration.test_lists import EVERYWHERE, OTHER
from tests.administration.watching import Watching, running_feed, watching
from tests.databases import Databases
from tests.store.rows import query
from tests.world import NAMESPACES, SCOPES, World, started_world

SYSTEM_ADMIN = "/apis/auth.nauthera.io/v1alpha1/namespaces/issuer-system/serviceaccounts/admin"


@pytest.fixture
async def followed(world: World) -> AsyncIterator[World]:
    """A world whose watchers hear of writes, with the namespaces `payments` and `aaa`."""
    await world.namespace("payments")
    await world.namespace("aaa")
    async with running_feed(world):
        yield world


async def version(world: World, path: str = ACCOUNT) -> str:
    return str((await world.admin.get(path)).json()["metadata"]["resourceVersion"])


async def label(world: World, name: str, **labels: str | None) -> None:
    answer = await world.admin.patch(account_path(name), json={"metadata": {"labels": labels}}, headers=MERGE)
    assert answer.status_code == 200, answer.text


def told(watch: Watching) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in watch.events]


async def test_a_watch_tells_of_every_write_with_the_object_as_it_became(followed: World) -> None:
    async with watching(followed, ACCOUNT, resourceVersion=await version(followed)) as watch:
        created = (await followed.admin.post(ACCOUNT, json=account("a"))).json()
        assert await watch.next() == {"type": "ADDED", "object": created}
        await label(followed, "a", tier="critical")
        event = await watch.next()
        stored = (await followed.admin.get(ACCOUNT)).json()["items"][0]
        assert event == {"type": "MODIFIED", "object": stored}
        await followed.admin.delete(account_path("a"))
        gone = await watch.next()
        assert gone is not None
        assert gone["type"] == "DELETED"
        last = gone["object"]["metadata"].pop("resourceVersion")
        assert int(last) > int(stored["metadata"].pop("resourceVersion"))
        assert gone["object"] == stored


async def test_a_watch_begins_behind_its_resource_version_and_misses_nothing_since(followed: World) -> None:
    begin = await version(followed)
    for name in "abc":
        await followed.admin.post(ACCOUNT, json=account(name))
    async with watching(followed, ACCOUNT, resourceVersion=begin) as watch:
        for _ in range(3):
            await watch.next()
        await followed.admin.post(ACCOUNT, json=account("d"))
        await watch.next()
        assert told(watch) == [("ADDED", name) for name in "abcd"]


async def test_a_watch_without_a_resource_version_begins_with_what_is_there(followed: World) -> None:
    for name in "ab":
        await followed.admin.post(ACCOUNT, json=account(name, labels={"tier": name}))
    for begin in ({}, {"resourceVersion": "0"}, {"resourceVersion": ""}):
        async with watching(followed, ACCOUNT, labelSelector="tier in (a,c)", **begin) as watch:
            await watch.next()
            await label(followed, "b", tier="c")
            await watch.next()
            assert told(watch) == [("ADDED", "a"), ("ADDED", "b")]
        await label(followed, "b", tier="b")


async def test_an_object_that_stops_matching_is_deleted_and_one_that_begins_to_is_added(followed: World) -> None:
    await followed.admin.post(ACCOUNT, json=account("a"))
    async with watching(followed, ACCOUNT, resourceVersion=await version(followed), labelSelector="tier=x") as watch:
        await label(followed, "a", tier="y")
        await label(followed, "a", tier="x")
        await label(followed, "a", other="z")
        await label(followed, "a", tier="y")
        await label(followed, "a", tier=None)
        await label(followed, "a", tier="x")
        for _ in range(4):
            await watch.next()
        assert told(watch) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "a")]
        left = watch.events[2]["object"]["metadata"]
        # The state that last matched, at the revision at which it no longer did.
        assert left["labels"] == {"tier": "x", "other": "z"}
        assert int(left["resourceVersion"]) == int(watch.events[1]["object"]["metadata"]["resourceVersion"]) + 1


async def test_a_watcher_hears_of_its_namespace_its_kind_and_its_name_only(followed: World) -> None:
    begin = await version(followed)
    async with (
        watching(followed, ACCOUNT, resourceVersion=begin) as here,
        watching(followed, EVERYWHERE, resourceVersion=begin) as everywhere,
        watching(followed, EVERYWHERE, resourceVersion=begin, fieldSelector="metadata.name=b") as named,
        watching(followed, SCOPES, resourceVersion=begin) as scopes,
    ):
        await followed.admin.post(OTHER, json=account("z"))
        await followed.admin.post(ACCOUNT, json=account("a"))
        await followed.admin.post(SCOPES, json={"metadata": {"name": "s"}, "spec": {"scope": "s", "risk": "read"}})
        await followed.admin.post(OTHER, json=account("b"))
        await followed.admin.post(ACCOUNT, json=account("b"))
        for watch, number in ((here, 2), (everywhere, 4), (named, 2), (scopes, 1)):
            for _ in range(number):
                await watch.next()
        assert told(here) == [("ADDED", "a"), ("ADDED", "b")]
        assert told(everywhere) == [("ADDED", "z"), ("ADDED", "a"), ("ADDED", "b"), ("ADDED", "b")]
        assert [event["object"]["metadata"]["namespace"] for event in named.events] == ["aaa", "payments"]
        assert told(scopes) == [("ADDED", "s")]


async def test_a_secret_never_passes_a_watch_and_what_get_computes_neither(followed: World) -> None:
    async with watching(followed, ACCOUNT, resourceVersion=await version(followed)) as watch:
        client = await followed.account("a")
        for _ in range(3):
            event = await watch.next()
            assert event is not None
            assert not {"credentials", "effective", "lastUsed"} & event["object"]["status"].keys()
            assert client.secret not in str(event)
            if event["object"]["status"]["phase"] == "Active":
                return
        pytest.fail("the account never became active")


async def test_a_bookmark_says_how_far_a_quiet_watch_is(followed: World) -> None:
    begin = await version(followed)
    await followed.admin.post(OTHER, json=account("z"))
    now = await version(followed, EVERYWHERE)
    asked = {"resourceVersion": begin, "timeoutSeconds": "1"}
    async with watching(followed, ACCOUNT, allowWatchBookmarks="true", **asked) as watch:
        expected = {
            "type": "BOOKMARK",
            "object": {
                "apiVersion": "auth.nauthera.io/v1alpha1", "kind": "ServiceAccount", "metadata": {"resourceVersion": now}
            },
        }  # fmt: skip
        assert await watch.next() == expected
        assert await watch.next() is None
    async with watching(followed, ACCOUNT, **asked) as watch:
        assert await watch.next() is None
        assert watch.events == []


async def test_what_cannot_be_watched_is_refused_before_the_stream_begins(followed: World) -> None:
    begin = await version(followed)
    await followed.admin.post(ACCOUNT, json=account("a"))
    async with followed.issuer.databases[0].transaction() as connection:
        await trim_log(connection, keep_s=-1)
    for asked, answered in {
        f"resourceVersion={begin}": (410, "Expired"),
        "resourceVersion=999999": (410, "Expired"),
        "resourceVersion=x": (400, "BadRequest"),
        "timeoutSeconds=x": (400, "BadRequest"),
        "labelSelector=,": (400, "BadRequest"),
        "sendInitialEvents=true": (422, "Invalid"),
    }.items():
        assert status_of(await followed.admin.get(f"{ACCOUNT}?watch=true&{asked}")) == answered, asked
    nowhere = ACCOUNT.replace("payments", "nowhere")
    assert status_of(await followed.admin.get(f"{nowhere}?watch=1")) == (404, "NotFound")
    assert status_of(await followed.anonymous.get(f"{ACCOUNT}?watch=1")) == (401, "Unauthorized")
    head = await followed.admin.head(f"{ACCOUNT}?watch=true")
    assert head.status_code == 200


async def test_watches_are_counted_per_principal_and_given_back(
    followed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changefeed, "MAX_WATCHES_PER_PRINCIPAL", 2)
    async with watching(followed, ACCOUNT), watching(followed, SCOPES):
        async with watching(followed, NAMESPACES) as third:
            assert third.status == 429
        answer = await followed.admin.get(f"{ACCOUNT}?watch=true")
        assert status_of(answer) == (429, "TooManyRequests")
        assert answer.headers["retry-after"] == "1"
    async with watching(followed, ACCOUNT) as again:
        assert again.status == 200


@pytest.mark.parametrize("bounds", ["numbers", "bytes"])
async def test_a_watcher_that_reads_too_slowly_misses_nothing(
    followed: World, monkeypatch: pytest.MonkeyPatch, bounds: str
) -> None:
    if bounds == "numbers":
        monkeypatch.setattr(changefeed, "_MAX_QUEUE", 3)
        monkeypatch.setattr(changefeed, "_BATCH", 2)
    else:
        monkeypatch.setattr(changefeed, "_MAX_QUEUE_BYTES", 2_500)
        monkeypatch.setattr(batches, "BATCH_BYTES", 4_000)
    await followed.admin.post(ACCOUNT, json=account("a"))
    feed = followed.issuer.feed
    with feed.watching(
        "slow", parse_filter(SERVICE_ACCOUNT, "payments", "", ""), int(await version(followed))
    ) as watch:
        for number in range(12):
            await label(followed, "a", turn=str(number))
        await feed.catch_up()
        assert len(watch._queue) <= 3
        lines = b""
        while watch.revision < feed.revision:
            lines += await watch.read(0.01)
        turns = [json.loads(line)["object"]["metadata"]["labels"]["turn"] for line in lines.splitlines()]
        assert turns == [str(number) for number in range(12)]
        await label(followed, "a", turn="last")
        assert b'"turn": "last"' in await watch.read(5)


async def test_another_database_ends_every_watch_with_410(followed: World) -> None:
    async with watching(followed, ACCOUNT, resourceVersion=await version(followed)) as watch:
        await query(followed.database_url, "UPDATE installation SET epoch = gen_random_uuid()")
        await followed.issuer.reloader.catch_up()
        error = await watch.next()
        assert error is not None
        assert (error["type"], error["object"]["code"], error["object"]["reason"]) == ("ERROR", 410, "Expired")
        assert await watch.next() is None


async def test_a_log_trimmed_beyond_what_this_process_has_read_ends_every_watch_with_410(followed: World) -> None:
    async with watching(followed, ACCOUNT, resourceVersion=await version(followed)) as watch:
        await query(
            followed.database_url, "UPDATE installation SET revision = revision + 10, trimmed_to = revision + 5"
        )
        await followed.issuer.reloader.catch_up()
        error = await watch.next()
        assert error is not None
        assert error["object"]["code"] == 410


async def test_a_stopping_process_ends_its_watches_and_those_that_come(followed: World) -> None:
    async with watching(followed, ACCOUNT) as watch:
        followed.issuer.feed.end()
        assert await watch.next() is None
    async with watching(followed, ACCOUNT) as late:
        assert (late.status, await late.next()) == (200, None)


async def test_nothing_is_sent_to_whom_the_guard_would_refuse_now(
    followed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("issuer.web.lists._STILL_ALLOWED_S", 0)
    async with watching(followed, ACCOUNT, resourceVersion=await version(followed)) as watch:
        token = followed.admin.headers["authorization"]
        followed.clock.advance(seconds=3600)
        await followed.renew_admin()
        assert followed.admin.headers["authorization"] != token
        await followed.admin.post(ACCOUNT, json=account("secretly"))
        error = await watch.next()
        assert error is not None
        assert (error["type"], error["object"]["code"]) == ("ERROR", 401)
        assert await watch.next() is None


async def test_a_write_on_another_replica_reaches_a_watcher_here(followed: World, databases: Databases) -> None:
    async with (
        watching(followed, ACCOUNT, resourceVersion=await version(followed)) as watch,
        started_world(followed.database_url, databases.bootstrapped, followed.clock) as replica,
    ):
        await replica.admin.post(ACCOUNT, json=account("a"))
        await followed.issuer.reloader.catch_up()
        await watch.next()
        assert told(watch) == [("ADDED", "a")]


async def test_a_hundred_watchers_cost_one_read_of_the_log(followed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = await version(followed)
    feed = followed.issuer.feed
    reads: list[Any] = []
    original = feed.history

    async def counted(*arguments: Any) -> Any:
        reads.append(arguments)
        return await original(*arguments)

    contexts = [watching(followed, ACCOUNT, resourceVersion=begin) for _ in range(100)]
    watches = [await context.__aenter__() for context in contexts]
    try:
        await feed.catch_up()
        monkeypatch.setattr(feed, "history", counted)
        await followed.admin.post(ACCOUNT, json=account("a"))
        for watch in watches:
            await watch.next()
            assert told(watch) == [("ADDED", "a")]
        assert len(reads) == 1
    finally:
        for context in contexts:
            await context.__aexit__(None, None, None)


async def test_a_day_old_write_is_forgotten_and_a_younger_one_is_kept(world: World) -> None:
    await world.namespace("payments")
    old = await version(world)
    await query(world.database_url, "UPDATE changes SET at = at - $1::interval", timedelta(hours=25))
    await world.admin.post(ACCOUNT, json=account("young"))
    async with world.issuer.databases[0].transaction() as connection:
        assert not await trim_log(connection, keep_s=86_400)
    (row,) = await query(world.database_url, "SELECT count(*) AS kept, min(revision) AS first FROM changes")
    assert (row["kept"], row["first"]) == (1, int(old) + 1)
    (row,) = await query(world.database_url, "SELECT trimmed_to FROM installation")
    assert row["trimmed_to"] == int(old)
