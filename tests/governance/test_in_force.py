"""Policies through both ports: written, in force at once, explained, and tried before they are written."""

from typing import Any

import jwt
import pytest

from issuer.events import TokenRefused
from issuer.model.scopes import ADMIN_AUDIENCE
from tests.world import ACCOUNTS, World

CLUSTER_POLICIES = "/apis/auth.nauthera.io/v1alpha1/clusterauthpolicies"
POLICIES = "/apis/auth.nauthera.io/v1alpha1/namespaces/{namespace}/authpolicies"


async def put_policy(world: World, name: str = "ceiling", namespace: str = "", **spec: Any) -> None:
    path = POLICIES.format(namespace=namespace) if namespace else CLUSTER_POLICIES
    answer = await world.admin.post(path, json={"metadata": {"name": name}, "spec": spec})
    assert answer.status_code == 201, answer.text


async def test_the_multi_environment_pattern_under_a_cluster_ceiling_of_15m(world: World) -> None:
    dev = await world.account(
        "payment-service", "payments-dev", scopes=["api:payments"], tokenSettings={"accessTokenTTL": "1h"}
    )
    prod = await world.account(
        "payment-service", "payments-prod", scopes=["api:payments"], tokenSettings={"accessTokenTTL": "5m"}
    )
    assert [(await each.token()).json()["expires_in"] for each in (dev, prod)] == [3600, 300]
    await put_policy(world, tokenSettings={"maxAccessTokenTTL": "15m"})
    assert [(await each.token()).json()["expires_in"] for each in (dev, prod)] == [900, 300]


async def test_a_denied_scope_is_left_out_and_the_granted_scope_stated(world: World) -> None:
    client = await world.account(scopes=["api:payments", "api:ledger:read"])
    await put_policy(world, scopes={"denied": ["api:ledger:*"]})
    answer = await client.token(scope="api:payments api:ledger:read")
    assert (answer.status_code, answer.json()["scope"]) == (200, "api:payments")
    refused = await client.token(scope="api:ledger:read")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope")


async def test_claims_in_the_token_have_the_stated_precedence(world: World) -> None:
    client = await world.account(labels={"team": "red"}, claims={"tier": "own"})
    mapping = {"claim": "https://example.com/team", "fieldPath": "metadata.labels['team']"}
    await put_policy(
        world, claimMappings=[mapping, {"claim": "tier", "value": "cluster"}, {"claim": "env", "value": "cluster"}]
    )
    await put_policy(world, namespace="payments", claimMappings=[{"claim": "env", "value": "namespace"}])
    claims = jwt.decode((await client.token()).json()["access_token"], options={"verify_signature": False})
    assert (claims["https://example.com/team"], claims["tier"], claims["env"]) == ("red", "own", "namespace")


async def test_a_change_is_in_force_at_once_and_so_is_its_removal(world: World) -> None:
    client = await world.account()
    await put_policy(world, scopes={"allowed": []})
    assert (await client.token()).json()["error"] == "invalid_scope"
    assert (await world.admin.delete(f"{CLUSTER_POLICIES}/ceiling")).status_code == 200
    assert (await client.token()).status_code == 200


async def test_a_changed_label_of_an_account_or_of_its_namespace_is_in_force_at_once(world: World) -> None:
    client = await world.account()
    merge_patch = {"content-type": "application/merge-patch+json"}
    await put_policy(
        world, "by-account", selector={"matchLabels": {"tier": "critical"}}, tokenSettings={"maxAccessTokenTTL": "1m"}
    )
    await put_policy(
        world,
        "by-namespace",
        namespaceSelector={"matchLabels": {"env": "prod"}},
        tokenSettings={"maxAccessTokenTTL": "30s"},
    )
    assert (await client.token()).json()["expires_in"] == 600
    await world.admin.patch(client.path, json={"metadata": {"labels": {"tier": "critical"}}}, headers=merge_patch)
    assert (await client.token()).json()["expires_in"] == 60
    await world.admin.patch(
        "/api/v1/namespaces/payments", json={"metadata": {"labels": {"env": "prod"}}}, headers=merge_patch
    )
    assert (await client.token()).json()["expires_in"] == 30


async def test_a_policy_change_costs_no_query_per_account(world: World) -> None:
    from sqlalchemy import event  # noqa: PLC0415

    client = await world.account()
    await client.token()
    await put_policy(world, tokenSettings={"maxAccessTokenTTL": "1m"})
    statements: list[str] = []
    engine = world.issuer.databases[0].engine.sync_engine
    event.listen(engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    assert (await client.token()).json()["expires_in"] == 60
    assert statements == []


async def test_the_record_names_the_policy_and_the_client_never_learns_it(world: World) -> None:
    client = await world.account()
    await put_policy(world, "secret-name", senderConstraint="dpop")
    answer = await client.token()
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")
    assert "secret-name" not in answer.text
    refused = world.seen(TokenRefused)[-1]
    assert (refused.failure, "ClusterAuthPolicy/secret-name senderConstraint" in refused.cause) == (
        "sender_constraint_unmet",
        True,
    )


async def test_a_method_withheld_by_policy_answers_like_a_wrong_secret(world: World) -> None:
    client = await world.account()
    wrong = await world.token(client.client_id, "isk1_wrong")
    await put_policy(world, clientAuthentication={"allowedMethods": ["private_key_jwt"]})
    answer = await client.token()
    assert (answer.status_code, answer.content) == (wrong.status_code, wrong.content)


async def test_more_tokens_a_minute_than_policy_allows_are_429_with_retry_after(world: World) -> None:
    client = await world.account(tokenSettings={"maxTokensPerMinute": 100})
    await put_policy(world, tokenSettings={"maxTokensPerMinute": 3})
    assert [(await client.token()).status_code for _ in range(4)] == [200, 200, 200, 429]
    answer = await client.token()
    assert (answer.json()["error"], answer.headers["retry-after"]) == ("temporarily_unavailable", "20")
    world.clock.advance(seconds=20)
    assert [(await client.token()).status_code for _ in range(2)] == [200, 429]


async def test_no_policy_without_applies_to_system_locks_the_admin_out(world: World) -> None:
    await put_policy(
        world, scopes={"allowed": []}, audiences={"allowed": []}, clientAuthentication={"allowedMethods": []}
    )
    await world.renew_admin()
    assert (await world.admin.delete(f"{CLUSTER_POLICIES}/ceiling")).status_code == 200


async def test_a_cluster_policy_that_selects_by_account_labels_answers_with_a_warning(world: World) -> None:
    spec = {"selector": {"matchLabels": {"tier": "critical"}}}
    answer = await world.admin.post(CLUSTER_POLICIES, json={"metadata": {"name": "a"}, "spec": spec})
    assert "namespaceSelector" in answer.headers["warning"]
    answer = await world.admin.post(CLUSTER_POLICIES, json={"metadata": {"name": "b"}, "spec": {}})
    assert "warning" not in answer.headers


@pytest.mark.parametrize("verb", ["create", "replace"])
async def test_policy_is_evaluated_on_the_merged_state_at_issuance(world: World, verb: str) -> None:
    """CVE-2026-18573, CVE-2026-15572: created within the ceiling, updated past it."""
    client = await world.account(scopes=["api:payments"])
    await put_policy(world, scopes={"allowed": ["api:payments"]}, tokenSettings={"maxAccessTokenTTL": "1m"})
    if verb == "create":
        client = await world.account(
            "other", scopes=["api:payments", "api:ledger:admin"], tokenSettings={"accessTokenTTL": "1h"}
        )
    else:
        document = (await world.admin.get(client.path)).json()
        document["spec"] |= {"scopes": ["api:payments", "api:ledger:admin"], "tokenSettings": {"accessTokenTTL": "1h"}}
        assert (await world.admin.put(client.path, json=document)).status_code == 200
    answer = (await client.token()).json()
    assert (answer["scope"], answer["expires_in"]) == ("api:payments", 60)


async def test_dry_run_of_a_policy_says_whom_it_would_narrow_and_refuse_and_changes_nothing(world: World) -> None:
    payments = await world.account("pay", "payments", scopes=["api:payments"], tokenSettings={"accessTokenTTL": "1h"})
    await world.account("ledger", "billing", scopes=["api:ledger:read"])
    await world.account("short", "payments", scopes=["api:payments"], tokenSettings={"accessTokenTTL": "1m"})
    spec = {"scopes": {"denied": ["api:ledger:*"]}, "tokenSettings": {"maxAccessTokenTTL": "15m"}}
    answer = await world.admin.post(
        f"{CLUSTER_POLICIES}?dryRun=All", json={"metadata": {"name": "ceiling"}, "spec": spec}
    )
    effect = answer.json()["status"]["effect"]
    assert {key: effect[key] for key in ("accounts", "narrowed", "refused", "widened", "complete")} == {
        "accounts": 3, "narrowed": 1, "refused": 1, "widened": 0, "complete": True,
    }  # fmt: skip
    examples = {each["name"]: each for each in effect["examples"]}
    assert examples.keys() == {"pay", "ledger"}
    assert (examples["pay"]["before"]["accessTokenTTL"], examples["pay"]["after"]["accessTokenTTL"]) == ("1h", "15m")
    assert examples["ledger"]["after"]["error"] == "invalid_scope"
    assert (await payments.token()).json()["expires_in"] == 3600
    assert (await world.admin.get(f"{CLUSTER_POLICIES}/ceiling")).status_code == 404


async def test_dry_run_of_a_loosened_policy_says_whom_it_would_widen(world: World) -> None:
    await world.account()
    await put_policy(world, tokenSettings={"maxAccessTokenTTL": "1m"})
    answer = await world.admin.patch(
        f"{CLUSTER_POLICIES}/ceiling?dryRun=All",
        json={"spec": {"tokenSettings": {"maxAccessTokenTTL": "5m"}}},
        headers={"content-type": "application/merge-patch+json"},
    )
    assert (answer.json()["status"]["effect"]["widened"], answer.json()["status"]["effect"]["narrowed"]) == (1, 0)


async def test_explain_names_the_policy_behind_each_part_and_what_a_change_would_do(world: World) -> None:
    client = await world.account(scopes=["api:payments", "api:ledger:read"], tokenSettings={"accessTokenTTL": "1h"})
    await put_policy(world, "lifetimes", tokenSettings={"maxAccessTokenTTL": "15m"})
    await put_policy(world, "no-ledger", "payments", scopes={"denied": ["api:ledger:*"]})
    answer = (await world.admin.post(f"{client.path}/explain", json={"without": ["lifetimes"]})).json()
    assert (answer["decision"]["scope"], answer["decision"]["accessTokenTTL"]) == ("api:payments", "15m")
    assert (answer["ungoverned"]["scope"], answer["ungoverned"]["accessTokenTTL"]) == (
        "api:payments api:ledger:read",
        "1h",
    )
    assert {(each["part"], each["policy"], each["field"], each["binding"]) for each in answer["reasons"]} == {
        ("ttl", "ClusterAuthPolicy/lifetimes", "tokenSettings.maxAccessTokenTTL", True),
        ("scope api:ledger:read", "AuthPolicy/payments/no-ledger", "scopes.denied", True),
    }
    assert answer["changed"]["decision"]["accessTokenTTL"] == "1h"
    replaced = {
        "kind": "ClusterAuthPolicy",
        "metadata": {"name": "lifetimes"},
        "spec": {"tokenSettings": {"maxAccessTokenTTL": "2m"}},
    }
    answer = (await world.admin.post(f"{client.path}/explain", json={"with": [replaced]})).json()
    assert answer["changed"]["decision"]["accessTokenTTL"] == "2m"
    assert (await client.token()).json()["expires_in"] == 900


@pytest.mark.parametrize(
    ("question", "status"),
    [
        pytest.param({"without": ["nobody"]}, 422, id="an unknown policy"),
        pytest.param({"with": [{"kind": "Scope"}]}, 400, id="with takes policies"),
        pytest.param(
            {"with": [{"kind": "AuthPolicy", "metadata": {"name": "a", "namespace": "payments"}, "spec": {"x": 1}}]},
            422,
            id="a bad one",
        ),
        pytest.param({"colour": "red"}, 422, id="an unknown field"),
        pytest.param({"scope": ["a b"]}, 422, id="a bad scope"),
    ],
)
async def test_explain_refuses_what_it_does_not_understand(world: World, question: dict[str, Any], status: int) -> None:
    client = await world.account()
    assert (await world.admin.post(f"{client.path}/explain", json=question)).status_code == status


async def test_status_shows_the_effective_settings(world: World) -> None:
    client = await world.account(
        scopes=["api:payments", "api:ledger:read"], audiences=["https://a.example.com", "https://b.example.com"]
    )
    await put_policy(
        world,
        scopes={"denied": ["api:ledger:*"]},
        audiences={"allowed": ["https://a.example.com"]},
        tokenSettings={"maxAccessTokenTTL": "1m", "maxTokensPerMinute": 60},
        clientAuthentication={"allowedMethods": ["client_secret_basic"]},
        credentialRotation={"required": True, "maxIntervalDays": 30, "maxHoldHours": 168},
    )
    assert (await world.admin.get(client.path)).json()["status"]["effective"] == {
        "scopes": ["api:payments"],
        "audiences": ["https://a.example.com"],
        "methods": ["client_secret_basic"],
        "accessTokenTTL": "1m",
        "maxTokensPerMinute": 60,
        "credentialRotation": {"enabled": True, "intervalDays": 30, "gracePeriodHours": 24, "maxHoldHours": 168},
        "policies": ["ClusterAuthPolicy/ceiling"],
    }


async def test_a_rotation_policy_clamps_grace_and_its_hold_ends_by_itself(world: World) -> None:
    client = await world.account()
    await put_policy(world, credentialRotation={"maxGracePeriodHours": 1, "maxHoldHours": 2})
    refused = await world.admin.post(f"{client.path}/credentials", json={"gracePeriodHours": 24})
    assert refused.json()["details"]["causes"][0]["field"] == "gracePeriodHours"
    assert (await world.admin.post(f"{client.path}/credentials", json={})).status_code == 201
    for hours, status in ((1.9, 200), (1.0, 200), (0.2, 401)):
        world.clock.advance(hours=hours)
        assert (await client.token()).status_code == status


async def test_the_admin_audience_is_withheld_elsewhere_even_when_it_is_stored(world: World) -> None:
    """Checked when written and when decided."""
    path = ACCOUNTS.format(namespace="payments")
    await world.namespace("payments")
    answer = await world.admin.post(
        path, json={"metadata": {"name": "x"}, "spec": {"scopes": ["issuer:admin"], "audiences": [ADMIN_AUDIENCE]}}
    )
    assert {cause["field"] for cause in answer.json()["details"]["causes"]} == {"spec.scopes[0]", "spec.audiences[0]"}
