"""ServiceAccount: a namespaced, non-human identity, and the status that tells its driver what to do next."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
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

from issuer.model.claims import Claims
from issuer.model.conditions import merge_conditions
from issuer.model.durations import Duration
from issuer.model.metadata import DNS_SUBDOMAIN, Name, Written, context_of, is_dns_subdomain
from issuer.model.resource import Resource
from issuer.model.scopes import (
    SYSTEM_NAMESPACE,
    HeldAudience,
    HeldScope,
    LongText,
    ScopeToken,
    ShortText,
    without_repeats,
)
from issuer.model.shapes import UNIQUE, shaped
from issuer.model.times import Time, format_time, parse_time

LONGEST_NAME = 237
"""Leaves room for the suffixes a driver appends (`-sa-credentials`)."""

DRIVER_CONDITIONS = frozenset({"ConfigProvisioned"})
ISSUER_CONDITIONS = frozenset({"Ready", "CredentialsProvisioned"})

DEFAULT_METHODS = ("client_secret_basic", "client_secret_post")
SECRET_METHODS = frozenset(DEFAULT_METHODS)

_LIVING = frozenset({"Pending", "Active"})
"""Phases in which tokens leave, and secrets are rotated."""

_SUFFIXES = {"display_name": "", "credentials_secret_name": "-sa-credentials", "config_map_name": "-sa-config"}


def _dns_name(value: str) -> str:
    if not is_dns_subdomain(value):
        raise PydanticCustomError("name", "must be a DNS-1123 name: lower case letters, digits, '-' and '.'")
    return value


# `null` and an empty text mean the default too, which is the resource's name and a suffix.
_NameOrDefault = Annotated[
    Name, AfterValidator(_dns_name), shaped(rf"^(?:{DNS_SUBDOMAIN.pattern})?$", longest=253, or_null=True)
]


class TokenSettings(Written):
    """Wishes about tokens; ceilings clamp them."""

    access_token_ttl: Duration | None = Field(default=None, alias="accessTokenTTL")
    """How long its tokens live, from 10s to 24h; the policies' or the server's default when left out."""
    max_tokens_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """More than these in a minute are answered with 429 and `Retry-After`. Each process counts for itself."""


class CredentialRotation(Written):
    """Automatic rotation of the client secret, old and new accepted side by side for the grace period."""

    enabled: bool = False
    """Whether the issuer makes a new secret by itself."""
    interval_days: Annotated[int, Field(ge=1, le=3650)] = 90
    """How long after the newest secret was made the next one is."""
    grace_period_hours: Annotated[int, Field(ge=0, le=8760)] = 24
    """How long the previous secret is still accepted once the new one is acknowledged or used; less than the interval."""

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

    methods: Annotated[list[str], Field(min_length=1, max_length=16), AfterValidator(without_repeats), UNIQUE] = list(
        DEFAULT_METHODS
    )
    """Client authentication methods that are accepted, out of those this issuer has."""

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
    """Where the driver runs."""
    namespace: ShortText
    """The namespace of its object there."""
    name: ShortText
    """The name of its object there."""
    uid: ShortText
    """The uid of its object there: what `?managedBy=` must say."""


class ServiceAccountSpec(Written):
    """A non-human identity: who it is, what its tokens may say, and how it proves itself."""

    display_name: Annotated[str, StringConstraints(max_length=253), shaped(longest=253, or_null=True)] = ""
    """What people call it, in audit records and lists; the resource's name when left out."""
    owner: ShortText | None = None
    """Who answers for it."""
    purpose: LongText | None = None
    """Why it exists."""
    review_by: Time | None = None
    """When somebody should look at it again."""
    usage: (
        Literal["inference", "evaluation", "tool-execution", "retrieval", "batch", "administration", "service"] | None
    ) = None
    """What kind of work it does."""
    justification: LongText | None = None
    """Why it may do what it may. Required in `issuer-system`, whose accounts administrate the issuer."""
    type: Literal["service", "agent", "ci"] = "service"
    """Stands in every token, so that resource servers can tell agents from services."""
    disabled: bool = False
    """No token from now on, and the tokens it has are refused by the admin API."""
    expires_at: Time | None = None
    """No token from then on, and none that lives longer."""
    scopes: Annotated[list[HeldScope], Field(min_length=1, max_length=1000), AfterValidator(without_repeats), UNIQUE]
    """The scopes it may ask for: exact scope tokens, without wildcards. `issuer:…` only in `issuer-system`."""
    default_scopes: (
        Annotated[list[ScopeToken], Field(max_length=1000), AfterValidator(without_repeats), UNIQUE] | None
    ) = None
    """What a request without `scope` gets, out of `scopes`; all but `openid`, destructive ones and those that require
    more than a secret when left out."""
    audiences: (
        Annotated[list[HeldAudience], Field(min_length=1, max_length=100), AfterValidator(without_repeats), UNIQUE]
        | None
    ) = None
    """The resource servers its tokens may be for (`resource`, `aud`); the first is the default. The server's default
    audience when left out."""
    token_settings: TokenSettings | None = None
    """Lifetime and rate of its tokens."""
    claims: Claims = {}
    """Claims that stand in every token as they are here; at most 4 KiB in all, and none that the issuer writes itself."""
    credential_rotation: CredentialRotation = CredentialRotation()
    """Automatic rotation of its secret."""
    credentials_secret_name: _NameOrDefault = ""
    """What a Kubernetes driver calls the Secret it writes; `NAME-sa-credentials` when left out."""
    config_map_name: _NameOrDefault = ""
    """What a Kubernetes driver calls the ConfigMap it writes; `NAME-sa-config` when left out."""
    authentication: Authentication = Authentication.model_construct()
    """How it may prove itself."""
    managed_by: ManagedBy | None = None
    """The driver's own object it is made from. Writes that do not carry the same are refused with 409."""

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
    due_at: datetime | None = None
    """When the next one is due; none where none will be made by itself."""
    note: str | None = None
    """What the newest version waits for, in a sentence."""


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


def status_of(account: Resource, delivery: Delivery, now: datetime) -> dict[str, Any]:
    """The stored status after a write: the issuer's part from facts, the driver's conditions as they were."""
    phase = phase_of(account, usable=delivery.usable, now=now)
    status: dict[str, Any] = {
        "clientId": account.client_id,
        "ready": phase == "Active",
        "phase": phase,
        "observedGeneration": account.generation,
    }
    if delivery.rotated_at is not None:
        status["lastCredentialRotation"] = format_time(delivery.rotated_at)
        if delivery.due_at is not None and phase in _LIVING:
            status["nextCredentialRotation"] = format_time(delivery.due_at)
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
            "message": delivery.note,
        },
    ]


def as_seen_at(account: Resource, now: datetime) -> Resource:
    """The account as a reader sees it: `Expired` holds from its moment on, whoever wrote the status last."""
    if account.status.get("phase") not in _LIVING or not is_expired(account, now):
        return account
    expired = {"type": "Ready", "status": "False", "reason": "Expired", "lastTransitionTime": account.spec["expiresAt"]}
    conditions = merge_conditions(account.status["conditions"], [expired], now)
    status = {key: value for key, value in account.status.items() if key != "nextCredentialRotation"}
    return account.with_status({**status, "phase": "Expired", "ready": False, "conditions": conditions})
