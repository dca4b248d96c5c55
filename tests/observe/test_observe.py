"""Events become lines; nothing that looks like a secret gets into one, whoever put it there."""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Literal, get_args

import pytest

from issuer.credentials import format_secret
from issuer.events import EVENT_TYPES, Caller, RequestFailed, SnapshotLoaded, TokenIssued, TokenRefused
from issuer.observe.log import LEVELS, log_events, redact
from issuer.settings import LogSettings
from tests.observe.happened import filled

SECRET = format_secret(b"\x2a" * 32)
JWT = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJzYS0xIn0.c2lnbmF0dXJlLWJ5dGVz"
PEM = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\nAgEGCCqGSM49AwEHBG0w\n-----END PRIVATE KEY-----"
JWK_D = "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"
MASTER_KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="

Format = Literal["json", "console"]
FORMATS = get_args(Format)


@pytest.fixture(autouse=True)
def _root_logger_as_it_was() -> Iterator[None]:
    handlers, level = logging.root.handlers, logging.root.level
    yield
    logging.root.handlers = handlers
    logging.root.setLevel(level)


REDACTED = [
    (SECRET, "[redacted]"),
    (f"client_secret={SECRET}&grant_type=x", "client_secret=[redacted]&grant_type=x"),
    (f'{{"clientSecret": "{SECRET}"}}', '{"clientSecret": "[redacted]"}'),
    (JWT, "[redacted]"),
    (f"token {JWT} is expired", "token [redacted] is expired"),
    (JWT.rpartition(".")[0] + ".", "[redacted]"),
    (PEM, "[redacted]"),
    (PEM.replace("PRIVATE", "EC PRIVATE"), "[redacted]"),
    (f"before {PEM} after", "before [redacted] after"),
    (PEM.partition("-----END")[0], "[redacted]"),
    (PEM.replace("\n", "\\n"), "[redacted]"),
    ("Authorization: Basic c2EtMTpzZWNyZXQ=", "Authorization: Basic [redacted]"),
    ("authorization: bearer abcdefgh12345678", "authorization: bearer [redacted]"),
    ("BASIC c2EtMTpzZWNyZXQ=", "BASIC [redacted]"),
    ("postgresql://issuer:hunter2@db:5432/issuer", "postgresql://[redacted]@db:5432/issuer"),
    ("postgresql://issuer:p@ss:w@rd@db/issuer", "postgresql://[redacted]@db/issuer"),
    ("postgresql://:hunter2@db/issuer", "postgresql://[redacted]@db/issuer"),
    ("host=db password=hunter2 user=issuer", "host=db password=[redacted] user=issuer"),
    (f'{{"kty": "EC", "d": "{JWK_D}", "x": "abc"}}', '{"kty": "EC", "d": "[redacted]", "x": "abc"}'),
    (f"{{'d': '{JWK_D}'}}", "{'d': '[redacted]'}"),
    (f"k1:{MASTER_KEY}", "k1:[redacted]"),
    (f"ISSUER_MASTER_KEY=k1:{MASTER_KEY}\n", "ISSUER_MASTER_KEY=k1:[redacted]\n"),
]


@pytest.mark.parametrize(("text", "expected"), REDACTED, ids=[text[:40].replace("\n", " ") for text, _ in REDACTED])
def test_what_has_a_secrets_shape_is_taken_out(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "payments/api",
        "sa-6ba7b810-9dad-41d1-80b4-00c04fd430c8",
        "secret/3",
        "the Basic scheme is not base64",
        '{"kid": "oXCkr2yFwQ5v7wJ7bT0J8m3kq1lYh2Zb9s8dKf0aGmE"}',
        "http://127.0.0.1:8080/oauth2/token",
        "http://[::1]:8080/a@b",
        "https://ledger.example.com/path:with/colon",
        "2026-01-31T12:00:00Z",
        "oXCkr2yFwQ5v7wJ7bT0J8m3kq1lYh2Zb9s8dKf0aGmE",  # a thumbprint: every kid and public key looks like this
        "isk1_",
        "the password must be changed",
    ],
)
def test_what_has_none_stays_readable(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("form", FORMATS)
def test_an_event_is_one_line_at_its_level(form: Format) -> None:
    stream, emit = lines(form)
    emit(SnapshotLoaded(7, 4))
    emit(TokenRefused("secret_wrong", "", None, "192.0.2.1"))
    written = stream.getvalue().splitlines()
    assert len(written) == 2
    if form == "json":
        first, second = map(json.loads, written)
        assert (first["event"], first["level"], first["revision"], first["keys"]) == ("SnapshotLoaded", "debug", 7, 4)
        assert (second["event"], second["level"], second["client_id"]) == ("TokenRefused", "info", None)
        assert first["timestamp"].endswith("Z")


def test_a_level_keeps_the_lesser_ones_out() -> None:
    stream, emit = lines("json", "warning")
    emit(TokenRefused("secret_wrong", "", None, ""))
    emit(SnapshotLoaded(1, 1))
    assert stream.getvalue() == ""
    emit(RequestFailed("/x", "ValueError", "y.py:1"))
    assert json.loads(stream.getvalue())["level"] == "error"


def test_every_event_has_a_level_and_is_written_whole() -> None:
    assert LEVELS.keys() == EVENT_TYPES
    stream, emit = lines("json")
    for kind in sorted(EVENT_TYPES, key=lambda each: each.__name__):
        emit(filled(kind, "value"))
        line = json.loads(stream.getvalue().splitlines()[-1])
        assert line["event"] == kind.__name__
        told = {field.name for field in fields(kind)}
        if told & {"caller"}:
            told = told - {"caller"} | {*Caller._fields} - {"uid"} | {"client_id"}
        assert told <= line.keys()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("secret", [SECRET, JWT, PEM, f"Basic {JWK_D}=", f"postgresql://u:{SECRET}@h/d"])
def test_a_secret_in_any_field_of_any_event_is_taken_out(form: Format, secret: str) -> None:
    stream, emit = lines(form)
    for kind in EVENT_TYPES:
        emit(filled(kind, f"before {secret} after"))
    written = stream.getvalue()
    assert "[redacted]" in written
    for part in (SECRET, JWT, "MIGHAgEAMBMGByqGSM49", JWK_D):
        assert part not in written


@pytest.mark.parametrize("form", FORMATS)
def test_a_value_from_outside_never_begins_a_line_of_its_own(form: Format) -> None:
    """A path or a cause may hold line breaks and terminal escapes: they must not forge or repaint a line."""
    stream, emit = lines(form)
    emit(RequestFailed("/a\n2026-01-31 [error] Forged\r\x1b[2J\x85\u2028x", "ValueError", ""))
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b[2J" not in stream.getvalue()


@pytest.mark.parametrize("form", FORMATS)
def test_what_libraries_log_goes_the_same_way(form: Format) -> None:
    stream, _ = lines(form)
    library = logging.getLogger("asyncpg.pool")  # noqa: TID251 - plays the library
    library.warning(
        "could not connect to %s with %s", f"postgresql://u:{SECRET}@h/d", {"authorization": f"Basic {JWK_D}="}
    )
    library.info("not loud enough")
    written = stream.getvalue()
    assert len(written.splitlines()) == 1
    assert "asyncpg.pool" in written
    assert "LibraryWarning" in written
    assert SECRET not in written
    assert JWK_D not in written
    assert "not loud enough" not in written


@pytest.mark.parametrize("form", FORMATS)
def test_of_a_librarys_exception_only_the_type_is_written(form: Format) -> None:
    stream, _ = lines(form)
    library = logging.getLogger("uvicorn.error")  # noqa: TID251 - plays the library
    try:
        raise ValueError("no shape, still secret: hunter2")
    except ValueError:
        library.exception("Exception in ASGI application")
        library.error("and with the stack", stack_info=True)
    written = stream.getvalue()
    assert "ValueError" in written
    assert "hunter2" not in written
    assert "Traceback" not in written
    assert "stack_info" not in written


def test_a_message_a_library_cannot_format_costs_neither_the_request_nor_the_line() -> None:
    stream, _ = lines("json")
    library = logging.getLogger("library")  # noqa: TID251 - plays the library
    library.warning("%d tokens for %s", "many", SECRET)
    line = json.loads(stream.getvalue())
    assert line["message"] == "%d tokens for %s"
    assert SECRET not in stream.getvalue()


def lines(form: Format, level: Literal["debug", "warning"] = "debug") -> tuple[io.StringIO, Any]:
    stream = io.StringIO()
    return stream, log_events(LogSettings(format=form, level=level), stream)


def test_issued_tokens_are_named_and_never_shown() -> None:
    shown = {field.name for field in fields(TokenIssued)}
    assert not shown & {"token", "access_token", "secret", "client_secret", "assertion"}


def test_a_line_that_cannot_be_written_is_lost_and_nothing_else() -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

    emit = log_events(LogSettings(), Full())
    emit(RequestFailed("/x", "ValueError", "y.py:1"))
