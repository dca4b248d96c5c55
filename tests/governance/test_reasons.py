"""Reasons, word for word: which policy, which field, which part, whether it binds. Kills what a mutation run left alive."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from issuer.model.kinds import AUTH_POLICY, CLUSTER_AUTH_POLICY, Kind
from issuer.model.times import format_time
from issuer.policy.catalogue import Catalogue
from issuer.policy.ceilings import Ceiling, compile_policy
from issuer.policy.decide import Allowed
from issuer.policy.governed import govern
from issuer.policy.grant import compile_grant
from issuer.policy.reasons import Reason, explain
from issuer.protocol.grants import TokenAsk
from tests.governance.builders import (
    AT,
    BASIC,
    LIMITS,
    NOW,
    account,
    answer,
    catalogue,
    cluster_policy,
    policies,
    policy,
    resource,
)

CLUSTER, LOCAL = "ClusterAuthPolicy/c", "AuthPolicy/payments/n"
ACCOUNT: dict[str, Any] = {
    "scopes": ["api:a", "api:b"],
    "audiences": ["https://a.example.com"],
    "tokenSettings": {"accessTokenTTL": "1h", "maxTokensPerMinute": 100},
    "claims": {"team": "red", "tier": "critical"},
}


def reasons(*ceilings: Ceiling, under: Catalogue | None = None, **changed: Any) -> set[tuple[str, str, str, bool]]:
    """Every reason for the account's whole grant under these policies."""
    of, known = account(**ACCOUNT | changed), under or catalogue()
    explained = explain(of, TokenAsk(tuple(of.spec["scopes"]), None), BASIC, policies(*ceilings), known, NOW)
    return {(each.part, each.policy, each.field, each.binding) for each in explained.reasons}


@pytest.mark.parametrize(
    ("spec", "part", "field"),
    [
        ({"scopes": {"denied": ["api:b"]}}, "scope api:b", "scopes.denied"),
        ({"scopes": {"allowed": ["api:a"]}}, "scope api:b", "scopes.allowed"),
        ({"tokenSettings": {"maxAccessTokenTTL": "5m"}}, "ttl", "tokenSettings.maxAccessTokenTTL"),
        ({"tokenSettings": {"maxTokensPerMinute": 5}}, "rate", "tokenSettings.maxTokensPerMinute"),
        ({"claims": {"denied": ["tier"]}}, "claim tier", "claims.denied"),
        ({"claims": {"allowed": ["team"]}}, "claim tier", "claims.allowed"),
        ({"claimMappings": [{"claim": "env", "value": "x"}]}, "claim env", "claimMappings[env]"),
        ({"audiences": {"allowed": []}}, "refused: target_withheld", "audiences.allowed"),
        (
            {"clientAuthentication": {"allowedMethods": ["client_secret_post"]}},
            "refused: method_not_accepted",
            "clientAuthentication.allowedMethods",
        ),
        ({"senderConstraint": "mtls"}, "refused: sender_constraint_unmet", "senderConstraint"),
        ({"requireRegisteredScopes": True}, "refused: scope_withheld", "requireRegisteredScopes"),
        (
            {"claimMappings": [{"claim": "x", "fieldPath": "metadata.labels['x']", "required": True}]},
            "refused: claim_missing",
            "claimMappings[x]",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_policy_binds_by_one_field(spec: dict[str, Any], part: str, field: str) -> None:
    assert reasons(policy("n", **spec)) == {(part, LOCAL, field, True)}
    assert reasons(cluster_policy("c", **spec)) == {(part, CLUSTER, field, True)}


def test_several_parts_of_one_policy_are_several_reasons() -> None:
    both = policy(
        "n",
        scopes={"denied": ["api:b"]},
        claims={"denied": ["tier", "team"]},
        claimMappings=[{"claim": "env", "value": "x"}, {"claim": "zone", "value": "y"}],
        tokenSettings={"maxAccessTokenTTL": "5m", "maxTokensPerMinute": 5},
    )
    assert {part for part, _, _, _ in reasons(both)} == {
        "scope api:b", "claim tier", "claim team", "claim env", "claim zone", "ttl", "rate",
    }  # fmt: skip


def test_a_default_is_a_reason_for_an_account_that_names_no_lifetime() -> None:
    default = policy("n", tokenSettings={"defaultAccessTokenTTL": "5m"})
    assert reasons(default, tokenSettings={}) == {("ttl", LOCAL, "tokenSettings.defaultAccessTokenTTL", True)}


def test_what_something_stricter_does_already_does_not_bind() -> None:
    strict = policy("n", tokenSettings={"maxAccessTokenTTL": "5m"})
    loose = cluster_policy("c", tokenSettings={"maxAccessTokenTTL": "15m"})
    field = "tokenSettings.maxAccessTokenTTL"
    assert reasons(strict, loose) == {("ttl", LOCAL, field, True), ("ttl", CLUSTER, field, False)}


def test_policies_that_say_the_same_tie_and_both_bind() -> None:
    same: Any = {"tokenSettings": {"maxAccessTokenTTL": "5m"}, "claimMappings": [{"claim": "env", "value": "x"}]}
    assert {(part, who) for part, who, _, binding in reasons(policy("n", **same), cluster_policy("c", **same)) if binding} == {
        ("ttl", LOCAL), ("ttl", CLUSTER), ("claim env", LOCAL), ("claim env", CLUSTER),
    }  # fmt: skip


def test_a_mapping_that_a_later_one_overrides_has_no_say_in_the_claim() -> None:
    first = cluster_policy("c", claimMappings=[{"claim": "env", "value": "x"}])
    last = policy("n", claimMappings=[{"claim": "env", "value": "y"}])
    found = reasons(first, last)
    assert ("claim env", LOCAL, "claimMappings[env]", True) in found
    assert ("claim env", CLUSTER, "claimMappings[env]", False) in found


def test_a_policy_without_effect_has_no_say() -> None:
    assert reasons(policy("n", tokenSettings={"maxAccessTokenTTL": "2h", "maxTokensPerMinute": 500})) == set()
    mapped = policy("n", claimMappings=[{"claim": "team", "value": "blue"}])
    assert reasons(mapped) == set(), "the account's own claim wins"
    both = policy("n", claimMappings=[{"claim": "team", "value": "blue"}, {"claim": "env", "value": "x"}])
    assert {part for part, _, _, _ in reasons(both)} == {"claim env"}


def test_a_reason_is_a_value() -> None:
    assert Reason("ttl", "p", "f", binding=True) == Reason("ttl", "p", "f", binding=True)


@pytest.mark.parametrize(
    ("own", "ceiling", "expected"), [(None, None, None), (7, None, 7), (None, 5, 5), (7, 5, 5), (5, 7, 5), (5, 5, 5)]
)
def test_the_rate_is_the_least_of_the_accounts_and_the_policies(
    own: int | None, ceiling: int | None, expected: int | None
) -> None:
    settings = {"maxTokensPerMinute": own} if own else {}
    limits = [policy(tokenSettings={"maxTokensPerMinute": ceiling})] if ceiling else []
    rate = govern(account(tokenSettings=settings), policies(*limits), catalogue()).rate
    assert (rate.value if rate else None) == expected
    if rate is not None:
        assert (rate.why, bool(rate.by)) == (
            ("policy", True) if own is None or (ceiling or own) < own else ("maxTokensPerMinute", False)
        )


@pytest.mark.parametrize(
    ("own", "ceiling", "expected"),
    [
        ((90, 24), {}, (90, 24)),
        ((90, 24), {"maxIntervalDays": 30}, (30, 24)),
        ((10, 24), {"maxIntervalDays": 30}, (10, 24)),
        ((90, 48), {"maxGracePeriodHours": 12}, (90, 12)),
        ((90, 48), {"maxGracePeriodHours": 0}, (90, 0)),
        ((90, 48), {"maxIntervalDays": 1}, (1, 23)),
        ((2, 47), {"maxIntervalDays": 2}, (2, 47)),
    ],
)
def test_rotation_is_clamped_and_grace_stays_shorter_than_the_interval(
    own: tuple[int, int], ceiling: dict[str, int], expected: tuple[int, int]
) -> None:
    rotation = {"intervalDays": own[0], "gracePeriodHours": own[1]}
    of = account(credentialRotation=rotation)
    found = govern(of, policies(policy(credentialRotation=ceiling)), catalogue()).rotation
    assert (found.interval_days, found.grace_period_hours, found.enabled) == (*expected, False)


@pytest.mark.parametrize(
    ("own", "limit", "why"),
    [("5m", 86_400, "accessTokenTTL"), (None, 86_400, "server default"), ("2h", 3_600, "server maximum")],
)
def test_what_decided_the_lifetime_is_named_without_policies_too(own: str | None, limit: int, why: str) -> None:
    settings = {"accessTokenTTL": own} if own else {}
    known = catalogue(limits=type(LIMITS)(LIMITS.default_audience, 600, limit))
    decision = answer(account(tokenSettings=settings), under=known)
    assert isinstance(decision, Allowed)
    assert (decision.ttl_why, decision.ttl_by) == (why, ())


@pytest.mark.parametrize(
    ("own", "ceiling", "limit_s", "left_s", "why"),
    [
        pytest.param("5m", None, 300, None, "accessTokenTTL", id="the account and the server"),
        pytest.param("1h", "5m", 300, None, "policy", id="a policy and the server"),
        pytest.param("1h", "5m", 86_400, 300, "policy", id="a policy and expiresAt"),
    ],
)
def test_of_two_that_set_the_same_lifetime_the_one_nearer_to_the_account_is_named_as_its_cause(
    own: str, ceiling: str | None, limit_s: int, left_s: int | None, why: str
) -> None:
    known = catalogue(limits=type(LIMITS)(LIMITS.default_audience, 300, limit_s))
    expiry: dict[str, Any] = {"expiresAt": format_time(AT + timedelta(seconds=left_s))} if left_s else {}
    ceilings = [policy("n", tokenSettings={"maxAccessTokenTTL": ceiling})] if ceiling else []
    decision = answer(account(tokenSettings={"accessTokenTTL": own}, **expiry), *ceilings, under=known)
    assert isinstance(decision, Allowed)
    assert (decision.ttl_s, decision.ttl_why) == (300, why)
    assert [each.policy for each in decision.ttl_by] == ([LOCAL] if ceiling else [])


def test_policies_that_tie_by_a_default_and_a_maximum_both_bind() -> None:
    default, maximum = {"defaultAccessTokenTTL": "5m"}, {"maxAccessTokenTTL": "5m"}
    assert reasons(
        policy("n", tokenSettings=default), cluster_policy("c", tokenSettings=maximum), tokenSettings={}
    ) == {
        ("ttl", LOCAL, "tokenSettings.defaultAccessTokenTTL", True),
        ("ttl", CLUSTER, "tokenSettings.maxAccessTokenTTL", True),
    }


def test_a_farther_default_that_says_the_same_as_the_nearest_binds_with_it_and_another_does_not() -> None:
    def found(nearest: str, farther: str) -> set[tuple[str, bool]]:
        near, far = ({"defaultAccessTokenTTL": each} for each in (nearest, farther))
        named = reasons(policy("n", tokenSettings=near), cluster_policy("c", tokenSettings=far), tokenSettings={})
        return {(who, binding) for _, who, _, binding in named}

    assert found("5m", "5m") == {(LOCAL, True), (CLUSTER, True)}
    assert found("5m", "2m") == {(LOCAL, True), (CLUSTER, False)}
    assert found("10m", "2m") == {(LOCAL, True), (CLUSTER, False)}, (
        "10m is what the server says, and not what 2m leaves"
    )
    assert found("5m", "10m") == {(LOCAL, True)}, "10m alone changes nothing"


@pytest.mark.parametrize(
    ("tokens", "changed", "known"),
    [
        pytest.param({"defaultAccessTokenTTL": "10m"}, {"tokenSettings": {}}, {}, id="the server's default"),
        pytest.param({"maxAccessTokenTTL": "30m"}, {}, {"limits": replace(LIMITS, max_ttl_s=1800)}, id="its maximum"),
        pytest.param({"maxAccessTokenTTL": "5m"}, {"expiresAt": "2026-11-22T00:05:00Z"}, {}, id="expiresAt"),
        pytest.param({"maxAccessTokenTTL": "1h"}, {}, {}, id="the account"),
        pytest.param({"maxTokensPerMinute": 100}, {}, {}, id="the account's rate"),
    ],
)
def test_a_policy_that_says_what_something_else_says_too_has_no_say(
    tokens: dict[str, Any], changed: dict[str, Any], known: dict[str, Any]
) -> None:
    assert reasons(policy("n", tokenSettings=tokens), under=catalogue(**known), **changed) == set()


def test_a_policy_that_says_what_a_scope_says_too_has_no_say() -> None:
    scope = {"scope": "api:a", "maxAccessTokenTTL": "5m"}
    assert reasons(policy("n", tokenSettings={"maxAccessTokenTTL": "5m"}), under=catalogue(scope)) == set()


def test_compiled_policies_reach_issuer_system_only_when_they_say_so() -> None:
    assert cluster_policy().applies_to_system is False
    assert cluster_policy(appliesToSystem=True).applies_to_system is True
    assert policy(tokenSettings={"defaultAccessTokenTTL": "5m"}).default_ttl_s == 300


def test_every_scope_and_claim_that_is_withheld_is_a_reason_of_its_own() -> None:
    found = reasons(policy("n", scopes={"denied": ["api:b", "api:c"]}), scopes=["api:a", "api:b", "api:c"])
    assert {part for part, _, _, _ in found} == {"scope api:b", "scope api:c"}


def test_a_withheld_claim_that_a_mapping_restores_unchanged_is_no_reason() -> None:
    denies: Any = {"claims": {"denied": ["team"]}}
    restores: Any = {"claimMappings": [{"claim": "team", "value": "red"}]}
    assert reasons(policy("n", **denies, **restores)) == set(), "without the policy the answer is the same"
    assert reasons(cluster_policy("c", **denies), policy("n", **restores)) == {
        ("claim team", LOCAL, "claimMappings[team]", True),
        ("claim team", CLUSTER, "claims.denied", False),
    }


def test_a_claim_that_two_policies_require_names_both() -> None:
    missing: Any = {"claimMappings": [{"claim": "x", "fieldPath": "metadata.labels['x']", "required": True}]}
    assert {(who, binding) for _, who, _, binding in reasons(policy("n", **missing), cluster_policy("c", **missing))} == {
        (LOCAL, True), (CLUSTER, True),
    }  # fmt: skip


def test_a_lower_rate_alone_is_a_change_of_the_answer() -> None:
    strict, loose = (policy(name, tokenSettings={"maxTokensPerMinute": rate}) for name, rate in (("a", 5), ("b", 50)))
    assert {(who, binding) for _, who, _, binding in reasons(strict, loose)} == {
        ("AuthPolicy/payments/a", True), ("AuthPolicy/payments/b", False),
    }  # fmt: skip


def test_all_that_do_not_bind_are_named_not_only_the_first() -> None:
    ceilings = [
        policy(name, tokenSettings={"maxAccessTokenTTL": ttl}) for name, ttl in (("a", "1m"), ("b", "2m"), ("c", "3m"))
    ]
    assert len(reasons(*ceilings)) == 3


def test_an_explanation_is_of_this_moment() -> None:
    of = account(**ACCOUNT, expiresAt="2026-11-22T00:00:30Z")
    decision = explain(of, TokenAsk(None, None), BASIC, policies(), catalogue(), NOW).decision
    assert isinstance(decision, Allowed)
    assert (decision.ttl_s, decision.ttl_why) == (30, "expiresAt")


def test_openid_and_the_issuers_own_scopes_need_no_registration() -> None:
    known = catalogue()
    assert [known.registers(scope) for scope in ("openid", "issuer:admin", "api:a")] == [True, True, False]


@pytest.mark.parametrize("claim", ["cnf", "act", "groups", "roles"])
def test_a_stored_claim_whose_name_became_reserved_stays_out_of_the_grant(claim: str) -> None:
    stored = account(claims={"team": "red"})
    later = replace(stored, spec={**stored.spec, "claims": {"team": "red", claim: "evil"}})
    assert dict(compile_grant(later).claims) == {"team": "red"}


@pytest.mark.parametrize(
    ("kind", "namespace", "claim", "mapped"),
    [
        (AUTH_POLICY, "payments", "cnf", False),
        (CLUSTER_AUTH_POLICY, "", "cnf", False),
        (AUTH_POLICY, "payments", "groups", False),
        (CLUSTER_AUTH_POLICY, "", "groups", True),
        (AUTH_POLICY, "payments", "env", True),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_a_stored_mapping_whose_claim_became_reserved_is_not_applied(
    kind: Kind, namespace: str, claim: str, *, mapped: bool
) -> None:
    stored = resource(kind, namespace, "p", {"claimMappings": [{"claim": "team", "value": "x"}]})
    later = {**stored.spec, "claimMappings": [{**stored.spec["claimMappings"][0], "claim": claim}]}
    decision = answer(account(), compile_policy(replace(stored, spec=later)))
    assert isinstance(decision, Allowed)
    assert dict(decision.governed.claims) == ({claim: "x"} if mapped else {})


@pytest.mark.parametrize("enabled", [True, False])
def test_the_accounts_own_wish_to_rotate_is_kept_when_no_policy_requires_rotation(*, enabled: bool) -> None:
    of = account(credentialRotation={"enabled": enabled})
    silent, undemanding = policy("a"), policy("b", credentialRotation={"maxIntervalDays": 30})
    assert govern(of, policies(silent, undemanding), catalogue()).rotation.enabled is enabled
