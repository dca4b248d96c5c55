"""What every decision is made under, whatever the account: catalogued scopes and the server's limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from issuer.model.durations import parse_duration_s
from issuer.model.scopes import RESERVED_SCOPE_PREFIX

OPENID = "openid"


@dataclass(frozen=True, slots=True)
class CataloguedScope:
    """A Scope resource as decisions need it.

    `audiences` None: granted for any. `unmet`: a requirement no request can meet yet, so the scope is withheld.
    """

    name: str
    audiences: frozenset[str] | None
    destructive: bool
    max_ttl_s: int | None
    unmet: str | None


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for every account of this server."""

    default_audience: str
    default_ttl_s: int
    max_ttl_s: int


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Scopes by scope token, and the limits."""

    limits: Limits
    scopes: Mapping[str, CataloguedScope] = field(default_factory=lambda: MappingProxyType({}))

    def registers(self, scope: str) -> bool:
        """Whether the scope is known here: catalogued, or one of the protocol's and the issuer's own."""
        return scope in self.scopes or scope == OPENID or scope.startswith(RESERVED_SCOPE_PREFIX)


def compile_scope(name: str, spec: Mapping[str, Any]) -> CataloguedScope:
    """The catalogue entry of a checked Scope spec."""
    audiences, ttl, requires = spec.get("audiences"), spec.get("maxAccessTokenTTL"), spec["requires"]
    unmet = None
    if requires["approval"]:
        unmet = "requires.approval"
    elif requires["senderConstraint"] != "none":
        unmet = "requires.senderConstraint"
    return CataloguedScope(
        name=name,
        audiences=frozenset(audiences) if audiences is not None else None,
        destructive=spec["risk"] == "destructive",
        max_ttl_s=parse_duration_s(ttl) if ttl else None,
        unmet=unmet,
    )
