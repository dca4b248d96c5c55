"""What the admin API answers beside objects: errors, lists, and what the sub-resources take and give.

For readers, in the OpenAPI document and the reference; a test compares these models with real answers.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from issuer.model.faults import Reason
from issuer.model.status import Decision, Shown
from issuer.model.times import Time

_REASONS = tuple(sorted({reason.value[0] for reason in Reason}))
Revision = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^(0|[1-9][0-9]{0,17})$"})]


class Config(Shown):
    """What a workload needs beside its secret: the data of the ConfigMap that a Kubernetes driver writes."""

    model_config = ConfigDict(extra="forbid", alias_generator=None, use_attribute_docstrings=True)

    issuer_url: str
    """`iss` of its tokens."""
    token_endpoint: str
    """Where it asks for tokens."""
    jwks_uri: str
    """Where the keys are that verify them."""
    client_id: str
    """Who it is."""
    scopes: str
    """The scopes of its spec, joined by spaces."""


class Credential(Shown):
    """A secret version with its secret. Never cached."""

    version: int
    """What to acknowledge once it is stored."""
    state: Literal["pending", "active", "grace", "retired"]
    """`pending` unless it was acknowledged in the same request."""
    client_id: str
    """Who it belongs to."""
    client_secret: str
    """The secret."""
    created_at: Time
    """When it was made."""


class CompromisedKey(Shown):
    """What the compromise of a signing key comes to."""

    kid: str
    """The key that left the JWKS."""
    compromised_at: Time
    """When that was."""
    trusted_until: Time
    """How long verifiers that cache the JWKS may go on trusting it."""
    signed_from: Time | None = None
    """Since when it signed; absent when it never did."""
    signed_until: Time | None = None
    """When it stopped signing. Tokens issued from then to here are refused by now, genuine or not."""
    last_expiry: Time | None = None
    """When the last of these tokens expires, whoever made it."""
    signing: str | None = None
    """The key that signs now; absent for the second it takes to make one, when there was no spare."""


class PolicyField(Shown):
    """One line of one policy."""

    policy: str
    """`ClusterAuthPolicy/NAME` or `AuthPolicy/NAMESPACE/NAME`."""
    field: str
    """The path below `spec`."""


class Withheld(Shown):
    """A scope that is not granted although the account holds it."""

    scope: str
    """The scope."""
    why: str
    """The cause in a sentence."""
    by: list[PolicyField]
    """The policies that withhold it."""


class PolicyReason(PolicyField):
    """One policy's say in one part of a decision."""

    part: str
    """`scope api:read`, `ttl`, `claim team`, `rate`, …"""
    binding: bool
    """Whether it shapes the answer; else something stricter does so already."""


class Explained(Shown):
    """A decision and what brought it about."""

    decision: Decision
    """What the request gets."""
    ungoverned: Decision
    """What it would get without any policy."""
    withheld: list[Withheld]
    """Scopes that are left out of it."""
    reasons: list[PolicyReason]
    """Every policy that has a say."""


class Explanation(Explained):
    """A decision as it is now and, when the question named changes, as it would be."""

    changed: Explained | None = None
    """With the policies of `with` and without those of `without`."""


class StatusCause(Shown):
    """One fault of the request."""

    field: str
    """Where: `spec.scopes[1]`."""
    reason: str
    """What kind of fault: `FieldValueInvalid`, `FieldValueRequired`, …"""
    message: str
    """What is wrong, in a sentence."""


class StatusDetails(Shown):
    """What the status is about."""

    kind: str | None = None
    """The kind, or its plural."""
    name: str | None = None
    """The name."""
    causes: list[StatusCause] | None = None
    """Every fault of the request, all at once."""


class Status(Shown):
    """How a request ended: every error, and a deletion that is done."""

    kind: Literal["Status"]
    """Always `Status`."""
    api_version: Literal["v1"]
    """Always `v1`."""
    metadata: dict[str, Any]
    """Empty."""
    status: Literal["Success", "Failure"]
    """Whether what was asked for happened."""
    message: str | None = None
    """What went wrong and what to do, in a sentence."""
    reason: Annotated[str, WithJsonSchema({"type": "string", "enum": list(_REASONS)})] | None = None
    """What went wrong, in one word for machines."""
    details: StatusDetails | None = None
    """What it is about."""
    code: int | None = None
    """The HTTP status code."""


class ListMeta(Shown):
    """Where a list stands."""

    resource_version: Revision
    """The revision the list shows, all its pages alike: begin a watch here."""
    continue_: str | None = Field(default=None, alias="continue")
    """What to ask for the next page with; absent on the last."""


class RecordMeta(Shown):
    """A record's own metadata."""

    name: str
    """The record's id."""
    namespace: str | None = None
    """The namespace of what it is about."""
    creation_timestamp: Time
    """When it was written."""


class RecordPrincipal(Shown):
    """Who did it."""

    kind: Literal["account", "local", "system"]
    """`local` is the command line beside the database, `system` the issuer itself."""
    name: str
    """Of an account `NAMESPACE/NAME`."""
    uid: str | None = None
    """The account's uid."""
    credential: str | None = None
    """What its token was issued on: `secret/3`."""


class RecordSubject(Shown):
    """What it was done to."""

    kind: str
    """The object's kind."""
    namespace: str | None = None
    """The object's namespace."""
    name: str
    """The object's name."""
    uid: str | None = None
    """The object's uid: another object may have the name now."""


class AuditRecord(Shown):
    """One thing that was done. Records outlive what they are about, and hold no secret."""

    api_version: str
    """Group and version."""
    kind: str
    """`AuditRecord`."""
    metadata: RecordMeta
    """Which record."""
    principal: RecordPrincipal
    """Who."""
    verb: str
    """What: `create`, `patch`, `create credentials`, …"""
    subject: RecordSubject
    """To what."""
    revision: str | None = None
    """The revision it made; absent when nothing was changed."""
    before: dict[str, Any] | None = None
    """The object before; absent when it was created."""
    after: dict[str, Any] | None = None
    """The object after; absent when it was deleted."""
    note: dict[str, Any] | None = None
    """What else should be known, such as the secret version."""


class RecordListMeta(Shown):
    """Empty."""


class AuditRecordList(Shown):
    """Audit records, the newest first."""

    api_version: str
    """Group and version."""
    kind: str
    """`AuditRecordList`."""
    metadata: RecordListMeta
    """Empty."""
    items: list[AuditRecord]
    """The newest first."""


class DeletePreconditions(Shown):
    """What must still be true of the object."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, use_attribute_docstrings=True)

    uid: str | None = None
    """It is this very object."""
    resource_version: str | None = None
    """Nobody has changed it since."""


class DeleteOptions(Shown):
    """How to delete. `propagationPolicy`, `gracePeriodSeconds` and the like are accepted and ignored."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, use_attribute_docstrings=True)

    preconditions: DeletePreconditions | None = None
    """Otherwise the answer is 409."""
    dry_run: list[Literal["All"]] | None = Field(default=None, max_length=1)
    """As the query parameter of the same name."""
