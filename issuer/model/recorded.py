"""What the admin API answers about what happened: decisions one by one, and how often.

For readers, in the OpenAPI document and the reference; a test compares these models with real answers.
"""

from typing import Annotated

from pydantic import Field, WithJsonSchema

from issuer.model.durations import Duration
from issuer.model.status import Shown
from issuer.model.times import Time

Day = Annotated[str, WithJsonSchema({"type": "string", "format": "date"})]


class DecisionRecordMeta(Shown):
    """A record's own metadata."""

    name: str
    """The record's id: the later the greater."""
    namespace: str
    """The account's namespace."""
    creation_timestamp: Time
    """When it was decided."""


class DecisionSubject(Shown):
    """Who asked."""

    name: str
    """The account's name."""
    uid: str
    """The account's uid: another account may have the name now."""
    resource_version: str
    """The revision of the account that was decided on."""


class RequestedToken(Shown):
    """What was asked for. `?` stands for what the account does not hold: it may be anything, and is not repeated."""

    scope: str | None = None
    """Scopes; absent when none was named."""
    audience: str | None = None
    """The resource; absent when none was named."""


class GrantedToken(Shown):
    """The token, but not the token itself."""

    scope: str
    """The granted scopes."""
    audience: str
    """Its `aud`."""
    access_token_ttl: Duration = Field(alias="accessTokenTTL")
    """Its lifetime."""
    jti: str
    """Its id."""
    kid: str
    """The key that signed it."""


class RecordedPolicy(Shown):
    """A policy with a say in the decision."""

    policy: str
    """`ClusterAuthPolicy/NAME` or `AuthPolicy/NAMESPACE/NAME`."""
    revision: str
    """The policy as of which revision."""


class DecisionRecord(Shown):
    """One decision about a token, recorded before the token left. Holds no secret."""

    api_version: str
    """Group and version."""
    kind: str
    """`DecisionRecord`."""
    metadata: DecisionRecordMeta
    """Which record."""
    outcome: str
    """`issued`, or why not."""
    cause: str | None = None
    """More about why not, in words that the client was not told."""
    account: DecisionSubject
    """Who asked."""
    method: str
    """How it proved that."""
    credential: str
    """By what: `secret/3`."""
    source: str
    """From which address."""
    requested: RequestedToken
    """What it asked for."""
    granted: GrantedToken | None = None
    """What it got; absent when it got nothing."""
    policies: list[RecordedPolicy]
    """The policies that had a say."""
    trace_id: str | None = None
    """The request's trace (W3C Trace Context)."""


class DecisionListMeta(Shown):
    """Where a list of decisions stands."""

    continue_: str | None = Field(default=None, alias="continue")
    """What to ask for the next page with; absent when there is no more. A page may be short, or empty, all the same."""


class DecisionRecordList(Shown):
    """Decision records, the newest first."""

    api_version: str
    """Group and version."""
    kind: str
    """`DecisionRecordList`."""
    metadata: DecisionListMeta
    """Where the list stands."""
    items: list[DecisionRecord]
    """The newest first."""


class Used(Shown):
    """How often, and when."""

    issued: int
    """Tokens."""
    refused: int
    """Refusals after the account had proven who it is."""
    first_used: Time | None = None
    """The first use within these days; absent when there was none."""
    last_used: Time | None = None
    """The last use."""


class UsedDay(Shown):
    """One day on which the account was used."""

    day: Day
    """The day, in UTC."""
    issued: int
    """Tokens."""
    refused: int
    """Refusals."""


class UsedCredential(Used):
    """How one credential was used."""

    credential: str | None = None
    """Which: `secret/3`; absent: all the rest together."""


class UsedScope(Used):
    """How one scope was used. What was asked for and refused counts, too."""

    scope: str | None = None
    """Which; `?`: one that the account does not hold; absent: all the rest together."""
    audience: str | None = None
    """For which audience; absent where none was named."""


class UsedSource(Used):
    """How one network used the account."""

    source: str | None = None
    """An IPv4 address, or the /64 of an IPv6 address; absent: all the rest together."""


class Usage(Used):
    """How an account was used, folded from the record of decisions some seconds behind it. Each list begins with the latest."""

    since: Day
    """The first of the days that are summed up here."""
    days: list[UsedDay]
    """Day by day, those with any use."""
    credentials: list[UsedCredential]
    """By what it was proven."""
    scopes: list[UsedScope]
    """What for."""
    sources: list[UsedSource]
    """From where."""


class CountedRefusals(Shown):
    """Refusals of whom nobody knew, summed up: requests that did not prove to be of an account."""

    minute: Time
    """The minute that begins then."""
    reason: str
    """Why, in our words: `secret_wrong`, `client_unknown`, …; the client only heard `invalid_client`."""
    client_id: str
    """Whom they said to be, if there is one; `unknown`: nobody has the id; `other`: there were too many to tell apart."""
    source: str
    """From which network; `other`: there were too many to tell apart."""
    count: int
    """How many."""


class RefusalCountListMeta(Shown):
    """Empty."""


class RefusalCountList(Shown):
    """Refusals of strangers, the newest minute first, and in it the most frequent."""

    api_version: str
    """Group and version."""
    kind: str
    """`RefusalCountList`."""
    metadata: RefusalCountListMeta
    """Empty."""
    items: list[CountedRefusals]
    """The newest first."""
