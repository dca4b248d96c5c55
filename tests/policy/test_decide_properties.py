"""What holds of every decision: grants only shrink (DESIGN section 3, "Ceilings are monotone")."""

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from issuer.policy.catalogue import Catalogue, CataloguedScope, Limits
from issuer.policy.decide import Allowed, Decision
from issuer.policy.decide import decide as decide_governed
from issuer.policy.grant import Grant
from issuer.protocol.grants import TokenAsk
from tests.governance.builders import BASIC, grant, ungoverned

NOW = 1_000_000.0
SYSTEM = "issuer-system"
ADMIN = "urn:issuer:admin"

scope_names = st.sampled_from(["a", "b", "c", "openid", "issuer:admin", "issuer:admin:read"])
audience_names = st.sampled_from(["https://a", "https://b", ADMIN])
lifetimes = st.integers(1, 100_000)


@st.composite
def grants(draw: st.DrawFn) -> Grant:
    scopes = draw(st.lists(scope_names, min_size=1, unique=True))
    defaults = draw(st.none() | st.lists(st.sampled_from(scopes), unique=True))
    return grant(
        namespace=draw(st.sampled_from(["payments", SYSTEM])),
        scopes=tuple(scopes),
        default_scopes=None if defaults is None else tuple(defaults),
        audiences=tuple(draw(st.lists(audience_names, unique=True))),
        ttl_s=draw(st.none() | st.integers(10, 86_400)),
        expires_at=draw(st.none() | st.floats(NOW - 100, NOW + 1000)),
    )


asks = st.builds(
    TokenAsk,
    st.none() | st.lists(scope_names, min_size=1, unique=True).map(tuple),
    st.none() | audience_names,
)
entries = st.builds(
    CataloguedScope,
    name=st.just("entry"),
    audiences=st.none() | st.frozensets(audience_names),
    destructive=st.booleans(),
    max_ttl_s=st.none() | lifetimes,
    unmet=st.none() | st.just("requires.approval"),
)
catalogued = st.dictionaries(scope_names, entries)
limits = st.builds(Limits, audience_names, st.integers(10, 86_400), st.integers(10, 86_400))


def decide(of: Grant, ask: TokenAsk, catalogue: Catalogue, now: float) -> Decision:
    return decide_governed(ungoverned(of, catalogue.limits), ask, BASIC, catalogue, now)


def granted(decision: Decision) -> frozenset[str]:
    return frozenset(decision.scopes) if isinstance(decision, Allowed) else frozenset()


def maxima(allowed: Allowed, of: Grant, scopes: Mapping[str, CataloguedScope], general: Limits) -> list[float | None]:
    of_scopes = [scopes[scope].max_ttl_s for scope in allowed.scopes if scope in scopes]
    left = None if of.expires_at is None else of.expires_at - NOW
    return [general.max_ttl_s, left, of.ttl_s, *of_scopes]


@settings(deadline=None)
@given(grants(), asks, catalogued, limits)
def test_granted_scopes_are_held_and_asked_for(
    of: Grant, ask: TokenAsk, scopes: dict[str, CataloguedScope], general: Limits
) -> None:
    got = granted(decide(of, ask, Catalogue(general, scopes), NOW))
    assert got <= set(of.scopes)
    assert got <= set(ask.scopes if ask.scopes is not None else of.default_scopes or of.scopes)


@settings(deadline=None)
@given(grants(), asks, catalogued, limits)
def test_what_is_allowed_is_never_empty_and_lives_from_10_s_to_every_maximum(
    of: Grant, ask: TokenAsk, scopes: dict[str, CataloguedScope], general: Limits
) -> None:
    decision = decide(of, ask, Catalogue(general, scopes), NOW)
    if isinstance(decision, Allowed):
        assert decision.scopes
        assert decision.ttl_s >= 10
        assert all(each is None or decision.ttl_s <= each for each in maxima(decision, of, scopes, general))


@settings(deadline=None)
@given(grants(), asks, catalogued, limits)
def test_the_audience_is_the_one_asked_for_or_the_first(
    of: Grant, ask: TokenAsk, scopes: dict[str, CataloguedScope], general: Limits
) -> None:
    decision = decide(of, ask, Catalogue(general, scopes), NOW)
    if isinstance(decision, Allowed):
        held = of.audiences or (general.default_audience,)
        assert decision.audience == (ask.resource if ask.resource is not None else held[0])
        assert decision.audience in held


@settings(deadline=None)
@given(grants(), asks, catalogued, limits)
def test_nothing_of_the_admin_api_leaves_issuer_system(
    of: Grant, ask: TokenAsk, scopes: dict[str, CataloguedScope], general: Limits
) -> None:
    decision = decide(of, ask, Catalogue(general, scopes), NOW)
    if isinstance(decision, Allowed) and of.namespace != SYSTEM:
        assert decision.audience != ADMIN
        assert not any(scope.startswith("issuer:") for scope in decision.scopes)


@settings(deadline=None)
@given(grants(), asks, catalogued, limits, scope_names, entries)
def test_adding_a_catalogue_entry_never_grants_more(
    of: Grant,
    ask: TokenAsk,
    scopes: dict[str, CataloguedScope],
    general: Limits,
    name: str,
    entry: CataloguedScope,
) -> None:
    without = {each: value for each, value in scopes.items() if each != name}
    before = decide(of, ask, Catalogue(general, without), NOW)
    after = decide(of, ask, Catalogue(general, {**without, name: entry}), NOW)
    assert granted(after) <= granted(before)
    if isinstance(after, Allowed) and isinstance(before, Allowed):
        assert after.audience == before.audience
        if after.scopes == before.scopes:
            assert after.ttl_s <= before.ttl_s


@settings(deadline=None)
@given(grants(), asks, catalogued, limits)
def test_everything_wanted_is_granted_or_withheld_with_a_reason(
    of: Grant, ask: TokenAsk, scopes: dict[str, CataloguedScope], general: Limits
) -> None:
    decision = decide(of, ask, Catalogue(general, scopes), NOW)
    if isinstance(decision, Allowed) and ask.scopes is not None:
        assert {*decision.scopes, *(each.scope for each in decision.withheld)} == set(ask.scopes)
        assert not set(decision.scopes) & {each.scope for each in decision.withheld}
        assert all(each.why for each in decision.withheld)


@settings(deadline=None)
@given(grants(), asks, catalogued, limits)
def test_the_same_question_has_the_same_answer(
    of: Grant, ask: TokenAsk, scopes: dict[str, CataloguedScope], general: Limits
) -> None:
    catalogue = Catalogue(general, scopes)
    assert decide(of, ask, catalogue, NOW) == decide(of, ask, catalogue, NOW)
