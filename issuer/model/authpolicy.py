"""AuthPolicy and ClusterAuthPolicy: ceilings for the accounts of one namespace, or of all (DESIGN section 3).

Absent means no restriction, `[]` means nothing at all.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from issuer.model.claims import AUTHORIZATION_CLAIMS, MAX_CLAIM_NAME_CHARACTERS, is_reserved_claim
from issuer.model.durations import Duration, parse_duration_s
from issuer.model.metadata import Written, context_of
from issuer.model.patterns import Pattern
from issuer.model.resource import Resource
from issuer.model.scopes import Audience, ShortText
from issuer.model.selectors import LabelSelector

KNOWN_METHODS = Literal[
    "client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"
]
"""Methods a policy may name. One without a row yet may be demanded: then nobody it reaches gets a token."""

_Patterns = Annotated[list[Pattern], Field(max_length=1000)]
_FIELDS: Mapping[str, Callable[[Resource], str | None]] = {
    "metadata.name": lambda account: account.name,
    "metadata.namespace": lambda account: account.namespace,
    "metadata.uid": lambda account: str(account.uid),
    "spec.displayName": lambda account: account.spec.get("displayName"),
    "spec.owner": lambda account: account.spec.get("owner"),
    "spec.purpose": lambda account: account.spec.get("purpose"),
    "spec.type": lambda account: account.spec.get("type"),
    "spec.usage": lambda account: account.spec.get("usage"),
}
_KEYED_FIELD = re.compile(r"metadata\.(labels|annotations)\['([^'\]]{1,317})'\]")


def read_field(account: Resource, field_path: str) -> str | None:
    """The value of a checked `fieldPath`, None when the account has none."""
    keyed = _KEYED_FIELD.fullmatch(field_path)
    if keyed is None:
        return _FIELDS[field_path](account)
    values = account.labels if keyed[1] == "labels" else account.annotations
    return values.get(keyed[2])


class AllowedAndDenied(Written):
    """Both lists hold at once; deny wins. An entry is exact text, or a prefix with one trailing `*`."""

    allowed: _Patterns | None = None
    """What is left; everything when left out, nothing when empty."""
    denied: _Patterns = []
    """What is taken away, whoever allows it."""


class AudienceCeiling(Written):
    """The resource servers that tokens may be for."""

    allowed: Annotated[list[Audience], Field(max_length=1000)] | None = None
    """Exact audiences, no patterns; every one when left out, none when empty."""


class PolicyTokenSettings(Written):
    """A default for accounts that name none, and maxima for all."""

    max_access_token_ttl: Duration | None = Field(default=None, alias="maxAccessTokenTTL")
    """No token lives longer, from 10s to 24h; the smallest of all policies counts."""
    default_access_token_ttl: Duration | None = Field(default=None, alias="defaultAccessTokenTTL")
    """The lifetime for accounts that name none; not above this policy's own maximum."""
    max_tokens_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """The most tokens an account gets in a minute; the smallest of all policies counts."""

    @field_validator("default_access_token_ttl")
    @classmethod
    def _not_above_the_maximum(cls, default: str | None, info: ValidationInfo) -> str | None:
        maximum = info.data.get("max_access_token_ttl")
        if default is not None and maximum is not None and parse_duration_s(default) > parse_duration_s(maximum):
            raise PydanticCustomError("ttl", "must not be above this policy's own maxAccessTokenTTL")
        return default


class ClaimMapping(Written):
    """One claim from a field of the account, or a fixed value: exactly one of `fieldPath` and `value`."""

    claim: Annotated[str, Field(min_length=1, max_length=MAX_CLAIM_NAME_CHARACTERS)]
    """The claim's name. None that the issuer writes itself; `groups`, `roles`, `entitlements` only in a ClusterAuthPolicy."""
    field_path: ShortText | None = None
    """`metadata.labels['…']`, `metadata.annotations['…']`, `metadata.name`, `.namespace`, `.uid`, `spec.displayName`,
    `.owner`, `.purpose`, `.type` or `.usage`."""
    value: Annotated[str, Field(max_length=1024)] | None = None
    """The same text for every account."""
    required: bool = False
    """Whether an account without that field gets no token; else the claim is left out."""

    @field_validator("claim")
    @classmethod
    def _ours_to_give(cls, claim: str, info: ValidationInfo) -> str:
        if is_reserved_claim(claim):
            raise PydanticCustomError("forbidden", "the claim {claim} is reserved for the issuer", {"claim": claim})
        if claim in AUTHORIZATION_CLAIMS and context_of(info).namespace:
            raise PydanticCustomError(
                "forbidden", "the claim {claim} may come only from a ClusterAuthPolicy", {"claim": claim}
            )
        return claim

    @field_validator("field_path")
    @classmethod
    def _a_known_field(cls, field_path: str | None) -> str | None:
        if field_path is not None and field_path not in _FIELDS and not _KEYED_FIELD.fullmatch(field_path):
            raise PydanticCustomError(
                "enum",
                "must be metadata.labels['…'], metadata.annotations['…'] or one of {known}",
                {"known": ", ".join(sorted(_FIELDS))},
            )
        return field_path

    @field_validator("value")
    @classmethod
    def _one_source(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "field_path" in info.data and (value is None) is (info.data["field_path"] is None):
            raise PydanticCustomError("missing", "exactly one of fieldPath and value is needed")
        return value


class ClientAuthenticationCeiling(Written):
    """Methods an account may use; its own list is intersected with it."""

    allowed_methods: Annotated[list[KNOWN_METHODS], Field(max_length=16)] | None = None
    """The methods that are left; every one when left out, none when empty."""


class RotationCeiling(Written):
    """What rotation must at least be."""

    required: bool = False
    """Whether automatic rotation is on, whatever the account says."""
    max_interval_days: Annotated[int, Field(ge=1, le=3650)] | None = None
    """The longest interval between two secrets."""
    max_grace_period_hours: Annotated[int, Field(ge=0, le=8760)] | None = None
    """How long at most a previous secret is still accepted."""
    max_hold_hours: Annotated[int, Field(ge=1, le=8760)] | None = None
    """When the previous secret enters its grace period although nobody has acknowledged the new one."""


def _each_claim_once(mappings: list[ClaimMapping]) -> list[ClaimMapping]:
    claims = [mapping.claim for mapping in mappings]
    for index, claim in enumerate(claims):
        if claim in claims[:index]:
            raise PydanticCustomError("duplicate", "the claim {claim} is mapped twice", {"claim": claim})
    return mappings


class AuthPolicySpec(Written):
    """Ceilings for accounts of its namespace. An account's own spec is the grant, policies only take away."""

    selector: LabelSelector | None = None
    """The accounts it reaches, by their labels; all of them when left out or empty."""
    scopes: AllowedAndDenied | None = None
    """Scopes that are granted."""
    audiences: AudienceCeiling | None = None
    """Audiences that tokens may be for."""
    claims: AllowedAndDenied | None = None
    """Which of the accounts' own static claims stand in their tokens."""
    token_settings: PolicyTokenSettings | None = None
    """Lifetimes and rates."""
    claim_mappings: Annotated[list[ClaimMapping], Field(max_length=64), AfterValidator(_each_claim_once)] = []
    """Claims that are added to tokens, each claim once."""
    client_authentication: ClientAuthenticationCeiling | None = None
    """How accounts may prove themselves."""
    credential_rotation: RotationCeiling | None = None
    """What rotation must at least be."""
    sender_constraint: Literal["none", "any", "dpop", "mtls"] = "none"
    """What a token must be bound to. Nothing but `none` can be met yet: with another value nobody it reaches gets a token."""
    require_registered_scopes: bool = False
    """Whether scopes without a Scope resource are withheld."""


class ClusterAuthPolicySpec(AuthPolicySpec):
    """Ceilings for accounts of all namespaces. An account's own spec is the grant, policies only take away."""

    namespace_selector: LabelSelector | None = None
    """The namespaces it reaches, by their labels; all of them when left out or empty. The right one for ceilings: an
    account's own labels can be changed by whoever edits the account."""
    applies_to_system: bool = False
    """Whether it reaches `issuer-system` too, and with it the administrators."""


def policy_warnings(spec: Mapping[str, Any]) -> list[str]:
    """What the writer of a policy should know although it is accepted."""
    if spec["senderConstraint"] == "none":
        return []
    return ["spec.senderConstraint cannot be met yet: every account this policy reaches is refused"]


def cluster_policy_warnings(spec: Mapping[str, Any]) -> list[str]:
    """What the writer of a ClusterAuthPolicy should know although it is accepted."""
    selector = spec.get("selector") or {}
    if selector.get("matchLabels") or selector.get("matchExpressions"):
        return [
            *policy_warnings(spec),
            "spec.selector matches labels that account editors can change; for ceilings use namespaceSelector",
        ]
    return policy_warnings(spec)
