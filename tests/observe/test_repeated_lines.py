"""A flood is a line and a number: strangers fill neither our disk nor the reader's eyes."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from issuer.events import (
    AdminRequestRefused,
    Emit,
    RequestFailed,
    ResourceWritten,
    RetiredSecretPresented,
    ServerStopping,
    TokenAnswered,
    TokenRefused,
)
from issuer.observe.log import MAX_DIFFERENT, REPEATS_S, log_events
from issuer.settings import LogSettings

HERE = "192.0.2.1"


@pytest.fixture(autouse=True)
def _root_logger_as_it_was() -> Iterator[None]:
    handlers, level = logging.root.handlers, logging.root.level
    yield
    logging.root.handlers = handlers
    logging.root.setLevel(level)


class Log:
    """What was written, and the clock it was written by."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._stream = io.StringIO()
        self.emit: Emit = log_events(LogSettings(format="json", level="debug"), self._stream, lambda: self.now)

    def lines(self) -> list[dict[str, Any]]:
        """Those written since the last call."""
        written = [json.loads(line) for line in self._stream.getvalue().splitlines()]
        self._stream.seek(0)
        self._stream.truncate()
        return written

    def minute(self) -> list[dict[str, Any]]:
        """What is said when the time is over and anything at all happens."""
        self.now += REPEATS_S
        self.emit(ServerStopping())
        *lines, last = self.lines()
        assert last["event"] == "ServerStopping"
        return lines


@pytest.fixture
def log() -> Log:
    return Log()


def refused(source: str = HERE, client_id: str | None = "sa-1", failure: str = "secret_wrong") -> TokenRefused:
    return TokenRefused(failure, "", client_id, source)


def test_a_flood_is_its_first_line_at_once_and_a_number_a_minute_later(log: Log) -> None:
    for _ in range(10_000):
        log.emit(refused())
    (first,) = log.lines()
    assert "repeated" not in first
    (summary,) = log.minute()
    assert (summary["event"], summary["client_id"], summary["source"]) == ("TokenRefused", "sa-1", HERE)
    assert summary["repeated"] == 9_999
    assert log.minute() == [], "it is over, and was said"


def test_a_flood_that_goes_on_is_two_lines_a_minute(log: Log) -> None:
    for _ in range(10 * 600):
        log.emit(refused())
        log.now += REPEATS_S / 600
    assert 10 <= len(log.lines()) <= 20


def test_nothing_is_lost_in_the_count(log: Log) -> None:
    for number in range(5_000):
        log.emit(refused(client_id=f"sa-{number % 7}"))
        log.now += 0.05
    written = [*log.lines(), *log.minute()]
    assert sum(line.get("repeated", 1) for line in written) == 5_000


DIFFERENT = {
    "another reason": refused(failure="client_unknown"),
    "another client": refused(client_id="sa-2"),
    "nobody we know": refused(client_id=None),
    "another source": refused(source="198.51.100.7"),
}


@pytest.mark.parametrize("other", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_what_differs_is_a_line_of_its_own(log: Log, other: TokenRefused) -> None:
    log.emit(refused())
    log.emit(other)
    assert len(log.lines()) == 2


def test_sources_of_one_ipv6_network_are_one(log: Log) -> None:
    for number in range(100):
        log.emit(refused(source=f"2001:db8:1:2::{number:x}"))
    assert len(log.lines()) == 1


def test_however_many_differ_the_lines_are_bounded_and_the_rest_is_a_number(log: Log) -> None:
    for number in range(10 * MAX_DIFFERENT):
        log.emit(refused(source=f"10.1.{number // 250}.{number % 250}"))
    assert len(log.lines()) == MAX_DIFFERENT
    (omitted,) = log.minute()
    assert (omitted["event"], omitted["level"], omitted["repeated"]) == ("LinesOmitted", "warning", 9 * MAX_DIFFERENT)


REPEATED = {
    "a retired secret": RetiredSecretPresented("sa-1", 3, HERE),
    "administrators refused": AdminRequestRefused("", "list", "Namespace", "", "", "no token"),
    "answers": TokenAnswered(401, 0.001),
    "an error of ours": RequestFailed("/oauth2/token", "KeyError", "issuance.py:1"),
}


@pytest.mark.parametrize("event", REPEATED.values(), ids=REPEATED.keys())
def test_so_is_whatever_else_strangers_can_bring_about(log: Log, event: Any) -> None:
    for _ in range(100):
        log.emit(event)
    assert len(log.lines()) == 1
    assert [line["repeated"] for line in log.minute()] == [99]


def test_what_only_administrators_do_is_a_line_each_time(log: Log) -> None:
    for revision in range(20):
        log.emit(ResourceWritten("local", "create", "Namespace", "", "x", revision))
    assert len(log.lines()) == 20


def test_the_warnings_of_libraries_are_counted_by_what_they_say_not_by_what_they_quote(log: Log) -> None:
    logger = logging.getLogger("uvicorn.error")  # noqa: TID251 - a library's
    for number in range(100):
        logger.warning("Invalid HTTP request received from %s.", number)
    assert len(log.lines()) == 1
    assert [(line["library"], line["repeated"]) for line in log.minute()] == [("uvicorn.error", 99)]
