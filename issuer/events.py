"""The closed list of everything worth noticing.

An event is a value. Whoever notices something builds one and hands it to the `Emit` it was given; what becomes of it (a
log line, later a metric and an audit record) is decided in `observe` alone. No field may hold a secret, a token, an
assertion or a private key, not even a part of one: the types here are what makes that reviewable.
"""

from collections.abc import Callable
from dataclasses import dataclass
from traceback import extract_tb
from typing import TypeAlias, get_args


@dataclass(frozen=True, slots=True)
class TokenIssued:
    """A token left for its client."""

    client_id: str
    namespace: str
    name: str
    credential: str
    scope: str
    audience: str
    ttl_s: int
    jti: str
    kid: str


@dataclass(frozen=True, slots=True)
class TokenRefused:
    """A token request was refused; `failure` and `cause` say why, in our words, which the client never sees."""

    failure: str
    cause: str
    client_id: str | None
    source: str


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
class RequestFailed:
    """A request hit an error of ours.

    `where` names the place in the code; the message of the error is left out, since drivers put values into it.
    """

    path: str
    error: str
    where: str


@dataclass(frozen=True, slots=True)
class WorkFailed:
    """One piece of background work hit an error of ours and was put aside; the worker goes on with the next."""

    worker: str
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
    | FirstUseNotRecorded
    | ResourceWritten
    | AdminRequestRefused
    | SnapshotLoaded
    | SnapshotStale
    | WorldReplaced
    | ServerReady
    | ServerStopping
    | RequestFailed
    | WorkFailed
    | SchemaMigrated
    | Bootstrapped
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
