"""An account under every policy that reaches it: merged once, used by all its requests until a policy changes.

Each part remembers the policies that brought it about: `decide` needs only the result, `reasons` needs both.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from sys import intern
from typing import TypeAlias

from issuer.model.resource import Resource
from issuer.policy.catalogue import Catalogue
from issuer.policy.ceilings import Ceiling, Policies
from issuer.policy.grant import Grant, Rotation, compile_grant, frozen


@dataclass(frozen=True, slots=True)
class Because:
    """One policy and the field of it that has the effect."""

    policy: str
    field: str


Becauses: TypeAlias = tuple[Because, ...]


@dataclass(frozen=True, slots=True)
class Bound:
    """A number, what set it in a word, and the policies among it."""

    value: int
    why: str
    by: Becauses = ()


@dataclass(frozen=True, slots=True)
class Governed:
    """What is left of a grant. Mappings name what is withheld, and by whom; what they do not name is not.

    `ttl` is before scopes and `expiresAt` have their say. `demands`: sender constraints. `missing`: required claims that
    the account has no value for; with one of them there is no token. `recorded`: the policies with a say in any of this, as
    JSON of pairs with their revisions: the record of every decision names them, and nothing of it is computed twice.
    """

    grant: Grant
    reaching: tuple[Ceiling, ...]
    scopes: Mapping[str, Becauses]
    audiences: Mapping[str, Becauses]
    methods: Mapping[str, Becauses]
    claims: Mapping[str, str]
    withheld_claims: Mapping[str, Becauses]
    mapped_claims: Mapping[str, Becauses]
    missing: Mapping[str, Becauses]
    demands: Mapping[str, Becauses]
    ttl: Bound
    rate: Bound | None
    rotation: Rotation
    recorded: str

    @property
    def methods_left(self) -> tuple[str, ...]:
        """The account's client authentication methods that no policy withholds."""
        return tuple(method for method in self.grant.methods if method not in self.methods)


def govern(account: Resource, policies: Policies, catalogue: Catalogue) -> Governed:
    """The account, governed. Every ceiling is applied to the account's merged, current state (CVE-2026-18573)."""
    grant = compile_grant(account)
    reaching = policies.reaching(account)
    held = grant.audiences or (catalogue.limits.default_audience,)
    withheld_claims = _withheld(grant.claims, reaching, _claim_field)
    claims, mapped, missing = _merge_claims(account, grant, reaching, withheld_claims)
    scopes = _withheld(grant.scopes, reaching, lambda each, scope: _scope_field(each, scope, catalogue))
    audiences = _withheld(held, reaching, _audience_field)
    methods = _withheld(grant.methods, reaching, _method_field)
    demands, ttl, rate = _demands(reaching), _ttl(grant, reaching, catalogue), _rate(grant, reaching)
    effects = (scopes, audiences, methods, withheld_claims, mapped, missing, demands)
    bounds = (ttl.by, rate.by if rate is not None else ())
    return Governed(
        grant=grant,
        reaching=reaching,
        scopes=scopes,
        audiences=audiences,
        methods=methods,
        claims=frozen(claims),
        withheld_claims=withheld_claims,
        mapped_claims=frozen(mapped),
        missing=frozen(missing),
        demands=demands,
        ttl=ttl,
        rate=rate,
        rotation=_rotation(grant.rotation, reaching),
        recorded=_recorded(reaching, chain(bounds, *(effect.values() for effect in effects))),
    )


def _recorded(reaching: tuple[Ceiling, ...], said: Iterable[Becauses]) -> str:
    """The policies with a say, in the order in which they reach the account."""
    speaking = {because.policy for becauses in said for because in becauses}
    if not speaking:
        return "[]"
    pairs = [(each.ref, each.revision) for each in reaching if each.ref in speaking]
    return intern(json.dumps(pairs, separators=(",", ":")))


def _withheld(
    values: Iterable[str], reaching: tuple[Ceiling, ...], field_of: Callable[[Ceiling, str], str | None]
) -> Mapping[str, Becauses]:
    """The values some policy withholds, each with every policy that does."""
    found = {
        value: tuple(Because(each.ref, field) for each in reaching if (field := field_of(each, value)) is not None)
        for value in values
    }
    return frozen({value: because for value, because in found.items() if because})


def _scope_field(ceiling: Ceiling, scope: str, catalogue: Catalogue) -> str | None:
    found = ceiling.scopes.withholds(scope)
    if found is not None:
        return f"scopes.{found}"
    if ceiling.require_registered_scopes and not catalogue.registers(scope):
        return "requireRegisteredScopes"
    return None


def _audience_field(ceiling: Ceiling, audience: str) -> str | None:
    withheld = ceiling.audiences is not None and audience not in ceiling.audiences
    return "audiences.allowed" if withheld else None


def _method_field(ceiling: Ceiling, method: str) -> str | None:
    withheld = ceiling.methods is not None and method not in ceiling.methods
    return "clientAuthentication.allowedMethods" if withheld else None


def _claim_field(ceiling: Ceiling, claim: str) -> str | None:
    found = ceiling.claims.withholds(claim)
    return f"claims.{found}" if found is not None else None


def _merge_claims(
    account: Resource, grant: Grant, reaching: tuple[Ceiling, ...], withheld: Mapping[str, Becauses]
) -> tuple[dict[str, str], dict[str, Becauses], dict[str, Becauses]]:
    """Later wins: cluster-wide mappings by policy name, the namespace's by policy name, the account's own claims."""
    claims: dict[str, str] = {}
    mapped: dict[str, Becauses] = {}
    missing: dict[str, Becauses] = {}
    for ceiling in reaching:
        for mapping in ceiling.mappings:
            because = Because(ceiling.ref, f"claimMappings[{mapping.claim}]")
            value = mapping.read(account)
            if value is not None:
                same = claims.get(mapping.claim) == value
                mapped[mapping.claim] = (*mapped[mapping.claim], because) if same else (because,)
                claims[mapping.claim] = value
            elif mapping.required:
                missing[mapping.claim] = (*missing.get(mapping.claim, ()), because)
    for claim, value in grant.claims.items():
        if claim not in withheld:
            claims[claim] = value
            mapped.pop(claim, None)
    return claims, mapped, {claim: because for claim, because in missing.items() if claim not in claims}


def _demands(reaching: tuple[Ceiling, ...]) -> Mapping[str, Becauses]:
    """Sender constraints add up: `dpop` and `mtls` together want both."""
    wanted = sorted({each.sender_constraint for each in reaching} - {"none"})
    return frozen(
        {
            constraint: tuple(
                Because(each.ref, "senderConstraint") for each in reaching if each.sender_constraint == constraint
            )
            for constraint in wanted
        }
    )


def _ttl(grant: Grant, reaching: tuple[Ceiling, ...], catalogue: Catalogue) -> Bound:
    """The account's own, else the default of the nearest level that has one; then the least maximum."""
    field = "tokenSettings.maxAccessTokenTTL"
    wished = Bound(grant.ttl_s, "accessTokenTTL") if grant.ttl_s is not None else _default_ttl(reaching, catalogue)
    ttl = _lesser(wished, _least((each.max_ttl_s, Because(each.ref, field)) for each in reaching))
    return _lesser(ttl, Bound(catalogue.limits.max_ttl_s, "server maximum"))


def _default_ttl(reaching: tuple[Ceiling, ...], catalogue: Catalogue) -> Bound:
    """The nearest level's, with every farther level that says the same: without one of them nothing would change."""
    field = "tokenSettings.defaultAccessTokenTTL"
    bound = Bound(catalogue.limits.default_ttl_s, "server default")
    for namespaced in (False, True):
        level = (each for each in reaching if bool(each.namespace) is namespaced)
        nearer = _least((each.default_ttl_s, Because(each.ref, field)) for each in level)
        if nearer is not None:
            bound = replace(nearer, by=(*nearer.by, *bound.by)) if nearer.value == bound.value else nearer
    return bound


def _rate(grant: Grant, reaching: tuple[Ceiling, ...]) -> Bound | None:
    own = grant.max_tokens_per_minute
    field = "tokenSettings.maxTokensPerMinute"
    least = _least((each.max_tokens_per_minute, Because(each.ref, field)) for each in reaching)
    return _lesser(Bound(own, "maxTokensPerMinute"), least) if own is not None else least


def _least(candidates: Iterable[tuple[int | None, Because]]) -> Bound | None:
    """The least value and everyone who says it; None when nobody says any."""
    given = [(value, because) for value, because in candidates if value is not None]
    if not given:
        return None
    least = min(value for value, _ in given)
    return Bound(least, "policy", tuple(because for value, because in given if value == least))


def _lesser(bound: Bound, other: Bound | None) -> Bound:
    """The smaller one. Of two that say the same the first stands, policies of both are named."""
    if other is None or bound.value < other.value:
        return bound
    if other.value < bound.value:
        return other
    return replace(bound, by=(*bound.by, *other.by)) if bound.by else bound


def _rotation(own: Rotation, reaching: tuple[Ceiling, ...]) -> Rotation:
    def given(values: Iterable[int | None]) -> list[int]:
        return [value for value in values if value is not None]

    interval = min([own.interval_days, *given(each.max_interval_days for each in reaching)])
    max_graces = given(each.max_grace_period_hours for each in reaching)
    return Rotation(
        enabled=own.enabled or any(each.rotation_required for each in reaching),
        interval_days=interval,
        # Grace stays shorter than the interval, whatever was clamped to what.
        grace_period_hours=min([own.grace_period_hours, interval * 24 - 1, *max_graces]),
        max_grace_period_hours=min(max_graces, default=None),
        max_hold_hours=min(given(each.max_hold_hours for each in reaching), default=None),
    )
