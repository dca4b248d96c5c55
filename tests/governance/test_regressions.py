"""What a review with fresh eyes found, each once broken."""

from typing import Any

import asyncpg
import pytest

from issuer.administration.bootstrap import FirstStart
from issuer.ratelimit import Rates
from issuer.wiring import first_start
from tests.databases import LOCAL, Databases
from tests.governance.test_in_force import CLUSTER_POLICIES, POLICIES, put_policy
from tests.world import World, basic, started_world

MERGE = {"content-type": "application/merge-patch+json"}


async def test_a_policy_that_waits_for_its_finalizer_does_not_stop_its_namespace_from_being_emptied(
    world: World,
) -> None:
    await world.account()
    document = {"metadata": {"name": "held", "finalizers": ["a/b"]}, "spec": {}}
    path = POLICIES.format(namespace="payments")
    assert (await world.admin.post(path, json=document)).status_code == 201
    await world.admin.delete("/api/v1/namespaces/payments")
    assert await world.issuer.resources.empty_namespace("payments") is False
    assert (await world.admin.get(f"{path}/held")).json()["metadata"]["deletionTimestamp"]
    await world.admin.patch(f"{path}/held", json={"metadata": {"finalizers": None}}, headers=MERGE)
    assert await world.issuer.resources.empty_namespace("payments") is True


@pytest.mark.parametrize(
    "lockout",
    [
        {"scopes": {"denied": ["issuer:*"]}},
        {"clientAuthentication": {"allowedMethods": []}},
        {"senderConstraint": "dpop"},
        {"audiences": {"allowed": []}},
        {"namespaceSelector": {"matchLabels": {"env": "prod"}}, "scopes": {"allowed": []}},
    ],
    ids=lambda lockout: next(iter(lockout)),
)
async def test_recover_lets_an_administrator_back_in_who_was_locked_out_by_policy(world: World, lockout: Any) -> None:
    labelled = {"metadata": {"labels": {"env": "prod"}}}
    assert (await world.admin.patch("/api/v1/namespaces/issuer-system", json=labelled, headers=MERGE)).is_success
    await put_policy(world, "lockout", appliesToSystem=True, **lockout)
    await put_policy(world, "harmless", tokenSettings={"maxAccessTokenTTL": "15m"})
    admin = world.bootstrapped.admin
    refused = await world.token(admin.client_id, admin.client_secret, resource="urn:issuer:admin")
    assert refused.status_code in {400, 401}
    database = world.foundation.database("recover")
    start: FirstStart = first_start(world.foundation, database, LOCAL)
    credential = await start.recover()
    await database.close()
    await world.issuer.reloader.catch_up()
    answer = await world.token(credential.client_id, credential.client_secret, resource="urn:issuer:admin")
    assert answer.status_code == 200, answer.text
    world.admin.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
    stored = (await world.admin.get(f"{CLUSTER_POLICIES}/lockout")).json()
    assert stored["spec"]["appliesToSystem"] is False
    assert (await world.admin.get(f"{CLUSTER_POLICIES}/harmless")).json()["metadata"]["generation"] == 1


async def test_a_grace_promised_before_a_ceiling_is_clamped_by_it(world: World) -> None:
    """The policy holds on the merged state, at the moment the old secret's end is set."""
    client = await world.account()
    handed = await world.admin.post(f"{client.path}/credentials", json={"gracePeriodHours": 8760})
    await put_policy(world, credentialRotation={"maxGracePeriodHours": 1})
    await world.admin.post(f"{client.path}/credentials/{handed.json()['version']}/acknowledge")
    assert (await client.token()).status_code == 200
    world.clock.advance(hours=1)
    assert (await client.token()).status_code == 401


@pytest.mark.parametrize("per_minute", [1, 3, 7, 60, 100, 599, 600, 1_000])
def test_the_whole_minutes_allowance_may_be_taken_at_once(per_minute: int) -> None:
    for start in (0.1, 1_234_567.891, 98_765_432.123):
        rates = Rates(10)
        assert [rates.admit("a", per_minute, start) for _ in range(per_minute)] == [None] * per_minute
        assert rates.admit("a", per_minute, start) is not None


async def test_disabling_is_always_allowed_whatever_became_of_the_rest_of_the_spec(
    world: World, database_url: str
) -> None:
    """DESIGN section 3: a rule may have become stricter since the account was written."""
    client = await world.account()
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        """UPDATE resources SET document = jsonb_set(document::jsonb, '{spec,claims}', '{"cnf": "x"}')::json
           WHERE kind = 'ServiceAccount' AND name = 'api'"""
    )
    await connection.close()
    other = await world.admin.patch(client.path, json={"spec": {"purpose": "x"}}, headers=MERGE)
    assert other.status_code == 422
    disabled = await world.admin.patch(client.path, json={"spec": {"disabled": True}}, headers=MERGE)
    assert (disabled.status_code, disabled.json()["status"]["phase"]) == (200, "Disabled")
    assert (await client.token()).status_code == 401


async def test_a_replica_cut_off_from_the_database_serves_for_the_outage_window_and_no_longer(
    databases: Databases, database_url: str
) -> None:
    async with started_world(database_url, databases.bootstrapped, outage={"max_s": 300}) as world:
        client = await world.account()
        assert (await client.token()).status_code == 200
        world.clock.advance(seconds=299)
        assert (await client.token()).status_code == 200
        world.clock.advance(seconds=2)
        answer = await client.token()
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        ready = await world.anonymous.get("/readyz")
        assert (ready.status_code, "outage.max_s" in ready.text) == (503, True)
        await world.issuer.reloader.catch_up()
        assert (await client.token()).status_code == 200
        assert (await world.anonymous.get("/readyz")).status_code == 200


async def test_a_secret_used_by_a_method_the_account_does_not_accept_stays_pending(world: World) -> None:
    client = await world.account(authentication={"methods": ["client_secret_basic"]})
    handed = (await world.admin.post(f"{client.path}/credentials", json={})).json()
    form = {"grant_type": "client_credentials", "client_id": client.client_id, "client_secret": handed["clientSecret"]}
    assert (await world.public.post("/oauth2/token", data=form)).status_code == 401
    await world.issuer.first_uses.flush()
    assert (await world.admin.get(client.path)).json()["status"]["credentials"][-1]["state"] == "pending"
    good = basic(client.client_id, handed["clientSecret"])
    answer = await world.public.post(
        "/oauth2/token", data={"grant_type": "client_credentials"}, headers={"authorization": good}
    )
    assert answer.status_code == 200
    await world.issuer.first_uses.flush()
    assert (await world.admin.get(client.path)).json()["status"]["credentials"][-1]["state"] == "active"


async def test_a_head_hands_out_no_secret(world: World) -> None:
    client = await world.account()
    await world.admin.post(f"{client.path}/credentials", json={})
    assert (await world.admin.head(f"{client.path}/credentials/current")).status_code == 405


async def test_explain_takes_an_auth_policy_without_a_namespace_as_the_accounts_own(world: World) -> None:
    client = await world.account()
    document = {"kind": "AuthPolicy", "metadata": {"name": "a"}, "spec": {"scopes": {"allowed": []}}}
    answer = (await world.admin.post(f"{client.path}/explain", json={"with": [document]})).json()
    assert [each["policy"] for each in answer["changed"]["reasons"]] == ["AuthPolicy/payments/a"]


async def test_a_dry_run_of_a_policys_deletion_says_whom_it_would_widen(world: World) -> None:
    await world.account()
    await put_policy(world, tokenSettings={"maxAccessTokenTTL": "1m"})
    answer = await world.admin.delete(f"{CLUSTER_POLICIES}/ceiling?dryRun=All")
    assert answer.json()["status"]["effect"]["widened"] == 1
    assert (await world.admin.get(f"{CLUSTER_POLICIES}/ceiling")).status_code == 200


async def test_an_account_of_a_namespace_a_replica_does_not_know_yet_is_never_ungoverned(
    world: World, databases: Databases, database_url: str
) -> None:
    """Its account is read from the database before the poll brings its namespace, and with it the ceilings over it."""
    await put_policy(
        world, namespaceSelector={"matchLabels": {"env": "prod"}}, tokenSettings={"maxAccessTokenTTL": "1m"}
    )
    async with started_world(database_url, databases.bootstrapped) as replica:
        labelled = {"metadata": {"name": "new", "labels": {"env": "prod"}}}
        assert (await world.admin.post("/api/v1/namespaces", json=labelled)).status_code == 201
        client = await world.account(namespace="new")
        assert (await replica.token(client.client_id, client.secret)).json()["expires_in"] == 60


async def test_a_senders_constraint_that_cannot_be_met_yet_is_warned_of(world: World) -> None:
    for path in (CLUSTER_POLICIES, POLICIES.format(namespace="payments")):
        await world.namespace("payments")
        answer = await world.admin.post(path, json={"metadata": {"name": "dpop"}, "spec": {"senderConstraint": "dpop"}})
        assert "cannot be met yet" in answer.headers["warning"]
