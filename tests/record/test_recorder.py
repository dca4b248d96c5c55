"""The record of a running issuer: what stands in it, when it is written, and what it must not hold."""

import asyncio
import json
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import make_url

from issuer.events import DecisionsNotRecorded, RecordsDurable, RecordsNotDurable, TokenIssued, TokenRefused
from issuer.record.chain import ChainedRecord, Link, first_link, next_link
from issuer.record.decision import DecisionRecord
from issuer.store.decisions import WRITERS
from issuer.store.partitions import day_of, partition_of
from issuer.workers import recorder
from issuer.workers.shipping import Shipping
from tests.databases import Databases
from tests.store.roles import role
from tests.store.rows import execute, query
from tests.world import Client, World, basic, started_world

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
POLICIES = "/apis/auth.nauthera.io/v1alpha1/clusterauthpolicies"


async def records(world: World) -> list[dict[str, Any]]:
    """What is recorded by now, the oldest first."""
    await asyncio.wait_for(world.issuer.recorder.finish(), 5)
    return [dict(row) for row in await query(world.database_url, "SELECT * FROM decision_records ORDER BY id")]


async def last(world: World) -> dict[str, Any]:
    return (await records(world))[-1]


async def test_a_token_is_on_record_before_it_leaves(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await world.account()
    waiting, go = [], asyncio.Event()
    write = Shipping.write

    async def slow(shipping: Shipping, batch: Sequence[ChainedRecord]) -> None:
        waiting.append(batch)
        await go.wait()
        await write(shipping, batch)

    monkeypatch.setattr(Shipping, "write", slow)
    asking = asyncio.create_task(client.token())
    while not waiting:  # noqa: ASYNC110 - it has no event of its own
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert not asking.done()
    assert not [event for event in world.seen(TokenIssued) if event.caller.name == "api"]
    go.set()
    assert (await asking).status_code == 200


async def test_a_commit_that_takes_long_holds_up_its_own_tokens_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await world.account()
    stuck: list[Shipping] = []
    go, write = asyncio.Event(), Shipping.write

    async def one_is_slow(shipping: Shipping, batch: Sequence[ChainedRecord]) -> None:
        if not stuck or shipping in stuck:
            stuck.append(shipping)
            await go.wait()
        await write(shipping, batch)

    monkeypatch.setattr(Shipping, "write", one_is_slow)
    slow = asyncio.create_task(client.token())
    while not stuck:  # noqa: ASYNC110 - it has no event of its own
        await asyncio.sleep(0.01)
    for _ in range(5):
        assert (await asyncio.wait_for(client.token(), 0.5)).status_code == 200
    assert not slow.done()
    go.set()
    assert (await slow).status_code == 200
    assert len(stuck) == 1


async def test_it_says_who_asked_proven_how_for_what_and_what_was_granted(world: World) -> None:
    policy = {"metadata": {"name": "short"}, "spec": {"tokenSettings": {"maxAccessTokenTTL": "2m"}}}
    written = (await world.admin.post(POLICIES, json=policy)).json()
    scopes, audiences = ["api:read", "api:write"], ["https://api.example", "https://b.example"]
    client = await world.account(scopes=scopes, audiences=audiences)
    stored = (await world.admin.get(client.path)).json()
    answer = await world.public.post(
        "/oauth2/token",
        data={"grant_type": "client_credentials", "scope": "api:write", "resource": "https://b.example"},
        headers={
            "authorization": basic(client.client_id, client.secret),
            "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
        },
    )
    assert answer.status_code == 200
    claims = claims_of(answer)
    (found,) = [row for row in await records(world) if row["jti"] == claims["jti"]]
    assert json.loads(found.pop("policies")) == [
        ["ClusterAuthPolicy/short", int(written["metadata"]["resourceVersion"])]
    ]
    (issued,) = [event for event in world.seen(TokenIssued) if event.caller.name == "api"]
    assert {name: found[name] for name in DecisionRecord._fields if name not in {"id", "policies"}} == {
        "at": world.clock.now(),
        "outcome": "issued",
        "cause": "",
        "account_uid": UUID(stored["metadata"]["uid"]),
        "namespace": "payments",
        "name": "api",
        "account_revision": int(stored["metadata"]["resourceVersion"]),
        "method": "client_secret_basic",
        "credential": "secret/1",
        "source": "127.0.0.1",
        "requested_scope": "api:write",
        "requested_audience": "https://b.example",
        "scope": "api:write",
        "audience": "https://b.example",
        "ttl_s": 120,
        "jti": claims["jti"],
        "kid": issued.kid,
        "trace_id": TRACE,
    }


def claims_of(answer: httpx.Response) -> dict[str, Any]:
    payload = answer.json()["access_token"].split(".")[1]
    claims: dict[str, Any] = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


async def disable(client: Client) -> None:
    answer = await client.world.admin.patch(
        client.path, json={"spec": {"disabled": True}}, headers={"content-type": "application/merge-patch+json"}
    )
    assert answer.status_code == 200, answer.text


async def test_the_refusal_of_an_account_is_recorded_with_its_cause_and_never_what_is_not_its_own(world: World) -> None:
    client = await world.account(audiences=["https://api.example"])
    pasted = client.secret.replace("_", ":")
    world.clock.advance(seconds=1)
    assert (await client.token(scope=f"api:read {pasted}")).status_code == 400
    refused = await last(world)
    assert (refused["outcome"], refused["requested_scope"]) == ("scope_not_held", "api:read ?")
    world.clock.advance(seconds=1)
    assert (await client.token(resource=f"https://{pasted}")).status_code == 400
    assert (await last(world))["requested_audience"] == "?"
    await disable(client)
    world.clock.advance(seconds=1)
    assert (await client.token()).status_code == 401
    refused = await last(world)
    assert (refused["outcome"], refused["credential"], refused["jti"]) == ("account_disabled", "secret/1", None)
    assert pasted not in str(await records(world))


async def test_strangers_leave_no_record(world: World) -> None:
    client = await world.account()
    before = len(await records(world))
    assert (await world.token(client.client_id, "isk1_wrong")).status_code == 401
    assert (await world.token("sa-nobody", "isk1_wrong")).status_code == 401
    assert (await world.public.post("/oauth2/token", data={"grant_type": "x"})).status_code == 400
    assert len(await records(world)) == before
    assert len(world.seen(TokenRefused)) == 3


async def test_many_in_flight_share_few_commits_and_every_record_has_its_place_in_a_chain(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await world.account()
    batches: list[int] = []
    write = Shipping.write

    async def counted(shipping: Shipping, batch: Sequence[ChainedRecord]) -> None:
        batches.append(len(batch))
        await write(shipping, batch)

    monkeypatch.setattr(Shipping, "write", counted)
    answers = await asyncio.gather(*(client.token() for _ in range(200)))
    assert {answer.status_code for answer in answers} == {200}
    assert sum(batches) == 200
    assert len(batches) < 50
    rows = await records(world)
    _, key = await world.issuer.recorder.recorders[0]._access.chain_key()
    heads = {writer: first_link(key, writer) for writer in {row["writer"] for row in rows}}
    assert len(heads) == WRITERS
    for row in rows:
        heads[row["writer"]] = next_link(key, heads[row["writer"]], decision_of(row))
        assert heads[row["writer"]] == Link(row["writer"], row["sequence"], row["mac"])
    ended = await query(world.database_url, "SELECT writer, sequence, mac FROM record_chains WHERE ended")
    assert {Link(*row) for row in ended} == set(heads.values())


def decision_of(row: dict[str, Any]) -> DecisionRecord:
    return DecisionRecord(*(row[name] for name in DecisionRecord._fields))


async def test_a_day_without_its_partition_gets_one_when_its_first_record_comes(world: World) -> None:
    client = await world.account()
    world.clock.advance(days=40)
    await world.issuer.reloader.catch_up()
    assert (await client.token()).status_code == 200
    row = await last(world)
    (where,) = await query(
        world.database_url, "SELECT tableoid::regclass::text FROM decision_records WHERE id = $1", row["id"]
    )
    assert where[0] == partition_of(day_of(row["id"])) == f"decision_records_{world.clock.now():%Y%m%d}"


async def test_a_decision_the_database_will_never_take_takes_no_other_along(world: World) -> None:
    client = await world.account()
    await execute(world.database_url, "ALTER TABLE decision_records ADD CHECK (source <> '192.0.2.66')")
    world.issuer.recorder.note(refusal_from(world, "192.0.2.66"))
    answers = await asyncio.gather(*(client.token() for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    rows = await records(world)
    assert "192.0.2.66" not in {row["source"] for row in rows}
    for writer in {row["writer"] for row in rows}:
        places = [row["sequence"] for row in rows if row["writer"] == writer]
        assert places == list(range(1, len(places) + 1)), "no chain has a hole"


def refusal_from(world: World, source: str) -> TokenRefused:
    caller = world.seen(TokenIssued)[0].caller
    return TokenRefused("account_disabled", "", None, source, caller._replace(source=source))


async def test_a_right_that_was_taken_from_the_database_user_is_an_outage_of_the_record(
    database_url: str, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "COMMIT_S", 0.1)
    everything = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"
    async with (
        role(database_url, everything, "USAGE ON SCHEMA public") as url,
        started_world(url, databases.bootstrapped) as world,
    ):
        client = await world.account()
        user = make_url(url).username
        await query(database_url, f"REVOKE INSERT ON decision_records FROM {user}")
        assert (await client.token()).status_code == 503
        missing = "permission denied for table decision_records"
        assert [event.error for event in world.seen(RecordsNotDurable)] == [missing]
        assert missing in (await world.anonymous.get("/readyz")).text
        await query(database_url, f"GRANT INSERT ON decision_records TO {user}")
        async with asyncio.timeout(10):
            while not world.seen(RecordsDurable):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        assert (await client.token()).status_code == 200


async def test_beyond_what_may_wait_tokens_are_refused_and_refusals_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await world.account()
    monkeypatch.setattr(recorder, "MAX_WAITING", 0)
    answer = await client.token()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    refused = world.seen(TokenRefused)[-1]
    assert (refused.failure, refused.cause) == ("record_not_durable", "too many decisions wait to be recorded")
    while not world.seen(DecisionsNotRecorded):  # noqa: ASYNC110 - the events of a test are a list
        await asyncio.sleep(0.01)
    assert world.seen(DecisionsNotRecorded) == [DecisionsNotRecorded(1)]
