"""Decision records as a list: which tokens were issued and refused, searched within bounds, for whom may read."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from issuer.administration.decisions import LIMIT, MAX_LIMIT
from issuer.administration.queries import WINDOW
from issuer.model.times import format_time
from issuer.settings import DatabaseSettings
from issuer.store import search
from issuer.store.decisions import DecisionWriter
from tests.administration.paths import MERGE, account_path, status_of
from tests.usage.records import Writer, decision
from tests.web.validation import errors_against
from tests.world import World, basic

EVERYWHERE = "/apis/auth.nauthera.io/v1alpha1/decisionrecords"
PAYMENTS = "/apis/auth.nauthera.io/v1alpha1/namespaces/payments/decisionrecords"
TRACE = "0af7651916cd43dd8448eb211c80319c"


async def page(world: World, path: str = EVERYWHERE, **query: Any) -> dict[str, Any]:
    asked = {name.rstrip("_"): value for name, value in query.items()}
    answer = await world.admin.get(path, params=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert errors_against("DecisionRecordList", found) == []
    return found


async def items(world: World, path: str = PAYMENTS, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await page(world, path, **query))["items"]
    return found


async def pages(world: World, path: str = PAYMENTS, **query: Any) -> list[list[str]]:
    """The names on each page, to the end."""
    found, told = [], ""
    while True:
        one = await page(world, path, **query, **({"continue": told} if told else {}))
        found.append([each["metadata"]["name"] for each in one["items"]])
        told = one["metadata"].get("continue", "")
        if not told:
            return found


async def test_a_token_is_found_with_who_got_it_how_for_what_and_under_which_policies(world: World) -> None:
    client = await world.account(scopes=["api:read", "api:write"], audiences=["https://api.example.com"])
    policies = "/apis/auth.nauthera.io/v1alpha1/namespaces/payments/authpolicies"
    made = await world.admin.post(
        policies, json={"metadata": {"name": "short"}, "spec": {"tokenSettings": {"maxAccessTokenTTL": "1m"}}}
    )
    await world.issuer.reloader.catch_up()
    headers = {
        "authorization": basic(client.client_id, client.secret),
        "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
    }
    form = {"grant_type": "client_credentials", "scope": "api:read"}
    assert (await world.public.post("/oauth2/token", data=form, headers=headers)).status_code == 200
    (record,) = await items(world)
    assert UUID(record["metadata"]["name"]).version == 7
    assert record["metadata"]["creationTimestamp"] == format_time(world.clock.now())
    uid = client.client_id.removeprefix("sa-")
    assert (record["outcome"], record["account"]["name"], record["account"]["uid"]) == ("issued", "api", uid)
    assert (record["method"], record["credential"], record["traceId"]) == ("client_secret_basic", "secret/1", TRACE)
    assert record["requested"] == {"scope": "api:read"}
    granted = record["granted"]
    assert (granted["scope"], granted["audience"], granted["accessTokenTTL"]) == (
        "api:read",
        "https://api.example.com",
        "1m",
    )
    revision = made.json()["metadata"]["resourceVersion"]
    assert record["policies"] == [{"policy": "AuthPolicy/payments/short", "revision": revision}]
    assert client.secret not in str(record)


async def test_a_refusal_says_why_and_repeats_nothing_that_is_not_the_accounts_own(world: World) -> None:
    client = await world.account()
    canary = "isk1_pastedIntoTheWrongField"
    assert (await client.token(scope=canary)).status_code == 400
    await client.token()
    await world.issuer.recorder.finish()
    assert canary not in str(await items(world))
    (refused,) = await items(world, outcome="refused")
    assert refused["requested"] == {"scope": "?"}
    assert "granted" not in refused
    assert [each["outcome"] for each in await items(world, outcome="issued")] == ["issued"]
    assert await items(world, outcome=refused["outcome"]) == [refused]


@pytest.fixture
async def three(world: World) -> list[dict[str, Any]]:
    """Decisions about two accounts of two namespaces, a minute apart; the newest is the first."""
    api = await world.account(scopes=["api:read", "api:write"], audiences=["https://a.example", "https://b.example"])
    other = await world.account("api", "billing")
    await api.token(scope="api:read", resource="https://b.example")
    world.clock.advance(minutes=1)
    await api.token(scope="api:write")
    world.clock.advance(minutes=1)
    await other.token()
    listed = [each for each in await items(world, EVERYWHERE) if each["metadata"]["namespace"] != "issuer-system"]
    assert [each["metadata"]["namespace"] for each in listed] == ["billing", "payments", "payments"]
    return listed


async def test_filters_narrow_the_list_and_all_of_them_must_hold(world: World, three: list[dict[str, Any]]) -> None:
    newest, middle, oldest = three
    table: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
        ({}, [middle, oldest]),
        ({"account": "api"}, [middle, oldest]),
        ({"account": "nobody"}, []),
        ({"uid": middle["account"]["uid"], "scope": "api:read"}, [oldest]),
        ({"uid": newest["account"]["uid"]}, []),
        ({"jti": oldest["granted"]["jti"]}, [oldest]),
        ({"scope": "api:write"}, [middle]),
        ({"scope": "api"}, []),
        ({"audience": "https://b.example"}, [oldest]),
        ({"credential": "secret/1"}, [middle, oldest]),
        ({"credential": "secret/2"}, []),
        ({"kid": middle["granted"]["kid"]}, [middle, oldest]),
        ({"traceId": TRACE}, []),
        ({"from": middle["metadata"]["creationTimestamp"]}, [middle]),
        ({"until": middle["metadata"]["creationTimestamp"]}, [oldest]),
    ]
    for query, expected in table:
        # Whole seconds stand in a record; the clock of this world does not stand on one.
        bound = {
            name: format_time(world.clock.now() - timedelta(seconds=90)) if name in {"from", "until"} else value
            for name, value in query.items()
        }
        assert await items(world, PAYMENTS, **bound) == expected, query
    assert await items(world, EVERYWHERE, account="api") == [newest, middle, oldest]


async def test_an_account_that_is_gone_is_found_by_its_uid_and_its_name_until_another_has_it(world: World) -> None:
    client = await world.account()
    await client.token()
    uid = client.client_id.removeprefix("sa-")
    await world.admin.delete(client.path)
    assert len(await items(world, account="api")) == 1
    again = await world.account()
    assert await items(world, account="api") == []
    await again.token()
    assert [each["account"]["uid"] for each in await items(world, account="api")] == [again.client_id[3:]]
    assert [each["account"]["uid"] for each in await items(world, uid=uid)] == [uid]


async def test_without_a_stretch_of_time_only_the_last_day_is_searched(world: World) -> None:
    client = await world.account()
    await client.token()
    begun = world.clock.now()
    world.clock.advance(seconds=WINDOW.total_seconds() + 1)
    await world.renew_admin()
    assert await items(world) == []
    assert len(await items(world, from_=format_time(begun - timedelta(seconds=1)))) == 1
    assert len(await items(world, until=format_time(begun + timedelta(hours=1)))) == 1
    assert await items(world, until=format_time(begun + timedelta(hours=25))) == []


async def test_pages_follow_each_other_without_a_gap_while_records_are_added(world: World) -> None:
    client = await world.account()
    for _ in range(7):
        await client.token()
    whole = [each["metadata"]["name"] for each in await items(world)]
    assert whole == sorted(whole, reverse=True)
    assert len(whole) == 7
    first = await page(world, PAYMENTS, limit=3)
    world.clock.advance(minutes=1)
    await client.token()
    rest = await page(world, PAYMENTS, limit=3, **{"continue": first["metadata"]["continue"]})
    last = await page(world, PAYMENTS, limit=2, **{"continue": rest["metadata"]["continue"]})
    names = [each["metadata"]["name"] for one in (first, rest, last) for each in one["items"]]
    assert names == whole
    assert "continue" not in last["metadata"]


async def test_a_search_that_finds_little_ends_its_pages_after_so_many_rows_and_still_finds_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SCANNED", 4)
    clients = [await world.account(name) for name in ("api", "job")]
    for number in range(9):
        await clients[number % 9 == 4].token()
    found = await pages(world, credential="secret/1", scope="api:read", limit=3)
    assert sum(len(each) for each in found) == 9
    uid = clients[1].client_id.removeprefix("sa-")
    assert [len(each) for each in await pages(world, uid=uid)] == [1]
    # By a name without its namespace: no index, so nothing at all on some pages.
    searched = await pages(world, EVERYWHERE, account="job")
    assert sum(len(each) for each in searched) == 1
    assert [] in searched


async def test_a_cursor_is_good_for_the_search_it_was_made_for(world: World) -> None:
    client = await world.account()
    for _ in range(3):
        await client.token()
    told = (await page(world, PAYMENTS, limit=1, scope="api:read"))["metadata"]["continue"]
    assert len(await items(world, PAYMENTS, scope="api:read", **{"continue": told})) == 2
    for path, query in (
        (PAYMENTS, {}),
        (PAYMENTS, {"scope": "api:write"}),
        (EVERYWHERE, {"scope": "api:read"}),
        (PAYMENTS, {"scope": "api:read", "continue": told[:-4]}),
    ):
        answer = await world.admin.get(path, params={"continue": told, **query})
        assert status_of(answer) == (400, "BadRequest"), query


async def test_a_list_ends_at_its_limit(world: World, database_url: str) -> None:
    writer = Writer(await DecisionWriter.open(database_url, DatabaseSettings()), at=world.clock.now())
    await writer.begin()
    await writer.write(*(decision(at=world.clock.now()) for _ in range(MAX_LIMIT + 20)))
    writer.connection.close()
    assert len(await items(world)) == LIMIT
    assert len(await items(world, limit=MAX_LIMIT)) == MAX_LIMIT
    assert [len(each) for each in await pages(world, limit=MAX_LIMIT)] == [MAX_LIMIT, 20]


REFUSED = {
    "limit=0": ["limit"],
    "limit=501": ["limit"],
    "uid=someone": ["uid"],
    "account=%00": ["account"],
    "outcome=maybe": ["outcome"],
    "jti=": ["jti"],
    "scope=a%00b": ["scope"],
    "traceId=1": ["traceId"],
    "from=yesterday": ["from"],
    "from=1960-01-01T00:00:00Z": ["from"],
    "until=2027-01-01": ["until"],
    "namespace=payments": ["namespace"],
    "jti=a&jti=b": ["jti"],
    "labelSelector=a&limit=x": ["labelSelector", "limit"],
}


async def test_what_cannot_be_asked_for_is_refused_with_every_fault(world: World) -> None:
    for query, fields in REFUSED.items():
        refused = await world.admin.get(f"{EVERYWHERE}?{query}")
        assert status_of(refused) == (400, "BadRequest"), query
        assert sorted(cause["field"] for cause in refused.json()["details"]["causes"]) == fields, query
    backwards = await world.admin.get(f"{EVERYWHERE}?from=2027-01-02T00:00:00Z&until=2027-01-01T00:00:00Z")
    assert "from must be before until" in backwards.json()["message"]


async def test_strangers_read_no_record_and_nobody_writes_one(world: World) -> None:
    assert status_of(await world.anonymous.get(EVERYWHERE)) == (401, "Unauthorized")
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert status_of(await world.admin.request(method, PAYMENTS)) == (405, "MethodNotAllowed")
    assert (await world.admin.get(f"{EVERYWHERE}/{uuid4()}")).status_code == 404


async def test_a_refused_account_is_found_by_the_cause_that_its_client_never_heard(world: World) -> None:
    client = await world.account()
    await world.admin.patch(account_path("api"), json={"spec": {"disabled": True}}, headers=MERGE)
    await world.issuer.reloader.catch_up()
    assert (await client.token()).status_code == 401
    await world.issuer.recorder.finish()
    assert [each["outcome"] for each in await items(world)] == ["account_disabled"]
