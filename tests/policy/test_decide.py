"""`policy.decide`, sentence by sentence of DESIGN section 3 (what exists of it), the sentence as the test's name."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from issuer.failures import Failure
from issuer.model.kinds import SCOPE, SERVICE_ACCOUNT, parse_manifest
from issuer.model.resource import Resource
from issuer.policy.catalogue import Catalogue, CataloguedScope, Limits, compile_scope
from issuer.policy.decide import Allowed, Decision, Denied, Withheld, decide
from issuer.policy.grant import Grant, compile_grant
from issuer.protocol.authentication import METHODS
from issuer.protocol.grants import TokenAsk
from tests.governance.builders import BASIC, grant, ungoverned

NOW = 1_772_366_400.0
LIMITS = Limits(default_audience="https://issuer.example", default_ttl_s=600, max_ttl_s=86_400)
ADMIN = "urn:issuer:admin"
GRANT = grant(scopes=("a", "b", "c"), audiences=("https://a", "https://b"))
FREE = CataloguedScope(name="entry", audiences=None, destructive=False, max_ttl_s=None, unmet=None)
ANYTHING = TokenAsk(None, None)


def decided(
    of: Grant = GRANT,
    ask: TokenAsk = ANYTHING,
    scopes: dict[str, CataloguedScope] | None = None,
    limits: Limits = LIMITS,
) -> Decision:
    return decide(ungoverned(of, limits), ask, BASIC, Catalogue(limits, scopes or {}), NOW)


def allowed(*args: Any, **kwargs: Any) -> Allowed:
    decision = decided(*args, **kwargs)
    assert isinstance(decision, Allowed), decision
    return decision


def denied(*args: Any, **kwargs: Any) -> Denied:
    decision = decided(*args, **kwargs)
    assert isinstance(decision, Denied), decision
    return decision


# --- lifetime ---------------------------------------------------------------------------------------------------------


def grant_of(ttl_s: int | None = None, expires_in_s: float | None = None) -> Grant:
    return replace(GRANT, ttl_s=ttl_s, expires_at=None if expires_in_s is None else NOW + expires_in_s)


def limited(seconds: int) -> dict[str, CataloguedScope]:
    return {"a": replace(FREE, max_ttl_s=seconds)}


LIFETIMES: dict[str, tuple[Grant, dict[str, CataloguedScope], int, str]] = {
    "the account's own": (grant_of(300), {}, 300, "accessTokenTTL"),
    "else the server's default": (grant_of(), {}, 600, "server default"),
    "never above the server's maximum": (grant_of(90_000), {}, 86_400, "server maximum"),
    "a scope's maximum": (grant_of(300), limited(60), 60, "Scope/entry maxAccessTokenTTL"),
    "a scope's maximum binds the default too": (grant_of(), limited(60), 60, "Scope/entry maxAccessTokenTTL"),
    "a scope's maximum above is no extension": (grant_of(300), limited(900), 300, "accessTokenTTL"),
    "a scope's maximum that is equal does not bind": (grant_of(300), limited(300), 300, "accessTokenTTL"),
    "what is left until expiresAt": (grant_of(300, 100), {}, 100, "expiresAt"),
    "a fraction of a second is not rounded up": (grant_of(300, 100.9), {}, 100, "expiresAt"),
    "expiresAt and scope: the smaller": (grant_of(300, 100), limited(50), 50, "Scope/entry maxAccessTokenTTL"),
    "expiresAt far away does not bind": (grant_of(300, 10_000), {}, 300, "accessTokenTTL"),
    "exactly 10 s are enough": (grant_of(300, 10), {}, 10, "expiresAt"),
}


@pytest.mark.parametrize(("of", "scopes", "ttl_s", "bound_by"), LIFETIMES.values(), ids=LIFETIMES.keys())
def test_ttl_is_the_least_of_all_that_bound_it_and_says_which(
    of: Grant, scopes: dict[str, CataloguedScope], ttl_s: int, bound_by: str
) -> None:
    decision = allowed(of, scopes=scopes)
    assert (decision.ttl_s, decision.ttl_why) == (ttl_s, bound_by)


def test_the_smallest_maximum_of_several_scopes_binds() -> None:
    scopes = {name: replace(FREE, max_ttl_s=seconds) for name, seconds in (("a", 90), ("b", 30), ("c", 60))}
    decision = allowed(scopes=scopes)
    assert (decision.ttl_s, decision.ttl_why) == (30, "Scope/entry maxAccessTokenTTL")


def test_only_scopes_that_are_granted_bound_the_lifetime() -> None:
    assert allowed(ask=TokenAsk(("b",), None), scopes=limited(30)).ttl_s == 600


def test_a_default_above_the_servers_maximum_is_clamped() -> None:
    decision = allowed(limits=replace(LIMITS, default_ttl_s=600, max_ttl_s=120))
    assert (decision.ttl_s, decision.ttl_why) == (120, "server maximum")


@pytest.mark.parametrize("left_s", [9.999, 1, 0, -5])
def test_less_than_10_s_left_is_refused(left_s: float) -> None:
    refused = denied(grant_of(300, left_s))
    assert (refused.failure, "expiresAt" in refused.why) == (Failure.LIFETIME_TOO_SHORT, True)


def test_a_maximum_below_10_s_is_refused_and_named() -> None:
    refused = denied(scopes=limited(9))
    assert refused.failure is Failure.LIFETIME_TOO_SHORT
    assert refused.why == "Scope/entry maxAccessTokenTTL leaves 9 s"


# --- scopes -----------------------------------------------------------------------------------------------------------


def test_without_a_wish_all_effective_scopes() -> None:
    assert allowed().scopes == ("a", "b", "c")


NOT_BY_DEFAULT = {
    "openid": ("openid", {}),
    "a destructive one": ("wipe", {"wipe": replace(FREE, destructive=True)}),
    "one with requires": ("b2", {"b2": replace(FREE, unmet="requires.approval")}),
}


@pytest.mark.parametrize(("scope", "catalogue"), NOT_BY_DEFAULT.values(), ids=NOT_BY_DEFAULT.keys())
def test_never_by_default(scope: str, catalogue: dict[str, CataloguedScope]) -> None:
    decision = allowed(replace(GRANT, scopes=("a", scope)), scopes=catalogue)
    assert decision.scopes == ("a",)
    assert decision.withheld == (), "it was not asked for, so nothing was withheld"


@pytest.mark.parametrize("scope", ["openid", "wipe"])
def test_what_is_not_given_by_default_is_given_when_asked_for(scope: str) -> None:
    catalogue = {"wipe": replace(FREE, destructive=True)}
    held = replace(GRANT, scopes=("a", scope))
    assert allowed(held, TokenAsk((scope,), None), catalogue).scopes == (scope,)


def test_default_scopes_are_granted_when_none_is_asked_for() -> None:
    assert allowed(replace(GRANT, default_scopes=("b",))).scopes == ("b",)


def test_default_scopes_do_not_limit_what_may_be_asked_for() -> None:
    assert allowed(replace(GRANT, default_scopes=("b",)), TokenAsk(("a",), None)).scopes == ("a",)


def test_default_scopes_may_name_what_is_never_a_default_by_itself() -> None:
    held = replace(GRANT, scopes=("a", "openid"), default_scopes=("openid",))
    assert allowed(held).scopes == ("openid",)


def test_empty_default_scopes_grant_nothing() -> None:
    assert denied(replace(GRANT, default_scopes=())).failure is Failure.SCOPE_WITHHELD


def test_what_is_asked_for_is_granted_in_its_order() -> None:
    assert allowed(ask=TokenAsk(("c", "a"), None)).scopes == ("c", "a")


@pytest.mark.parametrize("asked", [("x",), ("a", "x"), ("A",), ("a*",), ("*",)])
def test_a_scope_the_account_does_not_hold_is_refused_not_left_out(asked: tuple[str, ...]) -> None:
    assert denied(ask=TokenAsk(asked, None)).failure is Failure.SCOPE_NOT_HELD


def test_the_reason_does_not_quote_what_was_asked_for() -> None:
    assert "canary" not in denied(ask=TokenAsk(("canary",), None)).why


WITHHELD: dict[str, tuple[CataloguedScope, str]] = {
    "its audiences are others": (replace(FREE, audiences=frozenset({"https://b"})), "audiences"),
    "it has no audience at all": (replace(FREE, audiences=frozenset()), "audiences"),
    "it needs approval": (replace(FREE, unmet="requires.approval"), "requires.approval"),
    "it needs a bound sender": (replace(FREE, unmet="requires.senderConstraint"), "requires.senderConstraint"),
}


@pytest.mark.parametrize(("entry", "why"), WITHHELD.values(), ids=WITHHELD.keys())
def test_a_scope_it_holds_but_the_catalogue_withholds_is_left_out(entry: CataloguedScope, why: str) -> None:
    decision = allowed(ask=TokenAsk(("a", "b"), None), scopes={"a": entry})
    assert (decision.scopes, decision.withheld) == (("b",), (Withheld("a", f"Scope/entry {why}"),))


@pytest.mark.parametrize(("entry", "why"), WITHHELD.values(), ids=WITHHELD.keys())
def test_nothing_left_is_refused_with_the_reason(entry: CataloguedScope, why: str) -> None:
    refused = denied(ask=TokenAsk(("a",), None), scopes={"a": entry})
    assert (refused.failure, refused.withheld) == (Failure.SCOPE_WITHHELD, (Withheld("a", f"Scope/entry {why}"),))


def test_a_catalogued_scope_is_granted_for_its_audiences() -> None:
    entry = replace(FREE, audiences=frozenset({"https://b"}))
    assert allowed(ask=TokenAsk(("a",), "https://b"), scopes={"a": entry}).scopes == ("a",)


def test_a_withheld_scope_does_not_bound_the_lifetime() -> None:
    entry = replace(FREE, unmet="requires.approval", max_ttl_s=20)
    assert allowed(ask=TokenAsk(("a", "b"), None), scopes={"a": entry}).ttl_s == 600


def test_a_catalogue_entry_of_another_scope_changes_nothing() -> None:
    assert allowed(scopes={"z": replace(FREE, unmet="requires.approval", max_ttl_s=20)}) == allowed()


# --- audience ---------------------------------------------------------------------------------------------------------


def test_the_first_audience_is_the_default() -> None:
    assert allowed().audience == "https://a"


def test_any_audience_of_the_account_may_be_asked_for() -> None:
    assert allowed(ask=TokenAsk(None, "https://b")).audience == "https://b"


def test_an_account_without_audiences_has_the_servers_default_and_no_other() -> None:
    held = replace(GRANT, audiences=())
    assert allowed(held).audience == "https://issuer.example"
    assert denied(held, TokenAsk(None, "https://a")).failure is Failure.TARGET_NOT_HELD


@pytest.mark.parametrize("target", ["https://c", "https://a/", "HTTPS://A", "https://issuer.example", ""])
def test_an_audience_the_account_does_not_name_is_refused(target: str) -> None:
    assert denied(ask=TokenAsk(None, target)).failure is Failure.TARGET_NOT_HELD


def test_the_audience_is_decided_before_scopes() -> None:
    assert denied(ask=TokenAsk(("x",), "https://c")).failure is Failure.TARGET_NOT_HELD


# --- the admin API ----------------------------------------------------------------------------------------------------

SYSTEM = replace(GRANT, namespace="issuer-system", scopes=("issuer:admin", "a"), audiences=(ADMIN,))


def test_the_admin_audience_works_in_issuer_system() -> None:
    assert allowed(SYSTEM, TokenAsk(("issuer:admin",), ADMIN)).scopes == ("issuer:admin",)


@pytest.mark.parametrize("namespace", ["payments", "issuer-system-2", "Issuer-System", "", "kube-system"])
@pytest.mark.parametrize("resource", [None, ADMIN])
def test_the_admin_audience_works_nowhere_else_even_if_stored_state_says_otherwise(
    namespace: str, resource: str | None
) -> None:
    refused = denied(replace(SYSTEM, namespace=namespace), TokenAsk(None, resource))
    assert refused.failure is Failure.TARGET_NOT_HELD


def test_the_admin_audience_as_the_servers_default_opens_nothing() -> None:
    limits = replace(LIMITS, default_audience=ADMIN)
    assert denied(replace(GRANT, audiences=()), limits=limits).failure is Failure.TARGET_NOT_HELD


@pytest.mark.parametrize("scope", ["issuer:admin", "issuer:admin:read", "issuer:", "issuer:anything"])
def test_issuer_scopes_work_nowhere_else_even_if_stored_state_says_otherwise(scope: str) -> None:
    held = replace(GRANT, scopes=("a", scope))
    decision = allowed(held, TokenAsk(("a", scope), None))
    assert decision.scopes == ("a",)
    assert [each.scope for each in decision.withheld] == [scope]
    assert denied(held, TokenAsk((scope,), None)).failure is Failure.SCOPE_WITHHELD
    assert allowed(held).scopes == ("a",), "nor by default"


# --- stored documents -------------------------------------------------------------------------------------------------


def account(**spec: Any) -> Resource:
    document = {"metadata": {"name": "api"}, "spec": {"scopes": ["a", "b"], **spec}}
    manifest = parse_manifest(SERVICE_ACCOUNT, document, namespace="payments", name=None, methods=frozenset(METHODS))
    uid = UUID("3f0c1f9e-6f0a-4c64-9d53-2d7a4f1d8f10")
    created = datetime(2026, 1, 1, tzinfo=UTC)
    return Resource("v", "ServiceAccount", "payments", "api", uid, created, spec=manifest.spec)


def test_a_grant_is_the_accounts_spec_with_its_effective_defaults() -> None:
    """CVE-2026-18570: an omitted field is checked with its effective default."""
    held = compile_grant(account())
    assert (held.type, held.ttl_s, held.expires_at, held.default_scopes) == ("service", None, None, None)
    assert (held.scopes, held.audiences, dict(held.claims)) == (("a", "b"), (), {})
    assert (held.namespace, held.name, held.client_id) == ("payments", "api", f"sa-{held.uid}")


def test_a_grant_reads_every_field() -> None:
    held = compile_grant(
        account(
            type="agent",
            defaultScopes=["b"],
            audiences=["https://a"],
            tokenSettings={"accessTokenTTL": "1h30m"},
            expiresAt="2026-03-01T12:00:00+01:00",
            claims={"env": "prod"},
        )
    )
    assert (held.type, held.default_scopes, held.audiences) == ("agent", ("b",), ("https://a",))
    assert (held.ttl_s, dict(held.claims)) == (5400, {"env": "prod"})
    assert held.expires_at == datetime(2026, 3, 1, 11, tzinfo=UTC).timestamp()


def test_default_scopes_never_reach_beyond_scopes_even_if_stored_state_says_otherwise() -> None:
    stored = account(defaultScopes=["b"])
    stored = replace(stored, spec={**stored.spec, "defaultScopes": ["b", "not-held"]})
    decision = allowed(compile_grant(stored))
    assert decision.scopes == ("b",)


def scope_spec(**spec: Any) -> CataloguedScope:
    document = {"metadata": {"name": "a"}, "spec": {"scope": "a", **spec}}
    return compile_scope("entry", parse_manifest(SCOPE, document, namespace="", name=None, methods=frozenset()).spec)


COMPILED: dict[str, tuple[dict[str, Any], CataloguedScope]] = {
    "nothing but the scope: free": ({}, FREE),
    "audiences": ({"audiences": ["https://a"]}, replace(FREE, audiences=frozenset({"https://a"}))),
    "audiences []: nothing at all, unlike absent": ({"audiences": []}, replace(FREE, audiences=frozenset())),
    "risk: destructive": ({"risk": "destructive"}, replace(FREE, destructive=True)),
    "risk: write is not destructive": ({"risk": "write"}, FREE),
    "maxAccessTokenTTL": ({"maxAccessTokenTTL": "2m"}, replace(FREE, max_ttl_s=120)),
    "requires approval": ({"requires": {"approval": True}}, replace(FREE, unmet="requires.approval")),
    "requires nothing": ({"requires": {"approval": False, "senderConstraint": "none"}}, FREE),
    "requires dpop": (
        {"requires": {"senderConstraint": "dpop"}},
        replace(FREE, unmet="requires.senderConstraint"),
    ),
    "requires any sender constraint": (
        {"requires": {"senderConstraint": "any"}},
        replace(FREE, unmet="requires.senderConstraint"),
    ),
}


@pytest.mark.parametrize(("spec", "compiled"), COMPILED.values(), ids=COMPILED.keys())
def test_a_catalogue_entry(spec: dict[str, Any], compiled: CataloguedScope) -> None:
    assert scope_spec(**spec) == compiled
