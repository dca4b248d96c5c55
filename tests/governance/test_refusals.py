"""Every refusal says why in words people read, names the policies behind it, and what was withheld besides.

The words reach the audit record, `/explain` and a policy's dry run: a change of them is a change of what operators see.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from issuer.failures import Failure
from issuer.model.resource import Resource
from issuer.model.scopes import ADMIN_AUDIENCE, ADMIN_SCOPE
from issuer.policy.ceilings import Ceiling
from issuer.policy.decide import Allowed, Denied, Withheld
from issuer.policy.governed import Because
from tests.governance.builders import LIMITS, account, answer, catalogue, cluster_policy, policy

CLUSTER, LOCAL = "ClusterAuthPolicy/c", "AuthPolicy/payments/n"
SCOPES = ["api:a", "api:b"]
DENIED_B = Withheld("api:b", "policy", (Because(LOCAL, "scopes.denied"),))
ADMIN_BY_DEFAULT = catalogue(limits=replace(LIMITS, default_audience=ADMIN_AUDIENCE))


def both(**spec: Any) -> list[Ceiling]:
    """A policy of the namespace and one of the cluster, of the same words."""
    return [policy("n", **spec), cluster_policy("c", **spec)]


def required(*claims: str) -> dict[str, Any]:
    """Mappings that demand labels."""
    return {
        "claimMappings": [
            {"claim": each, "fieldPath": f"metadata.labels['{each}']", "required": True} for each in claims
        ]
    }


def refused(of: Resource, *ceilings: Ceiling, **asked: Any) -> Denied:
    decision = answer(of, *ceilings, **asked)
    assert isinstance(decision, Denied), decision
    return decision


BY_ITSELF: dict[str, tuple[dict[str, Any], dict[str, Any], Failure, str]] = {
    "a method the account does not accept": (
        {"authentication": {"methods": ["client_secret_post"]}},
        {},
        Failure.METHOD_NOT_ACCEPTED,
        "the account does not accept client_secret_basic",
    ),
    "a resource it does not hold": (
        {},
        {"resource": "https://other.example.com"},
        Failure.TARGET_NOT_HELD,
        "the resource is not among the account's audiences",
    ),
    "the admin audience elsewhere": (
        {},
        {"under": ADMIN_BY_DEFAULT},
        Failure.TARGET_NOT_HELD,
        "urn:issuer:admin works only in issuer-system",
    ),
    "scopes it does not hold": (
        {},
        {"scopes": ("api:a", "x", "y")},
        Failure.SCOPE_NOT_HELD,
        "2 of the scopes asked for are not the account's",
    ),
    "too little time left": (
        {"expiresAt": "2026-11-22T00:00:05Z"},
        {},
        Failure.LIFETIME_TOO_SHORT,
        "expiresAt leaves 5 s",
    ),
}


@pytest.mark.parametrize(("spec", "asked", "failure", "why"), BY_ITSELF.values(), ids=BY_ITSELF.keys())
def test_what_no_policy_refuses_says_why_and_names_no_policy(
    spec: dict[str, Any], asked: dict[str, Any], failure: Failure, why: str
) -> None:
    decision = refused(account(**{"scopes": SCOPES} | spec), policy("n"), **asked)
    assert (decision.failure, decision.why, decision.by) == (failure, why, ())


BY_POLICY: dict[str, tuple[Callable[[], list[Ceiling]], Failure, str, str]] = {
    "a method": (
        lambda: both(clientAuthentication={"allowedMethods": []}),
        Failure.METHOD_NOT_ACCEPTED,
        "policy withholds client_secret_basic",
        "clientAuthentication.allowedMethods",
    ),
    "an audience": (
        lambda: both(audiences={"allowed": []}),
        Failure.TARGET_WITHHELD,
        "policy withholds the audience",
        "audiences.allowed",
    ),
    "every scope": (
        lambda: both(scopes={"denied": ["api:*"]}),
        Failure.SCOPE_WITHHELD,
        "no scope is left",
        "scopes.denied",
    ),
    "a sender constraint": (
        lambda: both(senderConstraint="dpop"),
        Failure.SENDER_CONSTRAINT_UNMET,
        "sender constraint dpop cannot be met yet",
        "senderConstraint",
    ),
    "a required claim": (
        lambda: both(**required("team")),
        Failure.CLAIM_MISSING,
        "required and absent: team",
        "claimMappings[team]",
    ),
}


@pytest.mark.parametrize(("ceilings", "failure", "why", "field"), BY_POLICY.values(), ids=BY_POLICY.keys())
def test_what_policies_refuse_says_why_and_names_each_of_them_with_the_field(
    ceilings: Callable[[], list[Ceiling]], failure: Failure, why: str, field: str
) -> None:
    decision = refused(account(scopes=SCOPES), *ceilings())
    assert (decision.failure, decision.why) == (failure, why)
    assert decision.by == (Because(CLUSTER, field), Because(LOCAL, field))


def test_every_required_claim_that_is_absent_is_named() -> None:
    assert refused(account(), policy("n", **required("team", "tier"))).why == "required and absent: team, tier"


def test_a_lifetime_too_short_names_the_policy_that_made_it_so() -> None:
    """No policy can be written below 10 s; one stored all the same refuses, and is found."""
    strict = replace(policy("n", tokenSettings={"maxAccessTokenTTL": "10s"}), max_ttl_s=9)
    decision = refused(account(), strict)
    assert (decision.failure, decision.why) == (Failure.LIFETIME_TOO_SHORT, "policy leaves 9 s")
    assert decision.by == (Because(LOCAL, "tokenSettings.maxAccessTokenTTL"),)


@pytest.mark.parametrize(
    ("ceiling", "expires_at"),
    [
        pytest.param({"senderConstraint": "mtls"}, None, id="a sender constraint"),
        pytest.param(required("team"), None, id="a required claim"),
        pytest.param({}, "2026-11-22T00:00:05Z", id="too little time left"),
    ],
)
def test_a_refusal_of_the_whole_token_still_says_which_scopes_were_withheld(
    ceiling: dict[str, Any], expires_at: str | None
) -> None:
    expiry: dict[str, Any] = {"expiresAt": expires_at} if expires_at else {}
    decision = refused(account(scopes=SCOPES, **expiry), policy("n", scopes={"denied": ["api:b"]}, **ceiling))
    assert decision.withheld == (DENIED_B,)


def test_a_scope_withheld_by_policies_says_so_and_names_each_with_the_field() -> None:
    decision = answer(account(scopes=SCOPES), policy("n", scopes={"denied": ["api:b"]}))
    assert isinstance(decision, Allowed)
    assert decision.withheld == (DENIED_B,)


def test_an_admin_scope_stored_elsewhere_says_where_it_works() -> None:
    written = account(scopes=SCOPES)
    stored = replace(written, spec={**written.spec, "scopes": [*SCOPES, ADMIN_SCOPE]})
    decision = answer(stored, scopes=("api:a", ADMIN_SCOPE))
    assert isinstance(decision, Allowed)
    assert decision.withheld == (Withheld(ADMIN_SCOPE, "works only in issuer-system"),)
