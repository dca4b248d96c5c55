"""`issuer audit search` and `tail`: the record of decisions, for people and for programs."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from issuer.cli import decisions
from issuer.model.times import format_time
from tests.cli.fake_issuer import FakeIssuer, Run, failure

NOW = datetime(2027, 1, 15, 12, tzinfo=UTC)
EVERYWHERE = "/apis/auth.nauthera.io/v1alpha1/decisionrecords"
WITHIN = "/apis/auth.nauthera.io/v1alpha1/namespaces/payments-prod/decisionrecords"


def record(number: int, at: datetime = NOW, **parts: Any) -> dict[str, Any]:
    """The record of that number; the later the greater."""
    name = UUID(int=int(at.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62 | number)
    return {
        "apiVersion": "auth.nauthera.io/v1alpha1",
        "kind": "DecisionRecord",
        "metadata": {"name": str(name), "namespace": "payments-prod", "creationTimestamp": format_time(at)},
        "outcome": "issued",
        "account": {"name": "payment-service", "uid": "u", "resourceVersion": "3"},
        "method": "client_secret_basic",
        "credential": "secret/3",
        "source": "192.0.2.1",
        "requested": {},
        "granted": {
            "scope": "api:read",
            "audience": "https://api.example.com",
            "accessTokenTTL": "5m",
            "jti": f"jti-{number}",
            "kid": "k",
        },
        "policies": [],
        **parts,
    }


class Record:
    """A record of decisions in an issuer that is not there: pages of 3 at most, the newest first."""

    def __init__(self, fake: FakeIssuer) -> None:
        self.records: list[dict[str, Any]] = []
        self.asked: list[dict[str, str]] = []
        self.paths: list[str] = []
        fake.overrides["GET", "/decisionrecords"] = self

    def __call__(self, request: httpx.Request) -> httpx.Response:
        asked = dict(request.url.params)
        self.asked.append(asked)
        self.paths.append(request.url.path)
        left = sorted(self.records, key=lambda each: each["metadata"]["name"], reverse=True)
        if "continue" in asked:
            left = [each for each in left if each["metadata"]["name"] < asked["continue"]]
        items = left[: min(3, int(asked["limit"]))]
        more = {"continue": items[-1]["metadata"]["name"]} if len(items) < len(left) else {}
        return httpx.Response(200, json={"metadata": more, "items": items})


@pytest.fixture
def kept(fake: FakeIssuer, monkeypatch: pytest.MonkeyPatch) -> Record:
    monkeypatch.setattr(time, "time", NOW.timestamp)
    return Record(fake)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What happens between two looks of `tail`; then comes Ctrl-C."""
    happening: list[Callable[[], None]] = []

    def pauses() -> Iterator[None]:
        for each in happening:
            each()
            yield
        raise KeyboardInterrupt

    waiting = pauses()
    monkeypatch.setattr(time, "sleep", lambda _: next(waiting))
    return happening


def jtis(output: str) -> list[str]:
    return [line.split()[-1] for line in output.splitlines()[1:]]


# --- search ----------------------------------------------------------------------------------------------------------


def test_a_decision_is_a_line(kept: Record, run: Run) -> None:
    refused = record(2, outcome="account_disabled", requested={"scope": "api:write"})
    del refused["granted"]
    kept.records = [record(1), refused]
    header, first, second = run("audit", "search").stdout.splitlines()
    assert header.split() == list(decisions.HEADERS)
    account = ["payments-prod/payment-service", "secret/3", "192.0.2.1"]
    assert first.split() == [format_time(NOW), "account_disabled", *account, "api:write", "-", "-", "-"]
    assert second.split() == [
        format_time(NOW),
        "issued",
        *account,
        "api:read",
        "https://api.example.com",
        "5m",
        "jti-1",
    ]


def test_every_filter_is_asked_for_by_its_name(kept: Record, run: Run) -> None:
    words = ["--uid", "u", "--outcome", "refused", "--jti", "j", "--scope", "s", "--audience", "a"]
    words += ["--credential", "secret/3", "--kid", "k", "--trace-id", "t"]
    assert run("audit", "search", "payments-prod/payment-service", *words).exit_code == 0
    assert kept.paths == [WITHIN]
    assert kept.asked == [
        {
            "account": "payment-service",
            "uid": "u",
            "outcome": "refused",
            "jti": "j",
            "scope": "s",
            "audience": "a",
            "credential": "secret/3",
            "kid": "k",
            "traceId": "t",
            "limit": "50",
        }
    ]


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ((), EVERYWHERE),
        (("-n", "payments-prod"), WITHIN),
        (("payments-prod/x", "-n", "payments-prod"), WITHIN),
    ],
    ids=str,
)
def test_everywhere_in_a_namespace_or_about_an_account(
    kept: Record, run: Run, words: tuple[str, ...], path: str
) -> None:
    assert run("audit", "search", *words).exit_code == 0
    assert kept.paths == [path]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90m", "2027-01-15T10:30:00.000Z"),
        ("7d", "2027-01-08T12:00:00.000Z"),
        ("2027-01-01T00:00:00+01:00", "2027-01-01T00:00:00+01:00"),
    ],
)
def test_a_time_is_so_long_ago_or_rfc_3339(kept: Record, run: Run, text: str, meant: str) -> None:
    assert run("audit", "search", "--from", text, "--until", "0s").exit_code == 0
    assert (kept.asked[0]["from"], kept.asked[0]["until"]) == (meant, "2027-01-15T12:00:00.000Z")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("payment-service",), "names no namespace"),
        (("a/b", "-n", "c"), "its namespace is not the one of -n"),
        (("-n", "../x"), "cannot be the name of a namespace"),
        (("--from", "yesterday"), "write how long ago"),
        (("--limit", "0"), "--limit"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_exit_code_2_and_asks_nobody(
    kept: Record, fake: FakeIssuer, run: Run, words: tuple[str, ...], said: str
) -> None:
    result = run("audit", "search", *words)
    assert (result.exit_code, kept.asked, fake.seen) == (2, [], [])
    assert said in result.stderr


def test_pages_are_read_up_to_the_limit_empty_ones_too(kept: Record, fake: FakeIssuer, run: Run) -> None:
    kept.records = [record(number) for number in range(8)]
    assert jtis(run("audit", "search", "--limit", "7").stdout) == [f"jti-{number}" for number in range(7, 0, -1)]
    assert [each["limit"] for each in kept.asked] == ["7", "4", "1"]
    pages = iter([{"metadata": {"continue": "x"}, "items": []}, {"metadata": {}, "items": [record(1)]}])
    fake.overrides["GET", "/decisionrecords"] = lambda _: httpx.Response(200, json=next(pages))
    assert jtis(run("audit", "search").stdout) == ["jti-1"]


def test_json_is_one_document(kept: Record, run: Run) -> None:
    kept.records = [record(1), record(2)]
    told = json.loads(run("audit", "search", "-o", "json").stdout)
    assert told["kind"] == "DecisionRecordList"
    assert told["items"] == [record(2), record(1)]


def test_nothing_found_says_how_to_look_further_back(kept: Record, run: Run) -> None:
    result = run("audit", "search")
    assert (result.exit_code, result.stdout, kept.records) == (0, "", [])
    assert "--from looks further back" in result.stderr
    assert "--from" not in run("audit", "search", "--from", "7d").stderr


def test_a_refusal_is_told_in_the_words_of_the_api(kept: Record, fake: FakeIssuer, run: Run) -> None:
    del kept
    fake.overrides["GET", "/decisionrecords"] = lambda _: failure(
        400, "BadRequest", "the query cannot be used", ("outcome", "must be one of them")
    )
    result = run("audit", "search", "--outcome", "maybe")
    assert result.exit_code == 1
    assert "outcome: must be one of them" in result.stderr


# --- tail ------------------------------------------------------------------------------------------------------------


def test_tail_shows_the_newest_and_then_each_new_one_once(
    kept: Record, run: Run, looks: list[Callable[[], None]]
) -> None:
    kept.records = [record(number) for number in range(5)]
    looks += [
        lambda: None,
        lambda: kept.records.extend([record(6), record(7)]),
        lambda: None,
        lambda: kept.records.append(record(5)),  # visible later than others, with an earlier id
    ]
    result = run("audit", "tail", "--lines", "2")
    assert result.exit_code == 130
    assert jtis(result.stdout) == ["jti-3", "jti-4", "jti-6", "jti-7", "jti-5"]
    assert result.stderr == ""


def test_tail_of_no_lines_begins_with_what_comes(kept: Record, run: Run, looks: list[Callable[[], None]]) -> None:
    kept.records = [record(1)]
    looks.append(lambda: kept.records.append(record(2)))
    assert jtis(run("audit", "tail", "--lines", "0", "--outcome", "issued").stdout) == ["jti-2"]
    assert {each["outcome"] for each in kept.asked} == {"issued"}


def test_a_look_goes_no_further_back_than_something_new_can_be(
    kept: Record, run: Run, looks: list[Callable[[], None]]
) -> None:
    kept.records = [record(1, NOW - timedelta(hours=7))]
    looks += [lambda: kept.records.append(record(2)), lambda: None]
    run("audit", "tail")
    assert [each.get("from") for each in kept.asked] == [
        None,
        *["2027-01-15T11:55:00.000Z"] * 2,
        "2027-01-15T11:59:57.000Z",
    ]


def test_more_than_can_be_shown_is_said(
    kept: Record, run: Run, looks: list[Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "PAGE", 3)
    monkeypatch.setattr(decisions, "_PAGES", 2)
    looks.append(lambda: kept.records.extend(record(number) for number in range(9)))
    result = run("audit", "tail", "--lines", "1")
    assert jtis(result.stdout) == [f"jti-{number}" for number in range(3, 9)]
    assert "some are not shown" in result.stderr


def test_json_is_one_record_a_line(kept: Record, run: Run, looks: list[Callable[[], None]]) -> None:
    kept.records = [record(1)]
    looks.append(lambda: kept.records.append(record(2)))
    lines = run("audit", "tail", "-o", "json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [record(1), record(2)]


def test_an_issuer_that_restarts_is_waited_for_and_one_that_refuses_is_not(
    kept: Record, fake: FakeIssuer, run: Run, looks: list[Callable[[], None]]
) -> None:
    def answer_with(answer: Callable[[httpx.Request], httpx.Response]) -> Callable[[], None]:
        return lambda: fake.overrides.update({("GET", "/decisionrecords"): answer})

    away = answer_with(lambda _: failure(503, "ServiceUnavailable", "the database does not answer"))
    looks += [away, away, answer_with(kept), away, answer_with(lambda _: failure(403, "Forbidden", "may not"))]
    kept.records = [record(1)]
    result = run("audit", "tail")
    assert result.exit_code == 1
    assert result.stderr.count("trying again until it passes") == 2
    assert "may not" in result.stderr


@pytest.mark.parametrize("words", [("audit",), ("audit", "search", "--help"), ("audit", "tail", "--help")], ids=str)
def test_help_says_what_there_is_and_gives_an_example(run: Run, words: tuple[str, ...]) -> None:
    told = run(*words).output
    assert ("Example:" in told) if len(words) > 1 else ("search" in told and "tail" in told)
