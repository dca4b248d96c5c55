"""Ceilings are monotone, reasons are sufficient and honest: DESIGN sections 2 and 3 as properties."""

from collections.abc import Mapping
from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from issuer.model.resource import Resource
from issuer.policy.ceilings import Ceiling, Policies
from issuer.policy.decide import Allowed, Decision, decide
from issuer.policy.governed import govern
from issuer.policy.reasons import explain, said
from issuer.protocol.grants import TokenAsk
from tests.governance.builders import BASIC, NOW, account, catalogue, cluster_policy, policies, policy

SCOPES = ["api:a", "api:b", "api:b:x", "openid", "db:z"]
PATTERNS = ["api:a", "api:b", "api:*", "api:b*", "api:b:x", "db:*", "o*"]
AUDIENCES = ["https://one.example.com", "https://two.example.com"]
CLAIMS = ["team", "tier", "https://example.com/env"]
CLAIM_PATTERNS = ["team", "ti*", "https://example.com/*", "none"]
METHODS = ["client_secret_basic", "client_secret_post", "private_key_jwt"]
TTLS = ["10s", "1m", "5m", "10m", "15m", "1h"]
LABELS = {"team": ["red", "blue"], "tier": ["critical", "low"]}
NAMESPACE_LABELS: Mapping[str, Mapping[str, str]] = {"payments": {"env": "prod"}, "billing": {"env": "dev"}}

KNOWN = catalogue(
    {"scope": "api:b", "maxAccessTokenTTL": "4m", "audiences": AUDIENCES[:1]}, {"scope": "db:z", "risk": "destructive"}
)

some = {
    "scopes": st.lists(st.sampled_from(SCOPES), min_size=1, unique=True),
    "patterns": st.lists(st.sampled_from(PATTERNS), max_size=3, unique=True),
    "claim_patterns": st.lists(st.sampled_from(CLAIM_PATTERNS), max_size=2, unique=True),
}
labels = st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in LABELS.items()})
selectors = st.one_of(
    st.none(),
    st.builds(lambda found: {"matchLabels": found}, labels),
    st.builds(
        lambda key, operator: {"matchExpressions": [{"key": key, "operator": operator}]},
        st.sampled_from(sorted(LABELS)),
        st.sampled_from(["Exists", "DoesNotExist"]),
    ),
)


@st.composite
def accounts(draw: st.DrawFn, *, explicit_ttl: bool = False) -> Resource:
    ttl = draw(st.sampled_from(TTLS)) if explicit_ttl else draw(st.none() | st.sampled_from(TTLS))
    scopes = draw(some["scopes"])
    spec: dict[str, Any] = {
        "scopes": scopes,
        "audiences": draw(st.lists(st.sampled_from(AUDIENCES), min_size=1, unique=True)),
        "claims": draw(st.dictionaries(st.sampled_from(CLAIMS), st.sampled_from(["x", "y", "red"]), max_size=3)),
        "tokenSettings": {"accessTokenTTL": ttl} if ttl else {},
        "authentication": {"methods": draw(st.lists(st.sampled_from(METHODS[:2]), min_size=1, unique=True))},
    }
    if draw(st.booleans()):
        spec["defaultScopes"] = draw(st.lists(st.sampled_from(scopes), unique=True))
    return account(labels=draw(labels), **spec)


@st.composite
def ceilings(draw: st.DrawFn, name: str) -> Ceiling:
    def maybe(strategy: st.SearchStrategy[Any]) -> Any:
        return draw(st.none() | strategy)

    def lists(patterns: str) -> dict[str, Any]:
        allowed = maybe(some[patterns])
        return {"denied": draw(some[patterns]), **({"allowed": allowed} if allowed is not None else {})}

    maximum, default = maybe(st.sampled_from(TTLS)), maybe(st.sampled_from(TTLS))
    if maximum is not None and default is not None and TTLS.index(default) > TTLS.index(maximum):
        default = maximum
    tokens = {
        "maxAccessTokenTTL": maximum,
        "defaultAccessTokenTTL": default,
        "maxTokensPerMinute": maybe(st.integers(1, 3)),
    }
    audiences, methods = (
        maybe(st.lists(st.sampled_from(AUDIENCES), unique=True)),
        maybe(st.lists(st.sampled_from(METHODS), unique=True)),
    )
    sources = st.sampled_from([{"value": "x"}, {"value": "z"}, {"fieldPath": "metadata.labels['team']"}])
    mappings = [
        {"claim": claim, "required": draw(st.booleans()), **draw(sources)}
        for claim in draw(st.lists(st.sampled_from(CLAIMS), max_size=2, unique=True))
    ]
    # Most parts absent most of the time: otherwise nothing is ever granted and every property holds for want of a token.
    parts: dict[str, Any] = {
        "scopes": lists("patterns"),
        "claims": lists("claim_patterns"),
        "tokenSettings": {key: value for key, value in tokens.items() if value is not None},
        "audiences": {"allowed": audiences} if audiences is not None else {},
        "clientAuthentication": {"allowedMethods": methods} if methods is not None else {},
        "claimMappings": mappings,
        "senderConstraint": "dpop",
        "requireRegisteredScopes": True,
    }
    chosen = draw(st.sets(st.sampled_from(sorted(parts)), max_size=3))
    spec = {key: parts[key] for key in chosen}
    selector = draw(selectors)
    if selector is not None:
        spec["selector"] = selector
    if draw(st.booleans()):
        return policy(name, **spec)
    namespace_selector = maybe(st.sampled_from([{"matchLabels": {"env": "prod"}}, {"matchLabels": {"env": "dev"}}]))
    return cluster_policy(name, **spec, **({"namespaceSelector": namespace_selector} if namespace_selector else {}))


sets_of_policies = st.integers(0, 4).flatmap(
    lambda count: st.tuples(*(ceilings(f"p{number}") for number in range(count)))
)
asks = st.builds(
    TokenAsk,
    st.none() | st.lists(st.sampled_from(SCOPES), min_size=1, unique=True).map(tuple),
    st.none() | st.sampled_from(AUDIENCES),
)
methods = st.sampled_from(METHODS[:2])


def under(of: Resource, ask: TokenAsk, method: str, index: Policies) -> Decision:
    return decide(govern(of, index, KNOWN), ask, method, KNOWN, NOW)


def index(*some_ceilings: Ceiling) -> Policies:
    return policies(*some_ceilings, namespace_labels=NAMESPACE_LABELS)


def static_claims(decision: Allowed) -> set[str]:
    """The account's own static claims that made it into the token."""
    governed = decision.governed
    return set(governed.grant.claims) - set(governed.withheld_claims)


@given(accounts(explicit_ttl=True), sets_of_policies, ceilings("new"), asks, methods)
@settings(max_examples=400, deadline=None)
def test_adding_a_policy_shrinks_or_keeps_scope_ttl_audience_methods_and_static_claims(
    of: Resource, before: tuple[Ceiling, ...], new: Ceiling, ask: TokenAsk, method: str
) -> None:
    less, more = under(of, ask, method, index(*before, new)), under(of, ask, method, index(*before))
    if not isinstance(less, Allowed):
        return
    assert isinstance(more, Allowed)
    assert set(less.scopes) <= set(more.scopes)
    assert less.ttl_s <= more.ttl_s
    assert less.audience == more.audience
    assert static_claims(less) <= static_claims(more)
    assert more.governed.methods.keys() <= less.governed.methods.keys()


@given(accounts(), ceilings("only"), asks, methods)
@settings(max_examples=200, deadline=None)
def test_defaults_and_mappings_are_not_ceilings(of: Resource, only: Ceiling, ask: TokenAsk, method: str) -> None:
    """The other half: what a policy may add is a default lifetime and mapped claims, and nothing else."""
    governed, free = under(of, ask, method, index(only)), under(of, ask, method, index())
    if isinstance(governed, Allowed) and isinstance(free, Allowed):
        added = governed.governed.claims.keys() - free.governed.claims.keys()
        assert added <= {mapping.claim for mapping in only.mappings}
        if governed.ttl_s > free.ttl_s:
            assert governed.governed.grant.ttl_s is None
            assert only.default_ttl_s is not None


@given(accounts(), sets_of_policies, asks, methods)
@settings(max_examples=300, deadline=None)
def test_removing_every_policy_a_decision_names_restores_the_ungoverned_answer(
    of: Resource, some_policies: tuple[Ceiling, ...], ask: TokenAsk, method: str
) -> None:
    explained = explain(of, ask, method, index(*some_policies), KNOWN, NOW)
    named = {reason.policy for reason in explained.reasons}
    left = index(*(each for each in some_policies if each.ref not in named))
    assert said(under(of, ask, method, left)) == said(explained.ungoverned)


@given(accounts(), sets_of_policies, asks, methods)
@settings(max_examples=300, deadline=None)
def test_each_policy_named_binding_changes_the_answer_removed_alone_or_with_those_it_ties_with(
    of: Resource, some_policies: tuple[Ceiling, ...], ask: TokenAsk, method: str
) -> None:
    explained = explain(of, ask, method, index(*some_policies), KNOWN, NOW)
    binding = [reason for reason in explained.reasons if reason.binding]
    for reason in binding:
        tied = {each.policy for each in binding if each.part == reason.part}
        alone = index(*(each for each in some_policies if each.ref != reason.policy))
        together = index(*(each for each in some_policies if each.ref not in tied))
        answers = {said(under(of, ask, method, alone)), said(under(of, ask, method, together))}
        assert answers != {said(explained.decision)}, reason


@given(accounts(), sets_of_policies, asks, methods)
@settings(max_examples=200, deadline=None)
def test_every_policy_that_alone_changes_the_ungoverned_answer_is_named(
    of: Resource, some_policies: tuple[Ceiling, ...], ask: TokenAsk, method: str
) -> None:
    explained = explain(of, ask, method, index(*some_policies), KNOWN, NOW)
    named = {reason.policy for reason in explained.reasons}
    alone = {
        each.ref for each in some_policies if said(under(of, ask, method, index(each))) != said(explained.ungoverned)
    }
    assert alone <= named


@given(accounts(), sets_of_policies, asks, methods)
@settings(max_examples=100, deadline=None)
def test_the_order_in_which_policies_are_written_does_not_matter(
    of: Resource, some_policies: tuple[Ceiling, ...], ask: TokenAsk, method: str
) -> None:
    assume(len(some_policies) > 1)
    forward, backward = index(*some_policies), index(*reversed(some_policies))
    assert said(under(of, ask, method, forward)) == said(under(of, ask, method, backward))


@given(accounts(), sets_of_policies, asks, methods)
@settings(max_examples=200, deadline=None)
@example(account(), (), TokenAsk(("api:read",), None), BASIC)
def test_whatever_is_granted_is_held_and_asked_for(
    of: Resource, some_policies: tuple[Ceiling, ...], ask: TokenAsk, method: str
) -> None:
    decision = under(of, ask, method, index(*some_policies))
    if isinstance(decision, Allowed):
        assert set(decision.scopes) <= set(of.spec["scopes"])
        assert ask.scopes is None or set(decision.scopes) <= set(ask.scopes)
        assert 10 <= decision.ttl_s <= KNOWN.limits.max_ttl_s
