"""What was folded, as the admin API tells it: of one account, of its credentials, of strangers."""

from datetime import UTC, timedelta
from typing import Any

import pytest

from issuer.model.times import format_time
from issuer.store.database import Database
from issuer.store.refusals import RefusalKey, save_counts
from issuer.workers.folding import UsageFolder
from tests.administration.paths import ACCOUNT, MERGE, account_path, status_of
from tests.web.validation import errors_against
from tests.world import Client, World

REFUSALS = "/apis/auth.nauthera.io/v1alpha1/refusalcounts"


@pytest.fixture
async def client(world: World) -> Client:
    return await world.account(scopes=["api:read", "api:write"], audiences=["https://a.example"])


async def folded(world: World) -> None:
    await world.issuer.recorder.finish()
    await UsageFolder(world.issuer.databases[1]).fold()


async def usage(world: World, **query: Any) -> dict[str, Any]:
    answer = await world.admin.get(f"{account_path('api')}/usage", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert errors_against("Usage", found) == []
    return found


async def status(world: World) -> dict[str, Any]:
    answer = await world.admin.get(account_path("api"))
    assert errors_against("ServiceAccount", answer.json()) == []
    found: dict[str, Any] = answer.json()["status"]
    return found


async def test_an_account_that_was_never_used_says_nothing_of_its_last_use(world: World, client: Client) -> None:
    await folded(world)
    assert client.path == account_path("api")
    assert "lastUsed" not in await status(world)
    assert "lastUsed" not in str((await status(world))["credentials"])
    assert await usage(world) == {
        "since": (world.clock.now().astimezone(UTC) - timedelta(days=29)).date().isoformat(),
        "issued": 0,
        "refused": 0,
        "days": [],
        "credentials": [],
        "scopes": [],
        "sources": [],
    }


async def test_an_account_and_each_credential_say_when_they_were_last_used(world: World, client: Client) -> None:
    await client.token()
    first = format_time(world.clock.now())
    world.clock.advance(minutes=2)
    second = (await world.admin.post(f"{client.path}/credentials", json={"acknowledge": True})).json()
    await world.issuer.reloader.catch_up()
    await world.token(client.client_id, second["clientSecret"])
    await folded(world)
    told = await status(world)
    assert told["lastUsed"] == format_time(world.clock.now())
    assert [(each["version"], each["lastUsed"]) for each in told["credentials"]] == [(1, first), (2, told["lastUsed"])]


async def test_last_use_is_told_of_one_account_only_and_sent_back_it_does_no_harm(world: World, client: Client) -> None:
    await client.token()
    await folded(world)
    assert "lastUsed" not in (await world.admin.get(ACCOUNT)).text
    read = (await world.admin.get(client.path)).json()
    await client.token()
    world.clock.advance(minutes=1)
    await client.token()
    await folded(world)
    answer = await world.admin.put(f"{client.path}/status", json=read)
    assert answer.status_code == 200, answer.text
    assert (await world.admin.put(client.path, json=read)).status_code == 200


async def test_usage_says_how_often_by_day_credential_scope_and_source(world: World, client: Client) -> None:
    begun = world.clock.now()
    await client.token(scope="api:read")
    world.clock.advance(minutes=3)
    await client.token()
    await client.token(scope="api:delete")
    await folded(world)
    first, last = format_time(begun), format_time(world.clock.now())
    told = await usage(world)
    whole = {"issued": 2, "refused": 1, "firstUsed": first, "lastUsed": last}
    assert {name: told[name] for name in whole} == whole
    assert sum(each["issued"] for each in told["days"]) == 2
    assert told["credentials"] == [{"credential": "secret/1", **whole}]
    by_scope = {each["scope"]: (each.get("audience"), each["issued"], each["refused"]) for each in told["scopes"]}
    assert by_scope == {
        "api:read": ("https://a.example", 2, 0),
        "api:write": ("https://a.example", 1, 0),
        "?": (None, 0, 1),
    }
    assert [(each["source"], each["issued"]) for each in told["sources"]] == [("127.0.0.1", 2)]


async def test_only_the_days_that_are_asked_for_are_summed_up(world: World, client: Client) -> None:
    await client.token()
    world.clock.advance(days=3)
    await client.token()
    await folded(world)
    await world.renew_admin()
    assert [(await usage(world, days=days))["issued"] for days in (1, 3, 4)] == [1, 1, 2]
    assert [each["day"] for each in (await usage(world))["days"]] == [
        (world.clock.now() - timedelta(days=days)).astimezone(UTC).date().isoformat() for days in (0, 3)
    ]


async def test_the_uses_of_another_account_that_had_the_name_are_not_its_own(world: World, client: Client) -> None:
    await client.token()
    await world.admin.delete(client.path)
    await world.account()
    await folded(world)
    assert (await usage(world))["issued"] == 0
    assert "lastUsed" not in await status(world)


async def test_what_cannot_be_asked_for_is_refused(world: World, client: Client) -> None:
    for query in ("days=0", "days=many", "days=36501", "since=x", "days=1&days=2"):
        assert status_of(await world.admin.get(f"{client.path}/usage?{query}")) == (400, "BadRequest"), query
    assert status_of(await world.admin.get(f"{account_path('nobody')}/usage")) == (404, "NotFound")
    assert status_of(await world.anonymous.get(f"{client.path}/usage")) == (401, "Unauthorized")
    for query in ("limit=0", "limit=1001", "from=x", "reason=y"):
        assert status_of(await world.admin.get(f"{REFUSALS}?{query}")) == (400, "BadRequest"), query


async def test_strangers_are_refused_in_numbers_and_what_they_said_is_nowhere(world: World, client: Client) -> None:
    canary = "isk1_strangerCANARY"
    unknown = "sa-00000000-0000-4000-8000-000000000000"
    await world.token(client.client_id, canary)
    await world.token(unknown, canary)
    await world.token(canary, canary)
    await world.admin.patch(client.path, json={"spec": {"disabled": True}}, headers=MERGE)
    await world.issuer.reloader.catch_up()
    await client.token()
    await world.issuer.refusals.flush()
    answer = await world.admin.get(REFUSALS)
    found = answer.json()
    assert errors_against("RefusalCountList", found) == []
    counted = {(each["reason"], each["clientId"]): each["count"] for each in found["items"]}
    assert counted == {("secret_wrong", client.client_id): 1, ("client_unknown", "unknown"): 2}
    assert canary not in answer.text
    assert unknown not in answer.text


async def test_counts_of_several_processes_are_summed_up_the_newest_minute_first(world: World) -> None:
    database: Database = world.issuer.databases[1]
    minute = world.clock.now().replace(second=0, microsecond=0)
    for _ in range(2):
        async with database.transaction() as connection:
            counts = {
                RefusalKey(minute, "secret_wrong", "unknown", "192.0.2.1"): 2,
                RefusalKey(minute - timedelta(hours=1), "secret_wrong", "unknown", "192.0.2.1"): 5,
                RefusalKey(minute - timedelta(hours=30), "secret_wrong", "unknown", "192.0.2.1"): 7,
            }
            await save_counts(connection, world.foundation.sources.uid(), counts)
    listed = (await world.admin.get(REFUSALS)).json()["items"]
    assert [(each["minute"], each["count"]) for each in listed] == [
        (format_time(minute), 4),
        (format_time(minute - timedelta(hours=1)), 10),
    ]
    older = await world.admin.get(REFUSALS, params={"until": format_time(minute - timedelta(hours=10))})
    assert [each["count"] for each in older.json()["items"]] == [14]
