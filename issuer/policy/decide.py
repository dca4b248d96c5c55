"""What a request gets: the one place that says what a token may be. Fails closed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from issuer.failures import Failure
from issuer.model.durations import SHORTEST_S
from issuer.model.scopes import ADMIN_AUDIENCE, RESERVED_SCOPE_PREFIX, SYSTEM_NAMESPACE
from issuer.policy.catalogue import OPENID, Catalogue
from issuer.policy.governed import Because, Becauses, Governed
from issuer.protocol.grants import TokenAsk


@dataclass(frozen=True, slots=True)
class Withheld:
    """One scope the account holds and does not get. `by` policies withhold it, or `why` names what else does."""

    scope: str
    why: str
    by: Becauses = ()


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the token may say. `ttl_why` names what decided the lifetime, `ttl_by` the policies among it."""

    governed: Governed
    scopes: tuple[str, ...]
    audience: str
    ttl_s: int
    ttl_why: str
    ttl_by: Becauses = ()
    withheld: tuple[Withheld, ...] = ()


@dataclass(frozen=True, slots=True)
class Denied:
    """No token. `why` is for the record, never for the client; `by` are the policies that deny it."""

    failure: Failure
    why: str
    by: Becauses = ()
    withheld: tuple[Withheld, ...] = ()


Decision: TypeAlias = Allowed | Denied


def decide(governed: Governed, ask: TokenAsk, method: str, catalogue: Catalogue, now: float) -> Decision:
    """What a governed account gets for `ask`, proven by `method`, at `now` (POSIX seconds)."""
    refused = _refused_method(governed, method)
    if refused is not None:
        return refused
    audience = _audience(governed, ask, catalogue)
    if isinstance(audience, Denied):
        return audience
    strangers = [scope for scope in ask.scopes or () if scope not in governed.grant.scopes]
    if strangers:
        return Denied(Failure.SCOPE_NOT_HELD, f"{len(strangers)} of the scopes asked for are not the account's")
    wanted = ask.scopes if ask.scopes is not None else _default_scopes(governed, catalogue)
    withheld = tuple(_withheld(governed, wanted, audience, catalogue))
    gone = {each.scope for each in withheld}
    scopes = tuple(scope for scope in wanted if scope not in gone)
    if not scopes:
        return Denied(Failure.SCOPE_WITHHELD, "no scope is left", _all_by(withheld), withheld)
    forbidden = _forbidden(governed, withheld)
    if forbidden is not None:
        return forbidden
    # A scope that a policy withholds still shortens the lifetime: else adding a policy could lengthen it.
    bounding = (*scopes, *(each.scope for each in withheld if each.by))
    ttl_s, why, by = _ttl(governed, bounding, catalogue, now)
    if ttl_s < SHORTEST_S:
        return Denied(Failure.LIFETIME_TOO_SHORT, f"{why} leaves {ttl_s} s", by, withheld)
    return Allowed(governed, scopes, audience, ttl_s, why, by, withheld)


def is_refused_method(decision: Decision) -> bool:
    """Whether the credential was good and its method was not: then nobody was authenticated."""
    return isinstance(decision, Denied) and decision.failure is Failure.METHOD_NOT_ACCEPTED


def _refused_method(governed: Governed, method: str) -> Denied | None:
    if method not in governed.grant.methods:
        return Denied(Failure.METHOD_NOT_ACCEPTED, f"the account does not accept {method}")
    if method in governed.methods:
        return Denied(Failure.METHOD_NOT_ACCEPTED, f"policy withholds {method}", governed.methods[method])
    return None


def _audience(governed: Governed, ask: TokenAsk, catalogue: Catalogue) -> str | Denied:
    """The audience asked for, else the first.

    One that is withheld is refused, never replaced by the next: the client would get a token for somebody it did not mean.
    """
    held = governed.grant.audiences or (catalogue.limits.default_audience,)
    audience = ask.resource if ask.resource is not None else held[0]
    if audience not in held:
        return Denied(Failure.TARGET_NOT_HELD, "the resource is not among the account's audiences")
    if audience == ADMIN_AUDIENCE and governed.grant.namespace != SYSTEM_NAMESPACE:
        return Denied(Failure.TARGET_NOT_HELD, f"{ADMIN_AUDIENCE} works only in {SYSTEM_NAMESPACE}")
    if audience in governed.audiences:
        return Denied(Failure.TARGET_WITHHELD, "policy withholds the audience", governed.audiences[audience])
    return audience


def _forbidden(governed: Governed, withheld: tuple[Withheld, ...]) -> Denied | None:
    """What forbids any token, whatever is asked for."""
    if governed.demands:
        by = tuple(because for becauses in governed.demands.values() for because in becauses)
        why = f"sender constraint {' and '.join(governed.demands)} cannot be met yet"
        return Denied(Failure.SENDER_CONSTRAINT_UNMET, why, by, withheld)
    if governed.missing:
        by = tuple(because for becauses in governed.missing.values() for because in becauses)
        return Denied(Failure.CLAIM_MISSING, f"required and absent: {', '.join(governed.missing)}", by, withheld)
    return None


def _default_scopes(governed: Governed, catalogue: Catalogue) -> tuple[str, ...]:
    """What is asked for by asking for nothing. Never `openid`, never what destroys or cannot be had yet."""
    grant, entries = governed.grant, catalogue.scopes
    if grant.default_scopes is not None:
        return grant.default_scopes
    if not entries and OPENID not in grant.scopes:
        return grant.scopes
    return tuple(
        scope
        for scope in grant.scopes
        if scope != OPENID and ((entry := entries.get(scope)) is None or not (entry.destructive or entry.unmet))
    )


def _withheld(governed: Governed, wanted: tuple[str, ...], audience: str, catalogue: Catalogue) -> Iterable[Withheld]:
    for scope in wanted:
        entry = catalogue.scopes.get(scope)
        if scope.startswith(RESERVED_SCOPE_PREFIX) and governed.grant.namespace != SYSTEM_NAMESPACE:
            yield Withheld(scope, f"works only in {SYSTEM_NAMESPACE}")
        elif entry is not None and entry.audiences is not None and audience not in entry.audiences:
            yield Withheld(scope, f"Scope/{entry.name} audiences")
        elif entry is not None and entry.unmet is not None:
            yield Withheld(scope, f"Scope/{entry.name} {entry.unmet}")
        elif scope in governed.scopes:
            yield Withheld(scope, "policy", governed.scopes[scope])


def _ttl(governed: Governed, scopes: tuple[str, ...], catalogue: Catalogue, now: float) -> tuple[int, str, Becauses]:
    """The least of everything that bounds the lifetime, its name, and the policies that say so."""
    ttl_s, why, by = governed.ttl.value, governed.ttl.why, governed.ttl.by
    for scope in scopes:
        entry = catalogue.scopes.get(scope)
        if entry is not None and entry.max_ttl_s is not None and entry.max_ttl_s < ttl_s:
            ttl_s, why, by = entry.max_ttl_s, f"Scope/{entry.name} maxAccessTokenTTL", ()
    expires_at = governed.grant.expires_at
    if expires_at is not None and expires_at - now < ttl_s:
        ttl_s, why, by = int(expires_at - now), "expiresAt", ()
    return ttl_s, why, by


def _all_by(withheld: Iterable[Withheld]) -> tuple[Because, ...]:
    return tuple(dict.fromkeys(because for each in withheld for because in each.by))
