"""Events become log lines (later also metrics and audit records). The only module that logs, and where redaction lives.

Nothing secret is ever put into an event; what looks like a secret all the same is taken out here, once more.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import fields
from typing import Any, Literal, TextIO

import structlog

from issuer import events
from issuer.events import EVENT_TYPES, Emit, Event
from issuer.settings import LogSettings

Level = Literal["debug", "info", "warning", "error"]

LEVELS: Mapping[type[Event], Level] = {
    events.TokenIssued: "debug",
    events.TokenRefused: "info",
    events.RetiredSecretPresented: "warning",
    events.SecretFirstUsed: "info",
    events.FirstUseNotRecorded: "warning",
    events.ResourceWritten: "info",
    events.AdminRequestRefused: "warning",
    events.SnapshotLoaded: "debug",
    events.SnapshotStale: "warning",
    events.WorldReplaced: "warning",
    events.ServerReady: "info",
    events.ServerStopping: "info",
    events.RequestFailed: "error",
    events.WorkFailed: "error",
    events.SchemaMigrated: "info",
    events.Bootstrapped: "info",
    events.EmbeddedPostgresReady: "info",
    events.EmbeddedPostgresDied: "error",
}
if unread := EVENT_TYPES - LEVELS.keys():  # pragma: no cover
    raise RuntimeError(f"no level for {unread}")

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


class _FromLibraries(logging.Handler):
    """Warnings of libraries, through the same processors: message only, since tracebacks quote values."""

    def __init__(self, logger: Any) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """One line for one record."""
        error = record.exc_info[0] if record.exc_info else None
        extra = {"error": error.__name__} if error is not None else {}
        self._logger.warning("LibraryWarning", library=record.name, message=_message(record), **extra)


def _message(record: logging.LogRecord) -> str:
    """The message; as its library wrote it where the arguments do not fit, since a log line must not fail a request."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - the arguments' own code runs here
        return str(record.msg)


def log_events(settings: LogSettings, stream: TextIO | None = None) -> Emit:
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
    root.handlers = [_FromLibraries(logger)]
    root.setLevel(logging.WARNING)
    written = {kind: getattr(logger, level) for kind, level in LEVELS.items() if _NUMBERS[level] >= least}
    names = {kind: tuple(field.name for field in fields(kind)) for kind in EVENT_TYPES}

    def emit(event: Event) -> None:
        kind = type(event)
        write = written.get(kind)
        if write is not None:
            write(kind.__name__, **{name: getattr(event, name) for name in names[kind]})

    return emit
