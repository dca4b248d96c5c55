"""One row for each sentence of DESIGN section 3, "How they combine"."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from issuer.failures import Failure
from issuer.model.faults import Fault
from issuer.model.kinds import AUTH_POLICY
from issuer.model.scopes import ADMIN_AUDIENCE, ADMIN_SCOPE, SYSTEM_NAMESPACE
from issuer.model.times import format_time
from issuer.policy.ceilings import Ceiling, compile_policy
from issuer.policy.decide import Allowed, Denied
from issuer.policy.governed import govern
from issuer.policy.grant import Rotation
from tests.governance.builders import (
    AT,
    DEFAULT_AUDIENCE,
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

HELD = ["api:payments", "api:ledger:read", "api:ledger:admin"]


def granted(*ceilings: Ceiling, **ask: Any) -> tuple[str, ...]:
    decision = answer(account(scopes=HELD), *ceilings, **ask)
    return decision.scopes if isinstance(decision, Allowed) else ()


def ttl(*ceilings: Ceiling, own: str | None = None) -> int:
    settings = {"accessTokenTTL": own} if own else {}
    decision = answer(account(tokenSettings=settings), *ceilings)
    assert isinstance(decision, Allowed)
    return decision.ttl_s


def claims(*ceilings: Ceiling, labels: dict[str, str] | None = None, **own: str) -> dict[str, str]:
    decision = answer(account(claims=own, labels=labels), *ceilings)
    assert isinstance(decision, Allowed)
    return dict(decision.governed.claims)


def failure(decision: object) -> Failure:
    assert isinstance(decision, Denied)
    return decision.failure


# --- absent, [], wildcards -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        pytest.param({}, HELD, id="absent = no restriction"),
        pytest.param({"allowed": []}, [], id="[] = nothing at all"),
        pytest.param({"denied": []}, HELD, id="denied [] denies nothing"),
        pytest.param({"allowed": ["api:payments"]}, ["api:payments"], id="exact"),
        pytest.param({"allowed": ["api:ledger:*"]}, HELD[1:], id="a trailing * matches what begins so"),
        pytest.param({"allowed": ["api:ledger"]}, [], id="without * a prefix is not a match (authorizer PR #654)"),
        pytest.param({"allowed": ["api:*"], "denied": ["api:ledger:admin"]}, HELD[:2], id="deny wins"),
    ],
)
def test_scope_lists(scopes: dict[str, Any], expected: list[str]) -> None:
    assert list(granted(policy(scopes=scopes))) == expected


@pytest.mark.parametrize("pattern", ["*", "a*b", "*a", "a**", "api:*:read", ""])
def test_a_trailing_star_after_at_least_one_more_character_is_the_only_wildcard(pattern: str) -> None:
    with pytest.raises(Fault, match=r"scopes\.allowed\[0\]"):
        policy(scopes={"allowed": [pattern]})


# --- policies only take away -----------------------------------------------------------------------------------------


def test_the_accounts_own_spec_is_the_grant() -> None:
    assert granted(policy(scopes={"allowed": ["api:payments", "api:refunds"]})) == ("api:payments",)


def test_allowed_lists_intersect_across_policies() -> None:
    one = policy("a", scopes={"allowed": ["api:payments", "api:ledger:read"]})
    other = cluster_policy("b", scopes={"allowed": ["api:ledger:*"]})
    assert granted(one, other) == ("api:ledger:read",)


def test_denied_lists_unite_across_policies() -> None:
    one = policy("a", scopes={"denied": ["api:payments"]})
    other = cluster_policy("b", scopes={"denied": ["api:ledger:admin"]})
    assert granted(one, other) == ("api:ledger:read",)


def test_maxima_take_the_minimum() -> None:
    one = policy("a", tokenSettings={"maxAccessTokenTTL": "15m"})
    other = cluster_policy("b", tokenSettings={"maxAccessTokenTTL": "5m"})
    assert ttl(one, other, own="1h") == 300


def test_requirements_add_up_dpop_and_mtls_together_require_both() -> None:
    decision = answer(account(), policy(senderConstraint="dpop"), cluster_policy(senderConstraint="mtls"))
    assert failure(decision) is Failure.SENDER_CONSTRAINT_UNMET
    assert isinstance(decision, Denied)
    assert "dpop and mtls" in decision.why
    assert [each.policy for each in decision.by] == ["AuthPolicy/payments/ceiling", "ClusterAuthPolicy/ceiling"]


def test_methods_intersect_and_the_rest_is_not_accepted() -> None:
    only_basic = policy(clientAuthentication={"allowedMethods": ["client_secret_basic"]})
    assert isinstance(answer(account(), only_basic), Allowed)
    assert failure(answer(account(), only_basic, method="client_secret_post")) is Failure.METHOD_NOT_ACCEPTED


def test_a_policy_may_demand_a_method_without_a_row_then_nobody_passes() -> None:
    assertions_only = policy(clientAuthentication={"allowedMethods": ["private_key_jwt"]})
    assert failure(answer(account(), assertions_only)) is Failure.METHOD_NOT_ACCEPTED


def test_rotation_requirements_make_the_effective_settings() -> None:
    one = policy(credentialRotation={"required": True, "maxIntervalDays": 30, "maxGracePeriodHours": 18})
    other = cluster_policy(credentialRotation={"maxGracePeriodHours": 12, "maxHoldHours": 168})
    rotation = govern(account(), policies(one, other), catalogue()).rotation
    assert rotation == Rotation(
        enabled=True, interval_days=30, grace_period_hours=12, max_grace_period_hours=12, max_hold_hours=168
    )
    assert govern(account(), policies(policy()), catalogue()).rotation == Rotation(
        enabled=False, interval_days=90, grace_period_hours=24, max_grace_period_hours=None, max_hold_hours=None
    )


# --- TTL -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "ceilings", "expected"),
    [
        pytest.param(None, list, 600, id="server default"),
        pytest.param(
            "5m",
            lambda: [policy(tokenSettings={"defaultAccessTokenTTL": "8m"})],
            300,
            id="the account's own wins over defaults",
        ),
        pytest.param(
            None,
            lambda: [
                policy("a", tokenSettings={"defaultAccessTokenTTL": "8m"}),
                cluster_policy("b", tokenSettings={"defaultAccessTokenTTL": "2m"}),
            ],
            480,
            id="the nearest level that has a default decides",
        ),
        pytest.param(
            None,
            lambda: [
                policy("a", tokenSettings={"defaultAccessTokenTTL": "8m"}),
                policy("b", tokenSettings={"defaultAccessTokenTTL": "7m"}),
            ],
            420,
            id="the smallest default within a level",
        ),
        pytest.param(
            None,
            lambda: [cluster_policy(tokenSettings={"defaultAccessTokenTTL": "2m"})],
            120,
            id="else the cluster's default",
        ),
        pytest.param(
            None,
            lambda: [
                policy("a", tokenSettings={"defaultAccessTokenTTL": "20m"}),
                cluster_policy("b", tokenSettings={"maxAccessTokenTTL": "15m"}),
            ],
            900,
            id="a default is clamped by every maximum",
        ),
        pytest.param(
            "1h", lambda: [policy(tokenSettings={"maxAccessTokenTTL": "15m"})], 900, id="clamped, never an error"
        ),
    ],
)
def test_ttl(own: str | None, ceilings: Callable[[], list[Ceiling]], expected: int) -> None:
    assert ttl(*ceilings(), own=own) == expected


def test_ttl_is_bounded_by_scope_maxima_of_the_granted_scopes_only() -> None:
    known = catalogue({"scope": "api:payments", "maxAccessTokenTTL": "1m"})
    both = answer(account(scopes=HELD), under=known)
    other = answer(account(scopes=HELD), under=known, scopes=("api:ledger:read",))
    assert isinstance(both, Allowed)
    assert isinstance(other, Allowed)
    assert (both.ttl_s, other.ttl_s) == (60, 600)


def test_a_scope_that_policy_withholds_still_bounds_the_ttl_so_that_ceilings_stay_monotone() -> None:
    known = catalogue({"scope": "api:payments", "maxAccessTokenTTL": "1m"})
    decision = answer(account(scopes=HELD), policy(scopes={"denied": ["api:payments"]}), under=known)
    assert isinstance(decision, Allowed)
    assert (decision.ttl_s, "api:payments" in decision.scopes) == (60, False)


def test_ttl_is_bounded_by_expires_at() -> None:
    decision = answer(account(expiresAt=format_time(AT + timedelta(seconds=90))))
    assert isinstance(decision, Allowed)
    assert (decision.ttl_s, decision.ttl_why) == (90, "expiresAt")


def test_ttl_is_bounded_by_the_servers_hard_maximum() -> None:
    known = catalogue(limits=type(LIMITS)(DEFAULT_AUDIENCE, 600, 1200))
    decision = answer(account(tokenSettings={"accessTokenTTL": "24h"}), under=known)
    assert isinstance(decision, Allowed)
    assert decision.ttl_s == 1200


@pytest.mark.parametrize(("left", "allowed"), [(10, True), (9, False), (0, False), (-5, False)])
def test_less_than_10_s_left_is_refused(left: int, *, allowed: bool) -> None:
    decision = answer(account(expiresAt=format_time(AT)), now=NOW - left)
    assert isinstance(decision, Allowed) is allowed
    assert allowed or failure(decision) is Failure.LIFETIME_TOO_SHORT


def test_a_default_above_its_own_policys_maximum_is_refused_when_written() -> None:
    with pytest.raises(Fault, match="defaultAccessTokenTTL: must not be above"):
        policy(tokenSettings={"defaultAccessTokenTTL": "20m", "maxAccessTokenTTL": "15m"})


# --- claims ----------------------------------------------------------------------------------------------------------


def test_claims_later_wins_cluster_by_name_then_namespace_by_name_then_the_account() -> None:
    def maps(value: str) -> list[dict[str, str]]:
        return [{"claim": name, "value": value} for name in ("one", "two", "three", "four")[: int(value)]]

    ceilings = [
        cluster_policy("a", claimMappings=maps("4")),
        cluster_policy("b", claimMappings=maps("3")),
        policy("a", claimMappings=maps("2")),
    ]
    assert claims(*reversed(ceilings), one="own") == {"one": "own", "two": "2", "three": "3", "four": "4"}


def test_a_field_that_does_not_exist_leaves_its_claim_out() -> None:
    mapping = {"claim": "team", "fieldPath": "metadata.labels['team']"}
    assert claims(policy(claimMappings=[mapping])) == {}
    assert claims(policy(claimMappings=[mapping]), labels={"team": "red"}) == {"team": "red"}


def test_unless_it_is_required_then_there_is_no_token() -> None:
    required = policy(claimMappings=[{"claim": "team", "fieldPath": "metadata.labels['team']", "required": True}])
    assert failure(answer(account(), required)) is Failure.CLAIM_MISSING
    assert isinstance(answer(account(labels={"team": "red"}), required), Allowed)


def test_a_required_claim_may_come_from_the_account_or_another_mapping() -> None:
    required = policy("a", claimMappings=[{"claim": "team", "fieldPath": "metadata.labels['team']", "required": True}])
    mapped = cluster_policy(claimMappings=[{"claim": "team", "value": "x"}])
    assert claims(required, team="own") == {"team": "own"}
    assert claims(required, mapped) == {"team": "x"}


@pytest.mark.parametrize(
    "claim", ["iss", "sub", "aud", "exp", "cnf", "scope", "auth.nauthera.io", "auth.nauthera.io/x"]
)
def test_reserved_names_are_refused_when_written(claim: str) -> None:
    """CVE-2026-16102; rauthy #1597, #1604."""
    with pytest.raises(Fault, match="reserved for the issuer"):
        cluster_policy(claimMappings=[{"claim": claim, "value": "x"}])


@pytest.mark.parametrize("claim", ["groups", "roles", "entitlements"])
def test_rights_giving_claims_come_only_from_a_cluster_policys_mappings(claim: str) -> None:
    assert claims(cluster_policy(claimMappings=[{"claim": claim, "value": "x"}])) == {claim: "x"}
    with pytest.raises(Fault, match="only from a ClusterAuthPolicy"):
        policy(claimMappings=[{"claim": claim, "value": "x"}])
    with pytest.raises(Fault, match="only from a ClusterAuthPolicy"):
        account(claims={claim: "x"})


@pytest.mark.parametrize(
    "ceiling",
    [{"allowed": ["https://example.com/*"]}, {"denied": ["tier"]}, {"allowed": []}],
    ids=["not allowed", "denied", "nothing allowed"],
)
def test_a_static_claim_that_a_ceiling_withholds_is_left_out(ceiling: dict[str, Any]) -> None:
    assert "tier" not in claims(policy(claims=ceiling), tier="critical")


def test_claim_ceilings_do_not_limit_mappings() -> None:
    one = policy("a", claims={"allowed": []}, claimMappings=[{"claim": "env", "value": "prod"}])
    assert claims(one, env="own") == {"env": "prod"}


# --- refusals and narrowing ------------------------------------------------------------------------------------------


def test_a_scope_the_account_does_not_hold_is_invalid_scope() -> None:
    assert failure(answer(account(scopes=HELD), scopes=("api:payments", "api:other"))) is Failure.SCOPE_NOT_HELD


def test_a_scope_it_holds_but_policy_withholds_is_left_out() -> None:
    assert granted(policy(scopes={"denied": ["api:payments"]}), scopes=("api:payments", "api:ledger:read")) == (
        "api:ledger:read",
    )


def test_nothing_left_is_invalid_scope() -> None:
    decision = answer(account(), policy(scopes={"allowed": []}))
    assert failure(decision) is Failure.SCOPE_WITHHELD
    assert failure(decision).code == "invalid_scope"


def test_no_resource_and_the_default_audience_withheld_is_invalid_target_never_the_next_one() -> None:
    two = account(audiences=["https://a.example.com", "https://b.example.com"])
    only_b = policy(audiences={"allowed": ["https://b.example.com"]})
    assert failure(answer(two, only_b)) is Failure.TARGET_WITHHELD
    assert failure(answer(two, only_b)).code == "invalid_target"
    assert isinstance(answer(two, only_b, resource="https://b.example.com"), Allowed)


def test_required_registration_withholds_scopes_without_a_catalogue_entry() -> None:
    known = catalogue({"scope": "api:payments"})
    assert granted(policy(requireRegisteredScopes=True), under=known) == ("api:payments",)


@pytest.mark.parametrize("requires", [{"senderConstraint": "dpop"}, {"approval": True}])
def test_a_scope_whose_requirement_cannot_be_met_yet_is_withheld_with_that_reason(requires: dict[str, Any]) -> None:
    decision = answer(
        account(scopes=HELD), under=catalogue({"scope": "api:payments", "requires": requires}), scopes=tuple(HELD)
    )
    assert isinstance(decision, Allowed)
    assert [(each.scope, each.why) for each in decision.withheld] == [
        ("api:payments", f"Scope/scope-0 requires.{next(iter(requires))}")
    ]


# --- reach -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "labels", "reached"),
    [
        pytest.param(None, {}, True, id="absent: all in reach"),
        pytest.param({}, {}, True, id="{}: all in reach"),
        pytest.param({"matchLabels": {"tier": "critical"}}, {"tier": "critical"}, True, id="matchLabels"),
        pytest.param({"matchLabels": {"tier": "critical"}}, {"tier": "low"}, False, id="another value"),
        pytest.param({"matchLabels": {"tier": "critical"}}, {}, False, id="no label"),
        pytest.param(
            {"matchExpressions": [{"key": "a", "operator": "In", "values": ["x", "y"]}]}, {"a": "y"}, True, id="In"
        ),
        pytest.param(
            {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x"]}]}, {}, True, id="NotIn without it"
        ),
        pytest.param(
            {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x"]}]}, {"a": "x"}, False, id="NotIn"
        ),
        pytest.param({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": "x"}, True, id="Exists"),
        pytest.param(
            {"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": "x"}, False, id="DoesNotExist"
        ),
    ],
)
def test_selector(selector: dict[str, Any] | None, labels: dict[str, str], *, reached: bool) -> None:
    spec: Any = {
        "tokenSettings": {"maxAccessTokenTTL": "1m"},
        **({"selector": selector} if selector is not None else {}),
    }
    governed = govern(
        account(labels=labels),
        policies(policy(**spec)),
        catalogue(),
    )
    assert bool(governed.reaching) is reached


def test_an_auth_policy_reaches_its_own_namespace_only() -> None:
    elsewhere = policy(namespace="billing", scopes={"allowed": []})
    assert isinstance(answer(account(), elsewhere), Allowed)


def test_a_namespace_selector_reads_the_labels_of_the_namespace() -> None:
    prod_only = cluster_policy(namespaceSelector={"matchLabels": {"env": "prod"}}, scopes={"allowed": []})
    labels = {"payments": {"env": "prod"}, "billing": {"env": "dev"}}
    assert isinstance(answer(account(), prod_only, namespace_labels=labels), Denied)
    assert isinstance(answer(account("billing"), prod_only, namespace_labels=labels), Allowed)
    assert isinstance(answer(account("unlabelled"), prod_only, namespace_labels=labels), Allowed)


def admin() -> Any:
    spec: Any = {"scopes": [ADMIN_SCOPE], "audiences": [ADMIN_AUDIENCE], "justification": "test"}
    return account(SYSTEM_NAMESPACE, "admin", **spec)


DRACONIC: dict[str, Any] = {
    "scopes": {"allowed": []},
    "audiences": {"allowed": []},
    "clientAuthentication": {"allowedMethods": []},
    "senderConstraint": "mtls",
    "claimMappings": [{"claim": "x", "fieldPath": "metadata.labels['none']", "required": True}],
    "requireRegisteredScopes": True,
}


@pytest.mark.parametrize("field", DRACONIC)
def test_an_admin_is_never_locked_out_by_a_policy_without_applies_to_system(field: str) -> None:
    part = {field: DRACONIC[field]}
    assert isinstance(answer(admin(), cluster_policy(**part)), Allowed)
    assert isinstance(answer(account(), cluster_policy(**part)), Denied)


def test_applies_to_system_reaches_the_admins() -> None:
    assert isinstance(answer(admin(), cluster_policy(appliesToSystem=True, scopes={"allowed": []})), Denied)


def test_there_is_no_auth_policy_in_issuer_system() -> None:
    with pytest.raises(Fault, match="appliesToSystem"):
        policy(namespace=SYSTEM_NAMESPACE)


def test_an_auth_policy_stored_in_issuer_system_all_the_same_reaches_nobody() -> None:
    written = resource(AUTH_POLICY, "payments", "ceiling", {"scopes": {"allowed": []}})
    strayed = compile_policy(replace(written, namespace=SYSTEM_NAMESPACE))
    assert isinstance(answer(admin(), strayed), Allowed)


def test_every_fault_of_a_policy_is_named_at_once() -> None:
    bad: Any = {
        "scopes": {"allowed": ["*"], "denied": ["a*b"], "maybe": []},
        "audiences": {"allowed": ["with space"]},
        "tokenSettings": {"defaultAccessTokenTTL": "20m", "maxAccessTokenTTL": "15m", "maxTokensPerMinute": 0},
        "claimMappings": [
            {"claim": "iss", "value": "x"},
            {"claim": "a"},
            {"claim": "b", "value": "x", "fieldPath": "metadata.name"},
            {"claim": "c", "fieldPath": "spec.secret"},
        ],
        "clientAuthentication": {"allowedMethods": ["none"]},
        "credentialRotation": {"maxIntervalDays": 0},
        "senderConstraint": "some",
        "selector": {"matchLabels": {"bad key!": "x"}, "matchExpressions": [{"key": "a", "operator": "In"}]},
        "colour": "red",
    }
    with pytest.raises(Fault) as raised:
        policy(**bad)
    assert {cause.field for cause in raised.value.causes} >= {
        "spec.scopes.allowed[0]",
        "spec.scopes.denied[0]",
        "spec.scopes.maybe",
        "spec.audiences.allowed[0]",
        "spec.tokenSettings.defaultAccessTokenTTL",
        "spec.tokenSettings.maxTokensPerMinute",
        "spec.claimMappings[0].claim",
        "spec.claimMappings[1].value",
        "spec.claimMappings[2].value",
        "spec.claimMappings[3].fieldPath",
        "spec.clientAuthentication.allowedMethods[0]",
        "spec.credentialRotation.maxIntervalDays",
        "spec.senderConstraint",
        "spec.selector.matchExpressions[0].values",
        "spec.colour",
    }
