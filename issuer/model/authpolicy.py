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
    """Both lists hold at once; deny wins."""

    allowed: _Patterns | None = None
    denied: _Patterns = []


class AudienceCeiling(Written):
    """Exact audiences, no patterns."""

    allowed: Annotated[list[Audience], Field(max_length=1000)] | None = None


class PolicyTokenSettings(Written):
    """A default for accounts that name none, and maxima for all."""

    max_access_token_ttl: Duration | None = Field(default=None, alias="maxAccessTokenTTL")
    default_access_token_ttl: Duration | None = Field(default=None, alias="defaultAccessTokenTTL")
    max_tokens_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    @field_validator("default_access_token_ttl")
    @classmethod
    def _not_above_the_maximum(cls, default: str | None, info: ValidationInfo) -> str | None:
        maximum = info.data.get("max_access_token_ttl")
        if default is not None and maximum is not None and parse_duration_s(default) > parse_duration_s(maximum):
            raise PydanticCustomError("ttl", "must not be above this policy's own maxAccessTokenTTL")
        return default


class ClaimMapping(Written):
    """One claim from a field of the account, or a fixed value."""

    claim: Annotated[str, Field(min_length=1, max_length=MAX_CLAIM_NAME_CHARACTERS)]
    field_path: ShortText | None = None
    value: Annotated[str, Field(max_length=1024)] | None = None
    required: bool = False

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


class RotationCeiling(Written):
    """What rotation must at least be."""

    required: bool = False
    max_interval_days: Annotated[int, Field(ge=1, le=3650)] | None = None
    max_grace_period_hours: Annotated[int, Field(ge=0, le=8760)] | None = None
    max_hold_hours: Annotated[int, Field(ge=1, le=8760)] | None = None


def _each_claim_once(mappings: list[ClaimMapping]) -> list[ClaimMapping]:
    claims = [mapping.claim for mapping in mappings]
    for index, claim in enumerate(claims):
        if claim in claims[:index]:
            raise PydanticCustomError("duplicate", "the claim {claim} is mapped twice", {"claim": claim})
    return mappings


class AuthPolicySpec(Written):
    """Ceilings for the accounts of its namespace that the selector matches."""

    selector: LabelSelector | None = None
    scopes: AllowedAndDenied | None = None
    audiences: AudienceCeiling | None = None
    claims: AllowedAndDenied | None = None
    token_settings: PolicyTokenSettings | None = None
    claim_mappings: Annotated[list[ClaimMapping], Field(max_length=64), AfterValidator(_each_claim_once)] = []
    client_authentication: ClientAuthenticationCeiling | None = None
    credential_rotation: RotationCeiling | None = None
    sender_constraint: Literal["none", "any", "dpop", "mtls"] = "none"
    require_registered_scopes: bool = False


class ClusterAuthPolicySpec(AuthPolicySpec):
    """Ceilings for the accounts of every namespace the namespaceSelector matches, `issuer-system` only when it says so."""

    namespace_selector: LabelSelector | None = None
    applies_to_system: bool = False


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
