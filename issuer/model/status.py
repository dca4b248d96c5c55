"""What `status` holds, kind by kind: what became of what was written.

For readers, in the OpenAPI document and the reference; a test compares these models with real answers.
"""

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from issuer.model.conditions import Condition
from issuer.model.durations import Duration
from issuer.model.times import Time


class Shown(BaseModel):
    """The base of everything that is only read: camelCase, nothing beside what is named here."""

    model_config = ConfigDict(
        extra="forbid", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )


class NamespaceStatus(Shown):
    """Whether new things can be created in the namespace."""

    phase: Literal["Active", "Terminating"]
    """`Terminating` once it was deleted, until its contents are gone. Its accounts get no token any more."""


class SigningKey(Shown):
    """One signing key, without its private half."""

    kid: str
    """Its name in the JWKS and in the head of every token: the RFC 7638 thumbprint."""
    algorithm: Literal["ES256", "RS256", "Ed25519"]
    """What it signs with."""
    state: Literal["pending", "active", "retiring", "retired", "compromised"]
    """`pending`: published, and signs next; `active`: signs; `retiring`: signs no more, and verifies what it signed;
    `retired`: about to be deleted; `compromised`: left the JWKS at once."""
    created_at: Time
    """When it was made."""
    published_at: Time | None = None
    """Since when it is in the JWKS."""
    activated_at: Time | None = None
    """Since when it signs, or signed."""
    retires_at: Time | None = None
    """When it leaves the JWKS and is deleted. Decided when it stopped signing; it never becomes earlier."""
    compromised_at: Time | None = None
    """When somebody said that others may have it."""


class KeyStep(Shown):
    """The next step in the life of a KeySet's keys."""

    step: Literal["Prepare", "Activate", "Retire", "Prune"]
    """`Prepare` a key and publish it; `Activate` the spare; `Retire` one that stands beside a newer one; `Prune`: forget one
    that verifies nothing any more."""
    kid: str | None = None
    """Which key; absent while it is not made yet."""
    at: Time
    """When it is due; steps follow within seconds."""


class KeySetStatus(Shown):
    """The keys of a KeySet, and what happens to them next. Written by the issuer."""

    observed_generation: int
    """The generation of `spec` that this was worked out for."""
    conditions: list[Condition]
    """`Ready`: whether it signs. When not, the reason is `NoKey`, `Publishing` or `Terminating`."""
    keys: list[SigningKey]
    """All of its keys, in the order in which they sign."""
    next_rotation: Time | None = None
    """When the spare takes over; absent when rotation is off."""
    next: KeyStep | None = None
    """What is done next; absent when nothing is due until something is written."""


class SecretVersion(Shown):
    """One client secret, without the secret."""

    version: int
    """Counts from 1."""
    state: Literal["pending", "active", "grace", "retired"]
    """`pending`: made, and already accepted; `active` once acknowledged or used, which puts the one before it into
    `grace`; `retired` ones are not accepted any more."""
    created_at: Time
    """When it was made."""
    retires_at: Time | None = None
    """When it is or was retired."""
    last_used: Time | None = None
    """When somebody last proved with it to be the account, whatever came of that; absent when nobody did, or too long ago."""


class EffectiveRotation(Shown):
    """Rotation as account and policies together want it."""

    enabled: bool
    """Whether secrets are rotated on schedule."""
    interval_days: int
    """Days between two secrets."""
    grace_period_hours: int
    """Hours for which the previous one is still accepted."""
    max_hold_hours: int | None = None
    """Hours after which it enters its grace period although the new one is not acknowledged."""


class Effective(Shown):
    """What is left of the account's own settings under every policy that reaches it."""

    scopes: list[str]
    """The scopes it can get."""
    audiences: list[str]
    """The audiences it can get."""
    methods: list[str]
    """The client authentication methods that are accepted."""
    access_token_ttl: Duration | None = Field(default=None, alias="accessTokenTTL")
    """How long its tokens live; absent when it gets none."""
    max_tokens_per_minute: int | None = None
    """How many it gets in a minute."""
    credential_rotation: EffectiveRotation
    """How its secret is rotated."""
    policies: list[str]
    """The policies that reach it: `ClusterAuthPolicy/NAME`, `AuthPolicy/NAMESPACE/NAME`."""


class ConditionRow(NamedTuple):
    """What one type of condition says."""

    type: str
    owner: str
    reasons: tuple[str, ...]
    meaning: str


CONDITIONS = (
    ConditionRow(
        "Ready",
        "the issuer",
        ("ServiceAccountRegistered", "Pending", "Disabled", "Expired", "Terminating"),
        "True exactly when the phase is `Active`; else the reason is the phase.",
    ),
    ConditionRow(
        "CredentialsProvisioned",
        "the issuer",
        ("SecretCreated", "AwaitingDelivery"),
        "Whether the newest secret was acknowledged by whoever stores it.",
    ),
    ConditionRow(
        "ConfigProvisioned",
        "a driver",
        ("NoDriver", "ConfigMapCreated"),
        "Whether a driver has written what a workload needs beside its secret; `Unknown` until one says so.",
    ),
)
"""The conditions of an account. `ConfigMapCreated` is what a driver is expected to say; any other word will do."""


class ServiceAccountStatus(Shown):
    """What became of the account. Written by the issuer; a driver writes its own conditions through `/status`."""

    client_id: str
    """The OAuth client_id, `sa-` and the uid: made once, never reused."""
    ready: bool
    """Whether tokens are issued and its secret is known to have been delivered: phase `Active`."""
    phase: Literal["Terminating", "Disabled", "Expired", "Pending", "Active"]
    """The first that holds. Tokens are issued in `Pending` (no secret acknowledged or used yet) and `Active` only."""
    observed_generation: int
    """The generation of `spec` that this was worked out for."""
    last_credential_rotation: Time | None = None
    """When the newest secret was made."""
    next_credential_rotation: Time | None = None
    """When the issuer makes the next one; absent when rotation is off, where no token is issued, and while an overdue one
    waits for the newest to be stored."""
    conditions: list[Condition]
    """`Ready`, `CredentialsProvisioned` and the driver's `ConfigProvisioned`."""
    last_used: Time | None = None
    """When the account last proved who it is, whether it got a token or not; a few seconds late, and absent when it never
    did. Only where one account is read, never in lists and watches."""
    credentials: list[SecretVersion] | None = None
    """Its secret versions, oldest first. Only where one account is read, never in lists and watches."""
    effective: Effective | None = None
    """What policies leave of its settings. Only where one account is read, never in lists and watches."""


class Decision(Shown):
    """What a token request gets: the token's content, or why there is none."""

    scope: str | None = None
    """The granted scopes."""
    audience: str | None = None
    """The token's `aud`."""
    access_token_ttl: Duration | None = Field(default=None, alias="accessTokenTTL")
    """The token's lifetime."""
    claims: dict[str, str] | None = None
    """Static and mapped claims."""
    max_tokens_per_minute: int | None = None
    """The limit that holds."""
    refused: str | None = None
    """The cause, when there is no token: the name that stands in the log."""
    error: str | None = None
    """The OAuth error the client gets instead."""
    why: str | None = None
    """The cause in a sentence."""


class EffectExample(Shown):
    """One account and what would become of its tokens."""

    namespace: str
    """The account's namespace."""
    name: str
    """The account's name."""
    before: Decision
    """What it gets now."""
    after: Decision
    """What it would get."""


class Effect(Shown):
    """What writing the policy would do."""

    accounts: int
    """Accounts the policy reaches, before or after."""
    narrowed: int
    """Those that would get less."""
    refused: int
    """Those that would get no token any more."""
    widened: int
    """Those that would get more."""
    complete: bool
    """False when there were too many accounts to look at all of them."""
    examples: list[EffectExample]
    """Some of those that something would change for."""


class PolicyStatus(Shown):
    """Nothing, but in the answer of a dry run."""

    effect: Effect | None = None
    """Only in the answer of `?dryRun=All`: whom this write would narrow or refuse."""
