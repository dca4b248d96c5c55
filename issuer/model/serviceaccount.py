"""ServiceAccount: a namespaced, non-human identity, and the status that tells its driver what to do next."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from issuer.model.claims import (
    AUTHORIZATION_CLAIMS,
    MAX_CLAIM_NAME_CHARACTERS,
    MAX_CLAIMS_BYTES,
    is_reserved_claim,
)
from issuer.model.conditions import merge_conditions
from issuer.model.durations import Duration
from issuer.model.metadata import Name, Written, context_of, is_dns_subdomain
from issuer.model.resource import Resource
from issuer.model.scopes import (
    ADMIN_AUDIENCE,
    ADMIN_READ_SCOPE,
    ADMIN_SCOPE,
    RESERVED_SCOPE_PREFIX,
    SYSTEM_NAMESPACE,
    Audience,
    LongText,
    ScopeToken,
    ShortText,
    without_repeats,
)
from issuer.model.times import Time, format_time, parse_time

LONGEST_NAME = 237
"""Leaves room for the suffixes a driver appends (`-sa-credentials`)."""

DRIVER_CONDITIONS = frozenset({"ConfigProvisioned"})
ISSUER_CONDITIONS = frozenset({"Ready", "CredentialsProvisioned"})

DEFAULT_METHODS = ("client_secret_basic", "client_secret_post")
SECRET_METHODS = frozenset(DEFAULT_METHODS)

_SUFFIXES = {"display_name": "", "credentials_secret_name": "-sa-credentials", "config_map_name": "-sa-config"}


def _dns_name(value: str) -> str:
    if not is_dns_subdomain(value):
        raise PydanticCustomError("name", "must be a DNS-1123 name: lower case letters, digits, '-' and '.'")
    return value


def _claim_name(name: str) -> str:
    if not 0 < len(name) <= MAX_CLAIM_NAME_CHARACTERS:
        raise PydanticCustomError("claim", "a claim name has 1 to 256 characters")
    if is_reserved_claim(name):
        raise PydanticCustomError("forbidden", "the claim {name} is reserved for the issuer", {"name": name})
    if name in AUTHORIZATION_CLAIMS:
        raise PydanticCustomError(
            "forbidden", "the claim {name} may come only from a ClusterAuthPolicy", {"name": name}
        )
    return name


def _claims_fit(claims: dict[str, str]) -> dict[str, str]:
    if sum(len(name.encode()) + len(value.encode()) for name, value in claims.items()) > MAX_CLAIMS_BYTES:
        raise PydanticCustomError("string_too_long", "all claims together are limited to 4 KiB")
    return claims


def _scope_in_reach(scope: str, info: ValidationInfo) -> str:
    if "*" in scope:
        raise PydanticCustomError("scope", "list exact scopes; wildcards belong into policies")
    if scope.startswith(RESERVED_SCOPE_PREFIX):
        if context_of(info).namespace != SYSTEM_NAMESPACE:
            raise PydanticCustomError(
                "forbidden", f"{RESERVED_SCOPE_PREFIX}… scopes work only for accounts in {SYSTEM_NAMESPACE}"
            )
        if scope not in {ADMIN_SCOPE, ADMIN_READ_SCOPE}:
            raise PydanticCustomError(
                "enum", f"of {RESERVED_SCOPE_PREFIX}… only {ADMIN_SCOPE} and {ADMIN_READ_SCOPE} exist"
            )
    return scope


def _audience_in_reach(audience: str, info: ValidationInfo) -> str:
    if audience == ADMIN_AUDIENCE and context_of(info).namespace != SYSTEM_NAMESPACE:
        raise PydanticCustomError("forbidden", f"{ADMIN_AUDIENCE} works only for accounts in {SYSTEM_NAMESPACE}")
    return audience


# Checked one by one, so that every bad entry is named by its place.
ClaimName = Annotated[str, AfterValidator(_claim_name)]
HeldScope = Annotated[ScopeToken, AfterValidator(_scope_in_reach)]
HeldAudience = Annotated[Audience, AfterValidator(_audience_in_reach)]


class TokenSettings(Written):
    """Wishes about tokens; ceilings clamp them."""

    access_token_ttl: Duration | None = Field(default=None, alias="accessTokenTTL")
    max_tokens_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class CredentialRotation(Written):
    """Automatic rotation of the client secret, old and new accepted side by side for the grace period."""

    enabled: bool = False
    interval_days: Annotated[int, Field(ge=1, le=3650)] = 90
    grace_period_hours: Annotated[int, Field(ge=0, le=8760)] = 24

    @model_validator(mode="before")
    @classmethod
    def _with_its_grace(cls, value: Any) -> Any:
        """The default grace stands there as if written: checked like it, and a fault named like its (CVE-2026-18570)."""
        default = cls.model_fields["grace_period_hours"].default
        return {"gracePeriodHours": default, **value} if isinstance(value, dict) else value

    @field_validator("grace_period_hours")
    @classmethod
    def _shorter_than_the_interval(cls, hours: int, info: ValidationInfo) -> int:
        days = info.data.get("interval_days")
        if days is not None and hours >= days * 24:
            raise PydanticCustomError("grace", "must be shorter than intervalDays")
        return hours


class Authentication(Written):
    """How the account may prove itself: rows of the table of client authentication methods."""

    methods: Annotated[list[str], Field(min_length=1, max_length=16), AfterValidator(without_repeats)] = list(
        DEFAULT_METHODS
    )

    @field_validator("methods")
    @classmethod
    def _have_a_row(cls, methods: list[str], info: ValidationInfo) -> list[str]:
        known = context_of(info).methods
        missing = [method for method in methods if method not in known]
        if missing:
            raise PydanticCustomError(
                "enum",
                "{missing}: no such client authentication method here; supported: {known}",
                {"missing": ", ".join(missing), "known": ", ".join(sorted(known))},
            )
        return methods


class ManagedBy(Written):
    """The driver's own object this account is made from."""

    cluster: ShortText
    namespace: ShortText
    name: ShortText
    uid: ShortText


class ServiceAccountSpec(Written):
    """Everything an administrator decides about one account."""

    display_name: Annotated[str, StringConstraints(max_length=253)] = ""
    owner: ShortText | None = None
    purpose: LongText | None = None
    review_by: Time | None = None
    usage: (
        Literal["inference", "evaluation", "tool-execution", "retrieval", "batch", "administration", "service"] | None
    ) = None
    justification: LongText | None = None
    type: Literal["service", "agent", "ci"] = "service"
    disabled: bool = False
    expires_at: Time | None = None
    scopes: Annotated[list[HeldScope], Field(min_length=1, max_length=1000), AfterValidator(without_repeats)]
    default_scopes: Annotated[list[ScopeToken], Field(max_length=1000), AfterValidator(without_repeats)] | None = None
    audiences: (
        Annotated[list[HeldAudience], Field(min_length=1, max_length=100), AfterValidator(without_repeats)] | None
    ) = None
    token_settings: TokenSettings | None = None
    claims: Annotated[dict[ClaimName, str], AfterValidator(_claims_fit)] = {}
    credential_rotation: CredentialRotation = CredentialRotation()
    credentials_secret_name: Annotated[Name, AfterValidator(_dns_name)] = ""
    config_map_name: Annotated[Name, AfterValidator(_dns_name)] = ""
    authentication: Authentication = Authentication.model_construct()
    managed_by: ManagedBy | None = None

    @field_validator("display_name", "credentials_secret_name", "config_map_name", mode="wrap")
    @classmethod
    def _named_after_the_resource(cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        """A default is not checked itself: a fault of the resource's name is one fault, and stands at `metadata.name`."""
        if value is None or value == "":
            return context_of(info).name + _SUFFIXES[info.field_name or ""]
        return handler(value)

    @field_validator("justification")
    @classmethod
    def _system_accounts_say_why(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and context_of(info).namespace == SYSTEM_NAMESPACE:
            raise PydanticCustomError("missing", f"every account in {SYSTEM_NAMESPACE} must say why it exists")
        return value

    @field_validator("default_scopes")
    @classmethod
    def _within_scopes(cls, defaults: list[str] | None, info: ValidationInfo) -> list[str] | None:
        held = info.data.get("scopes")
        if defaults is not None and held is not None:
            strangers = [scope for scope in defaults if scope not in held]
            if strangers:
                raise PydanticCustomError("scope", "not among scopes: {strangers}", {"strangers": ", ".join(strangers)})
        return defaults


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the secret versions of an account mean for its status."""

    usable: bool
    """Some version was acknowledged or used, or the account needs no secret."""
    awaiting: bool
    """The newest version was not acknowledged yet."""
    rotated_at: datetime | None
    """When the newest version was made."""


def accepts_a_secret(spec: Mapping[str, Any]) -> bool:
    """Whether the account has secret versions at all."""
    return not SECRET_METHODS.isdisjoint(spec["authentication"]["methods"])


def phase_of(account: Resource, *, usable: bool, now: datetime) -> str:
    """The first that holds: Terminating, Disabled, Expired, Pending, Active (DESIGN section 3)."""
    if account.deleted_at is not None:
        return "Terminating"
    if account.spec["disabled"]:
        return "Disabled"
    if is_expired(account, now):
        return "Expired"
    return "Active" if usable else "Pending"


def is_expired(account: Resource, now: datetime) -> bool:
    """Whether `expiresAt` has come."""
    expires_at = account.spec.get("expiresAt")
    return expires_at is not None and parse_time(expires_at) <= now


def status_of(account: Resource, delivery: Delivery, interval_s: float | None, now: datetime) -> dict[str, Any]:
    """The stored status after a write: the issuer's part from facts, the driver's conditions as they were.

    `interval_s`: the effective interval of automatic rotation, None where that is off.
    """
    phase = phase_of(account, usable=delivery.usable, now=now)
    status: dict[str, Any] = {
        "clientId": account.client_id,
        "ready": phase == "Active",
        "phase": phase,
        "observedGeneration": account.generation,
    }
    if delivery.rotated_at is not None:
        status["lastCredentialRotation"] = format_time(delivery.rotated_at)
        if interval_s is not None:
            due = delivery.rotated_at + timedelta(seconds=interval_s)
            status["nextCredentialRotation"] = format_time(due)
    conditions = merge_conditions(account.status.get("conditions", ()), _issuer_conditions(phase, delivery), now)
    if not account.status:
        unknown = {"type": "ConfigProvisioned", "status": "Unknown", "reason": "NoDriver"}
        conditions = merge_conditions(conditions, [unknown], now)
    status["conditions"] = conditions
    return status


def _issuer_conditions(phase: str, delivery: Delivery) -> list[dict[str, Any]]:
    return [
        {
            "type": "Ready",
            "status": "True" if phase == "Active" else "False",
            "reason": "ServiceAccountRegistered" if phase == "Active" else phase,
        },
        {
            "type": "CredentialsProvisioned",
            "status": "False" if delivery.awaiting else "True",
            "reason": "AwaitingDelivery" if delivery.awaiting else "SecretCreated",
        },
    ]


def as_seen_at(account: Resource, now: datetime) -> Resource:
    """The account as a reader sees it: `Expired` holds from its moment on, whoever wrote the status last."""
    if account.status.get("phase") not in {"Pending", "Active"} or not is_expired(account, now):
        return account
    expired = {"type": "Ready", "status": "False", "reason": "Expired", "lastTransitionTime": account.spec["expiresAt"]}
    conditions = merge_conditions(account.status["conditions"], [expired], now)
    return account.with_status({**account.status, "phase": "Expired", "ready": False, "conditions": conditions})
