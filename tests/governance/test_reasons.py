"""Reasons, word for word: which policy, which field, which part, whether it binds. Kills what a mutation run left alive."""

from dataclasses import replace
from typing import Any

import pytest

from issuer.policy.ceilings import Ceiling
from issuer.policy.decide import Allowed
from issuer.policy.governed import govern
from issuer.policy.grant import compile_grant
from issuer.policy.reasons import Reason, explain
from issuer.protocol.grants import TokenAsk
from tests.governance.builders import BASIC, LIMITS, NOW, account, answer, catalogue, cluster_policy, policies, policy

CLUSTER, LOCAL = "ClusterAuthPolicy/c", "AuthPolicy/payments/n"
ACCOUNT: dict[str, Any] = {
    "scopes": ["api:a", "api:b"],
    "audiences": ["https://a.example.com"],
    "tokenSettings": {"accessTokenTTL": "1h", "maxTokensPerMinute": 100},
    "claims": {"team": "red", "tier": "critical"},
}


def reasons(*ceilings: Ceiling, **changed: Any) -> set[tuple[str, str, str, bool]]:
    """Every reason for the account's whole grant under these policies."""
    of = account(**ACCOUNT | changed)
    explained = explain(of, TokenAsk(tuple(of.spec["scopes"]), None), BASIC, policies(*ceilings), catalogue(), NOW)
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


def test_compiled_policies_reach_issuer_system_only_when_they_say_so() -> None:
    assert cluster_policy().applies_to_system is False
    assert cluster_policy(appliesToSystem=True).applies_to_system is True
    assert policy(tokenSettings={"defaultAccessTokenTTL": "5m"}).default_ttl_s == 300


def test_every_scope_and_claim_that_is_withheld_is_a_reason_of_its_own() -> None:
    found = reasons(policy("n", scopes={"denied": ["api:b", "api:c"]}), scopes=["api:a", "api:b", "api:c"])
    assert {part for part, _, _, _ in found} == {"scope api:b", "scope api:c"}


def test_a_withheld_claim_that_a_mapping_restores_unchanged_is_no_reason() -> None:
    same = policy("n", claims={"denied": ["team"]}, claimMappings=[{"claim": "team", "value": "red"}])
    assert {(part, field) for part, _, field, _ in reasons(same)} == {("claim team", "claimMappings[team]")}


def test_a_claim_that_two_policies_require_names_both() -> None:
    missing: Any = {"claimMappings": [{"claim": "x", "fieldPath": "metadata.labels['x']", "required": True}]}
    assert {who for _, who, _, _ in reasons(policy("n", **missing), cluster_policy("c", **missing))} == {LOCAL, CLUSTER}


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


@pytest.mark.parametrize("enabled", [True, False])
def test_the_accounts_own_wish_to_rotate_is_kept(*, enabled: bool) -> None:
    of = account(credentialRotation={"enabled": enabled})
    assert govern(of, policies(), catalogue()).rotation.enabled is enabled
