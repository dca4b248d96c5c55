"""What an account's own spec grants, in the form decisions are made on."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeVar

from issuer.model.claims import AUTHORIZATION_CLAIMS, is_reserved_claim
from issuer.model.durations import parse_duration_s
from issuer.model.resource import Resource
from issuer.model.times import parse_time

_Value = TypeVar("_Value")
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Grant:
    """The ungoverned grant. Instants are POSIX seconds; `audiences` empty: the server's default one."""

    uid: str
    client_id: str
    namespace: str
    name: str
    type: str
    scopes: tuple[str, ...]
    default_scopes: tuple[str, ...] | None
    audiences: tuple[str, ...]
    methods: tuple[str, ...]
    ttl_s: int | None
    max_tokens_per_minute: int | None
    expires_at: float | None
    claims: Mapping[str, str]
    rotation: "Rotation"


@dataclass(frozen=True, slots=True)
class Rotation:
    """Settings of secret rotation, in a resource's days and hours. The maxima come from policies only."""

    enabled: bool
    interval_days: int
    grace_period_hours: int
    max_grace_period_hours: int | None = None
    max_hold_hours: int | None = None


def compile_grant(account: Resource) -> Grant:
    """The grant of an account's checked spec. `scopes` is all it may have, whatever `defaultScopes` came to say."""
    spec = account.spec
    settings: Mapping[str, Any] = spec.get("tokenSettings") or {}
    ttl, expires_at, defaults = settings.get("accessTokenTTL"), spec.get("expiresAt"), spec.get("defaultScopes")
    held, rotation = frozenset(spec["scopes"]), spec["credentialRotation"]
    return Grant(
        uid=str(account.uid),
        client_id=account.client_id,
        namespace=account.namespace,
        name=account.name,
        type=spec["type"],
        scopes=tuple(spec["scopes"]),
        default_scopes=tuple(scope for scope in defaults if scope in held) if defaults is not None else None,
        audiences=tuple(spec.get("audiences") or ()),
        methods=tuple(spec["authentication"]["methods"]),
        ttl_s=parse_duration_s(ttl) if ttl else None,
        max_tokens_per_minute=settings.get("maxTokensPerMinute"),
        expires_at=parse_time(expires_at).timestamp() if expires_at else None,
        claims=frozen({name: value for name, value in spec["claims"].items() if _may_write(name)}),
        rotation=Rotation(rotation["enabled"], rotation["intervalDays"], rotation["gracePeriodHours"]),
    )


def frozen(values: dict[str, _Value]) -> Mapping[str, _Value]:
    """The same values, unchangeable. All empty ones are one: most accounts have many, and there are many accounts."""
    return MappingProxyType(values) if values else _NOTHING


def _may_write(claim: str) -> bool:
    """Checked when written; again here, since a name may have become reserved after it was stored."""
    return not is_reserved_claim(claim) and claim not in AUTHORIZATION_CLAIMS
