"""What a request is granted, and why: `compile_*` once, `decide` at every issuance (DESIGN section 3, "How they combine").

Pure. The account's own spec is the grant; everything else only takes away. Ceilings of AuthPolicy and ClusterAuthPolicy are
to join the catalogue here: `decide` stays the one place that says what a token may be. A decision is returned, never
raised, because its reasons are data for the record and for the caller of `explain`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

from issuer.failures import Failure
from issuer.model.durations import SHORTEST_S, parse_duration_s
from issuer.model.resource import Resource
from issuer.model.scopes import ADMIN_AUDIENCE, RESERVED_SCOPE_PREFIX, SYSTEM_NAMESPACE
from issuer.model.times import parse_time
from issuer.protocol.grants import TokenAsk

OPENID = "openid"


@dataclass(frozen=True, slots=True)
class Grant:
    """An account's spec in the form decisions are made on. Instants are POSIX seconds."""

    uid: str
    client_id: str
    namespace: str
    name: str
    type: str
    scopes: tuple[str, ...]
    default_scopes: tuple[str, ...] | None
    audiences: tuple[str, ...]
    ttl_s: int | None
    expires_at: float | None
    claims: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CataloguedScope:
    """A Scope resource as decisions need it. `audiences` None: granted for any."""

    audiences: frozenset[str] | None
    destructive: bool
    max_ttl_s: int | None
    unmet: str | None
    """A requirement no request can meet yet: the scope is withheld."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for every account of this server."""

    default_audience: str
    default_ttl_s: int
    max_ttl_s: int


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything a decision is made by beside the account and the request."""

    limits: Limits
    scopes: Mapping[str, CataloguedScope] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Withheld:
    """One scope the account holds and does not get, and what withheld it."""

    scope: str
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the token may say. `ttl_bound_by` names what decided the lifetime."""

    grant: Grant
    scopes: tuple[str, ...]
    audience: str
    ttl_s: int
    ttl_bound_by: str
    withheld: tuple[Withheld, ...] = ()


@dataclass(frozen=True, slots=True)
class Denied:
    """No token; `why` is for the record."""

    failure: Failure
    why: str
    withheld: tuple[Withheld, ...] = ()


Decision: TypeAlias = Allowed | Denied


def compile_grant(account: Resource) -> Grant:
    """The grant of an account's checked spec. `scopes` is all it may have, whatever `defaultScopes` came to say."""
    spec = account.spec
    settings: Mapping[str, Any] = spec.get("tokenSettings") or {}
    ttl, expires_at = settings.get("accessTokenTTL"), spec.get("expiresAt")
    defaults, held = spec.get("defaultScopes"), frozenset(spec["scopes"])
    return Grant(
        uid=str(account.uid),
        client_id=account.client_id,
        namespace=account.namespace,
        name=account.name,
        type=spec["type"],
        scopes=tuple(spec["scopes"]),
        default_scopes=tuple(scope for scope in defaults if scope in held) if defaults is not None else None,
        audiences=tuple(spec.get("audiences") or ()),
        ttl_s=parse_duration_s(ttl) if ttl else None,
        expires_at=parse_time(expires_at).timestamp() if expires_at else None,
        claims=MappingProxyType(dict(spec["claims"])),
    )


def compile_scope(spec: Mapping[str, Any]) -> CataloguedScope:
    """The catalogue entry of a checked Scope spec."""
    audiences, ttl, requires = spec.get("audiences"), spec.get("maxAccessTokenTTL"), spec["requires"]
    unmet = (
        "requires.approval"
        if requires["approval"]
        else "requires.senderConstraint"
        if requires["senderConstraint"] != "none"
        else None
    )
    return CataloguedScope(
        audiences=frozenset(audiences) if audiences is not None else None,
        destructive=spec["risk"] == "destructive",
        max_ttl_s=parse_duration_s(ttl) if ttl else None,
        unmet=unmet,
    )


def decide(grant: Grant, ask: TokenAsk, catalogue: Catalogue, now: float) -> Decision:
    """What `grant` gets for `ask` at `now` (POSIX seconds). Fails closed: whatever is not granted is withheld."""
    audience = _audience(grant, ask, catalogue.limits)
    if audience is None:
        return Denied(Failure.TARGET_NOT_HELD, "the resource is not among the account's audiences")
    if audience == ADMIN_AUDIENCE and grant.namespace != SYSTEM_NAMESPACE:
        return Denied(Failure.TARGET_NOT_HELD, f"{ADMIN_AUDIENCE} works only in {SYSTEM_NAMESPACE}")

    if ask.scopes is not None:
        strangers = [scope for scope in ask.scopes if scope not in grant.scopes]
        if strangers:
            return Denied(Failure.SCOPE_NOT_HELD, f"{len(strangers)} of the scopes asked for are not the account's")
        wanted = ask.scopes
    else:
        wanted = _default_scopes(grant, catalogue)
    scopes, withheld = _withhold(grant, wanted, audience, catalogue)
    if not scopes:
        return Denied(Failure.SCOPE_WITHHELD, "no scope is left", withheld)

    ttl_s, bound_by = _ttl(grant, scopes, catalogue, now)
    if ttl_s < SHORTEST_S:
        return Denied(Failure.LIFETIME_TOO_SHORT, f"{bound_by} leaves {ttl_s} s", withheld)
    return Allowed(grant, scopes, audience, ttl_s, bound_by, withheld)


def _audience(grant: Grant, ask: TokenAsk, limits: Limits) -> str | None:
    if ask.resource is None:
        return grant.audiences[0] if grant.audiences else limits.default_audience
    held = ask.resource in grant.audiences if grant.audiences else ask.resource == limits.default_audience
    return ask.resource if held else None


def _default_scopes(grant: Grant, catalogue: Catalogue) -> tuple[str, ...]:
    """What is asked for by asking for nothing. Never `openid`, never what destroys (DESIGN section 3)."""
    if grant.default_scopes is not None:
        return grant.default_scopes
    entries = catalogue.scopes
    return tuple(
        scope
        for scope in grant.scopes
        if scope != OPENID and ((entry := entries.get(scope)) is None or not (entry.destructive or entry.unmet))
    )


def _withhold(
    grant: Grant, wanted: tuple[str, ...], audience: str, catalogue: Catalogue
) -> tuple[tuple[str, ...], tuple[Withheld, ...]]:
    withheld = []
    for scope in wanted:
        entry = catalogue.scopes.get(scope)
        if scope.startswith(RESERVED_SCOPE_PREFIX) and grant.namespace != SYSTEM_NAMESPACE:
            withheld.append(Withheld(scope, "server", f"works only in {SYSTEM_NAMESPACE}"))
        elif entry is None:
            continue
        elif entry.audiences is not None and audience not in entry.audiences:
            withheld.append(Withheld(scope, f"Scope {scope}", "audiences"))
        elif entry.unmet is not None:
            withheld.append(Withheld(scope, f"Scope {scope}", entry.unmet))
    if not withheld:
        return wanted, ()
    refused = {each.scope for each in withheld}
    return tuple(scope for scope in wanted if scope not in refused), tuple(withheld)


def _ttl(grant: Grant, scopes: tuple[str, ...], catalogue: Catalogue, now: float) -> tuple[int, str]:
    """The least of everything that bounds the lifetime, and its name."""
    limits = catalogue.limits
    ttl_s, bound_by = (
        (grant.ttl_s, "accessTokenTTL") if grant.ttl_s is not None else (limits.default_ttl_s, "server default")
    )
    if limits.max_ttl_s < ttl_s:
        ttl_s, bound_by = limits.max_ttl_s, "server maximum"
    for scope in scopes:
        entry = catalogue.scopes.get(scope)
        if entry is not None and entry.max_ttl_s is not None and entry.max_ttl_s < ttl_s:
            ttl_s, bound_by = entry.max_ttl_s, f"Scope {scope} maxAccessTokenTTL"
    if grant.expires_at is not None and grant.expires_at - now < ttl_s:
        ttl_s, bound_by = int(grant.expires_at - now), "expiresAt"
    return ttl_s, bound_by
