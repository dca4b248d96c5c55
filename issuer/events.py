"""The closed list of everything worth noticing.

An event is a value. Whoever notices something builds one and hands it to the `Emit` it was given; what becomes of it (a
log line, a metric, later an audit record) is decided in `observe` alone. No field may hold a secret, a token, an
assertion or a private key, not even a part of one: the types here are what makes that reviewable.
"""

from collections.abc import Callable
from dataclasses import dataclass
from traceback import extract_tb
from typing import Literal, NamedTuple, TypeAlias, get_args
from uuid import UUID


class Caller(NamedTuple):
    """An authenticated account at one request: which, as of which revision, proven how, from where.

    `credential` as tokens name it (`secret/3`). `trace_id`: of the request's trace context (W3C), None without one.
    """

    uid: UUID
    namespace: str
    name: str
    revision: int
    method: str
    credential: str
    source: str
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class TokenIssued:
    """A token leaves for its client. `policies`: JSON, pairs of a policy with a say and its revision."""

    caller: Caller
    requested_scope: str | None
    requested_audience: str | None
    scope: str
    audience: str
    ttl_s: int
    jti: str
    kid: str
    policies: str


@dataclass(frozen=True, slots=True)
class TokenRefused:
    """A token request was refused; `failure` and `cause` say why, in our words, which the client never sees.

    What was asked for is told of a caller only, and as far as the account holds it: anything else may be a secret in the
    wrong place.
    """

    failure: str
    cause: str
    client_id: str | None
    source: str
    caller: Caller | None = None
    requested_scope: str | None = None
    requested_audience: str | None = None
    policies: str = "[]"


@dataclass(frozen=True, slots=True)
class RetiredSecretPresented:
    """A secret past its `retiresAt` was presented: a workload was forgotten, or somebody found an old secret."""

    client_id: str
    version: int
    source: str


@dataclass(frozen=True, slots=True)
class SecretFirstUsed:
    """A pending secret version was used for the first time and became active."""

    client_id: str
    version: int


@dataclass(frozen=True, slots=True)
class SecretRotated:
    """A rotation was due: the account has one more secret version, pending, which waits for its driver to store it."""

    client_id: str
    namespace: str
    name: str
    version: int


@dataclass(frozen=True, slots=True)
class SecretHoldEnded:
    """Nobody acknowledged or used a version for as long as policy lets its predecessor wait: that one is in grace now."""

    client_id: str
    namespace: str
    name: str
    version: int


@dataclass(frozen=True, slots=True)
class DeliveryOverdue:
    """A secret version waits for its driver since `waits_s` seconds: the driver is gone, or never came."""

    client_id: str
    namespace: str
    name: str
    version: int
    waits_s: int


@dataclass(frozen=True, slots=True)
class FirstUseNotRecorded:
    """The first use of a pending version could not be written yet; it is tried again in a moment."""

    client_id: str
    version: int
    error: str


@dataclass(frozen=True, slots=True)
class ResourceWritten:
    """A write of the admin API was committed, its audit record with it."""

    principal: str
    verb: str
    kind: str
    namespace: str
    name: str
    revision: int


@dataclass(frozen=True, slots=True)
class AdminRequestRefused:
    """The admin API answered 401 or 403."""

    principal: str
    verb: str
    kind: str
    namespace: str
    name: str
    cause: str


@dataclass(frozen=True, slots=True)
class SnapshotLoaded:
    """The token path now knows the world as of `revision`."""

    revision: int
    keys: int


@dataclass(frozen=True, slots=True)
class SnapshotStale:
    """The world could not be read again; the last good snapshot stays in force."""

    age_s: float
    error: str


@dataclass(frozen=True, slots=True)
class SnapshotCurrent:
    """The database is followed again, after `stale_s` seconds in which the last good snapshot was in force."""

    stale_s: float


@dataclass(frozen=True, slots=True)
class ClockSkewed:
    """This machine's clock is ahead of the database's (negative: behind), beyond doubt by more than `limit_s`."""

    ahead_s: float
    uncertain_s: float
    limit_s: float


@dataclass(frozen=True, slots=True)
class ClockInStep:
    """A skew that was noticed is over."""

    ahead_s: float


@dataclass(frozen=True, slots=True)
class ListenerLost:
    """Writes of other processes are not heard of at once any more; the next poll sees them. Listening is tried again."""

    error: str


@dataclass(frozen=True, slots=True)
class WorldReplaced:
    """The database is another one than before (failover, restore): every cached value was dropped."""

    reason: str


@dataclass(frozen=True, slots=True)
class ServerReady:
    """Both ports answer."""

    url: str
    public: str
    admin: str


@dataclass(frozen=True, slots=True)
class ServerStopping:
    """A stop was asked for; requests in flight are finished."""


@dataclass(frozen=True, slots=True)
class ProcessEnded:
    """A process of this server ended by itself, or not as it should; the others are stopped. Negative: by that signal."""

    process: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class CertificateLoaded:
    """A port's certificate was renewed; new connections get it."""

    path: str


@dataclass(frozen=True, slots=True)
class CertificateRefused:
    """A port's certificate has changed and cannot be used; the last good one stays in use."""

    path: str
    error: str


@dataclass(frozen=True, slots=True)
class DecisionsRecorded:
    """So many decisions became durable together, `took_s` after they were taken up; those in the spool are committed later."""

    decisions: int
    took_s: float
    kept: Literal["database", "spool"]


@dataclass(frozen=True, slots=True)
class RecordsNotDurable:
    """Decisions could not be committed in time. `spooling`: they go to this machine's disk; else tokens are refused."""

    error: str
    spooling: bool


@dataclass(frozen=True, slots=True)
class RecordsDurable:
    """Decisions are committed again, after `after_s` seconds; `replayed` of them were brought from the spool."""

    after_s: float
    replayed: int


@dataclass(frozen=True, slots=True)
class SpoolFailed:
    """The spool took no more: the tokens whose decisions it should have kept were refused."""

    error: str


@dataclass(frozen=True, slots=True)
class SpoolAdopted:
    """The spool of a process that is gone was brought into the database. `torn`: it ended in the middle of a decision."""

    writer: str
    records: int
    torn: bool


@dataclass(frozen=True, slots=True)
class DecisionsNotRecorded:
    """So many refusals of accounts were not recorded: more came than could be kept until the database was back."""

    refusals: int


@dataclass(frozen=True, slots=True)
class TokenAnswered:
    """A token request was answered, whatever the answer: so long after the last of it had come."""

    status: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class CheckpointSigned:
    """How far the record has come was signed. Kept elsewhere, `digest` shows whether a checkpoint was taken away."""

    number: int
    digest: str
    chains: int


@dataclass(frozen=True, slots=True)
class DayExported:
    """A day of decisions whose time is over stands in a file."""

    day: str
    file: str
    records: int
    sha256: str


@dataclass(frozen=True, slots=True)
class DayDropped:
    """A day of decisions left the database; the file has it."""

    day: str
    records: int


@dataclass(frozen=True, slots=True)
class DayKept:
    """A day of decisions whose time is over stays in the database, and why."""

    day: str
    why: str


@dataclass(frozen=True, slots=True)
class AdminRecordsDropped:
    """Records of what administrators did left the database: their time is over."""

    records: int


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """A request hit an error of ours.

    `where` names the place in the code; the message of the error is left out, since drivers put values into it.
    """

    path: str
    error: str
    where: str


Work: TypeAlias = Literal[
    "namespaces",
    "expiry",
    "secret rotation",
    "secret holds",
    "overdue deliveries",
    "rotation schedules",
    "signing keys",
    "change log",
    "first uses",
    "record",
    "seals",
    "checkpoints",
    "days of the record",
    "administrative records",
    "usage",
    "old usage",
    "refusals",
]
"""What is done beside the requests. A closed list, since metrics have a series for each."""


@dataclass(frozen=True, slots=True)
class WorkFailed:
    """One piece of background work hit an error of ours and was put aside; the worker goes on with the next."""

    worker: Work
    subject: str
    error: str
    where: str


@dataclass(frozen=True, slots=True)
class SchemaMigrated:
    """The database schema was moved from one revision to another."""

    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """First keys, first pepper and the first administrator exist."""

    recovered: bool


@dataclass(frozen=True, slots=True)
class MasterKeyReplaced:
    """So many sealed blobs were wrapped anew under the current master key; so many are still under another one."""

    kek_id: str
    rewrapped: int
    left: int


@dataclass(frozen=True, slots=True)
class KeyPublished:
    """A signing key was made and stands in the JWKS; it signs once every verifier knows it."""

    keyset: str
    kid: str
    algorithm: str


@dataclass(frozen=True, slots=True)
class KeyActivated:
    """A signing key began to sign, after it was published for long enough."""

    keyset: str
    kid: str
    replaced: str
    published_for_s: float


@dataclass(frozen=True, slots=True)
class KeyActivatedEarly:
    """A signing key began to sign before every verifier could know it, in an emergency: tokens may fail until they do."""

    keyset: str
    kid: str
    replaced: str
    published_for_s: float
    lead_s: float


@dataclass(frozen=True, slots=True)
class KeyRetiring:
    """A signing key signs no more; it stays in the JWKS for what it signed."""

    keyset: str
    kid: str
    retires_at: str


@dataclass(frozen=True, slots=True)
class KeyForgotten:
    """A signing key verifies nothing any more and was deleted, its private half included."""

    keyset: str
    kid: str


@dataclass(frozen=True, slots=True)
class KeyCompromised:
    """A signing key left the JWKS at once. What it signed from here to there is not to be trusted; `signing` took over."""

    keyset: str
    kid: str
    signed_from: str
    signed_until: str
    signing: str


@dataclass(frozen=True, slots=True)
class KeysCrowded:
    """More keys of one KeySet are published than a steady life has: they take turns faster than tokens expire."""

    keyset: str
    published: int


@dataclass(frozen=True, slots=True)
class KeyIntervalTooShort:
    """With these settings a key cannot be published in time for the interval its KeySet wants; rotations come later."""

    keyset: str
    why: str


@dataclass(frozen=True, slots=True)
class ScheduleScaled:
    """Days and hours of resources do not last what days and hours last: right for tests, and for nothing else."""

    day_s: float
    hour_s: float


@dataclass(frozen=True, slots=True)
class EmbeddedPostgresReady:
    """The development database accepts connections."""

    pid: int
    port: int


@dataclass(frozen=True, slots=True)
class EmbeddedPostgresDied:
    """The development database ended by itself and is started again."""

    exit_code: int
    restart_in_s: float


Event: TypeAlias = (
    TokenIssued
    | TokenRefused
    | RetiredSecretPresented
    | SecretFirstUsed
    | SecretRotated
    | SecretHoldEnded
    | DeliveryOverdue
    | FirstUseNotRecorded
    | ResourceWritten
    | AdminRequestRefused
    | SnapshotLoaded
    | SnapshotStale
    | SnapshotCurrent
    | ClockSkewed
    | ClockInStep
    | ListenerLost
    | WorldReplaced
    | ServerReady
    | ServerStopping
    | ProcessEnded
    | CertificateLoaded
    | CertificateRefused
    | DecisionsRecorded
    | RecordsNotDurable
    | RecordsDurable
    | SpoolFailed
    | SpoolAdopted
    | DecisionsNotRecorded
    | TokenAnswered
    | CheckpointSigned
    | DayExported
    | DayDropped
    | DayKept
    | AdminRecordsDropped
    | RequestFailed
    | WorkFailed
    | SchemaMigrated
    | Bootstrapped
    | MasterKeyReplaced
    | KeyPublished
    | KeyActivated
    | KeyActivatedEarly
    | KeyRetiring
    | KeyForgotten
    | KeyCompromised
    | KeysCrowded
    | KeyIntervalTooShort
    | ScheduleScaled
    | EmbeddedPostgresReady
    | EmbeddedPostgresDied
)
EVENT_TYPES: frozenset[type[Event]] = frozenset(get_args(Event))


def place_of(error: BaseException) -> str:
    """Where in our code an exception came from. Its message is left out everywhere: drivers quote values in it."""
    frames = extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(_PACKAGE)]
    return f"{ours[-1].filename.removeprefix(_PACKAGE)}:{ours[-1].lineno}" if ours else ""


_PACKAGE = __file__.removesuffix("events.py")


Emit: TypeAlias = Callable[[Event], None]
