"""Events become log lines. The only module that logs, and where redaction lives.

Nothing secret is ever put into an event; what looks like a secret all the same is taken out here, once more. What strangers
can bring about as often as they like is a line once and a number after it: nobody fills our disk.
"""

import logging
import re
import sys
import time
from collections.abc import Callable, Hashable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, fields
from threading import RLock
from typing import Any, Literal, TextIO, TypeAlias

import structlog

from issuer import events
from issuer.events import EVENT_TYPES, Caller, Emit, Event
from issuer.model.resource import client_id_of
from issuer.protocol.source import network_of
from issuer.settings import LogSettings

Level = Literal["debug", "info", "warning", "error"]

LEVELS: Mapping[type[Event], Level] = {
    events.TokenIssued: "debug",
    events.TokenRefused: "info",
    events.RetiredSecretPresented: "warning",
    events.SecretFirstUsed: "info",
    events.SecretRotated: "info",
    events.SecretHoldEnded: "warning",
    events.DeliveryOverdue: "warning",
    events.FirstUseNotRecorded: "warning",
    events.ResourceWritten: "info",
    events.AdminRequestRefused: "warning",
    events.SnapshotLoaded: "debug",
    events.SnapshotStale: "warning",
    events.SnapshotCurrent: "info",
    events.ClockSkewed: "warning",
    events.ClockInStep: "info",
    events.ListenerLost: "warning",
    events.WorldReplaced: "warning",
    events.ServerReady: "info",
    events.ServerStopping: "info",
    events.ProcessEnded: "error",
    events.CertificateLoaded: "info",
    events.CertificateRefused: "error",
    events.DecisionsRecorded: "debug",
    events.RecordsNotDurable: "error",
    events.RecordsDurable: "info",
    events.SpoolFailed: "error",
    events.SpoolAdopted: "warning",
    events.DecisionsNotRecorded: "error",
    events.TokenAnswered: "debug",
    events.CheckpointSigned: "info",
    events.DayExported: "info",
    events.DayDropped: "info",
    events.DayKept: "warning",
    events.AdminRecordsDropped: "info",
    events.RequestFailed: "error",
    events.WorkFailed: "error",
    events.SchemaMigrated: "info",
    events.Bootstrapped: "info",
    events.MasterKeyReplaced: "info",
    events.KeyPublished: "info",
    events.KeyActivated: "info",
    events.KeyActivatedEarly: "warning",
    events.KeyRetiring: "info",
    events.KeyForgotten: "info",
    events.KeyCompromised: "warning",
    events.KeysCrowded: "warning",
    events.KeyIntervalTooShort: "warning",
    events.ScheduleScaled: "warning",
    events.EmbeddedPostgresReady: "info",
    events.EmbeddedPostgresDied: "error",
}
if unread := EVENT_TYPES - LEVELS.keys():  # pragma: no cover
    raise RuntimeError(f"no level for {unread}")

# What makes two events of strangers the same to a reader of the log.
_SAME: Mapping[type[Event], Callable[[Any], Hashable]] = {
    events.TokenRefused: lambda event: (event.failure, event.client_id, network_of(event.source)),
    events.RetiredSecretPresented: lambda event: (event.client_id, event.version, network_of(event.source)),
    events.AdminRequestRefused: lambda event: (event.principal, event.cause),
    events.TokenAnswered: lambda event: event.status,
    events.RequestFailed: lambda event: (event.path, event.error, event.where),
}
REPEATS_S = 60.0
MAX_DIFFERENT = 250
"""Lines in REPEATS_S that differ; the rest is a number, too."""

_NUMBERS: Mapping[Level, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_SECRET_SHAPES = re.compile(
    r"isk1_[0-9A-Za-z]+"  # our client secrets
    r"|eyJ[0-9A-Za-z_-]+\.[0-9A-Za-z_-]+\.[0-9A-Za-z_-]*"  # JWTs
    r"|-----BEGIN[^-]*PRIVATE KEY-----.*?(?:-----END[^-]*-----|\Z)"
    r"|(?<=://)[^/\s]*:[^/\s]*(?=@)"  # user:password in a URL
    r"|(?<![0-9A-Za-z+/])[0-9A-Za-z+/]{43}=(?!=)",  # base64 of 32 bytes: a master key; thumbprints are not padded
    re.DOTALL,
)
_SECRET_NAMES = re.compile(
    r"(?i:(\b(?:basic|bearer) )[0-9A-Z+/=._~-]{8,}"
    r"|(\b(?:password|client_secret|client_assertion)=)[^\s&\"']+"
    r"|(['\"](?:d|p|q|dp|dq|qi|k|password|client_?secret)['\"]:\s*['\"])[^'\"]+)"  # of a JWK, of a JSON document
)


def redact(text: str) -> str:
    """The text with everything taken out that has a secret's shape or stands where secrets stand."""
    return _SECRET_NAMES.sub(r"\1\2\3[redacted]", _SECRET_SHAPES.sub("[redacted]", text))


def _redact_values(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: redact(value) if isinstance(value, str) else value for name, value in line.items()}


_Write: TypeAlias = Callable[[Mapping[str, int]], None]
"""Writes one line, with these fields added."""


@dataclass(slots=True)
class _Line:
    """A line that was written, how its last repetition would be written, and how many there were."""

    write: _Write
    repeated: int = 0


class _Repeats:
    """The first of its kind is a line at once; those after it within REPEATS_S are one line, when that time is over.

    It is noticed to be over by the next line of any kind: a server to which nothing happens says nothing. Events come from one
    thread, what libraries say from any: the one that exports spans says that its collector is away.
    """

    def __init__(self, omitted: _Write, elapsed_s: Callable[[], float]) -> None:
        self._omitted = _Line(omitted)
        self._elapsed_s = elapsed_s
        self._lock = RLock()
        self._lines: dict[Hashable, _Line] = {}
        self._until = elapsed_s() + REPEATS_S

    def say(self, same: Hashable, write: _Write) -> None:
        """Writes the line, or counts it among the lines that are the same."""
        with self._lock:
            self.turn()
            known = self._lines.get(same)
            if known is not None:
                known.write, known.repeated = write, known.repeated + 1
            elif len(self._lines) < MAX_DIFFERENT:
                self._lines[same] = _Line(write)
                write({})
            else:
                self._omitted.repeated += 1

    def turn(self) -> None:
        """Says what was counted, once the time for it has come."""
        with self._lock:
            now = self._elapsed_s()
            if now < self._until:
                return
            said, self._lines, self._until = (*self._lines.values(), self._omitted), {}, now + REPEATS_S
            self._omitted = _Line(self._omitted.write)
            for line in said:
                if line.repeated:
                    line.write({"repeated": line.repeated})


def _told(values: dict[str, Any]) -> dict[str, Any]:
    """What a line says of an event: its fields, and those of the account that called."""
    caller = values.pop("caller", None)
    if isinstance(caller, Caller):
        of_caller = caller._asdict()
        values = {"client_id": client_id_of(of_caller.pop("uid")), **of_caller, **values}
    return values


class _FromLibraries(logging.Handler):
    """Warnings of libraries, through the same processors: message only, since tracebacks quote values."""

    def __init__(self, logger: Any, repeats: _Repeats) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger
        self._repeats = repeats

    def emit(self, record: logging.LogRecord) -> None:
        """One line for one record."""
        error = record.exc_info[0] if record.exc_info else None
        extra = {"error": error.__name__} if error is not None else {}
        line = {"library": record.name, "message": _message(record), **extra}
        self._repeats.say(
            (record.name, str(record.msg)), lambda more: self._logger.warning("LibraryWarning", **line, **more)
        )


def _message(record: logging.LogRecord) -> str:
    """The message; as its library wrote it where the arguments do not fit, since a log line must not fail a request."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - the arguments' own code runs here
        return str(record.msg)


def log_events(
    settings: LogSettings, stream: TextIO | None = None, elapsed_s: Callable[[], float] = time.monotonic
) -> Emit:
    """The reading of events as lines on standard error; also takes over what libraries log."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=24, sort_keys=False)
    )
    least = _NUMBERS[settings.level]
    logger = structlog.wrap_logger(
        structlog.WriteLogger(stream or sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _redact_values,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        cache_logger_on_first_use=True,
    ).bind()
    root = logging.root
    repeats = _Repeats(lambda more: logger.warning("LinesOmitted", **more), elapsed_s)
    root.handlers = [_FromLibraries(logger, repeats)]
    root.setLevel(logging.WARNING)
    written = {kind: getattr(logger, level) for kind, level in LEVELS.items() if _NUMBERS[level] >= least}
    names = {kind: tuple(field.name for field in fields(kind)) for kind in EVENT_TYPES}

    def emit(event: Event) -> None:
        kind = type(event)
        write = written.get(kind)
        if write is not None:
            # Where the disk is full, or nobody reads any more, a line is lost, and nothing else.
            with suppress(OSError):
                say(kind, event, write)

    def say(kind: type[Event], event: Event, write: Callable[..., Any]) -> None:
        def line(more: Mapping[str, int]) -> None:
            write(kind.__name__, **_told({name: getattr(event, name) for name in names[kind]}), **more)

        same = _SAME.get(kind)
        if same is not None:
            repeats.say((kind, same(event)), line)
        else:
            repeats.turn()
            line({})

    return emit
