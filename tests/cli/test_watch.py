"""`issuer watch`: what there is, every change once, and nothing lost when a stream ends."""

import json

import httpx
import pytest

from issuer.cli import following
from tests.cli.fake_issuer import FakeIssuer, Run, failure
from tests.cli.streams import account, bookmark, broken, expired, interrupted, line

ACCOUNTS = "/apis/auth.nauthera.io/v1alpha1/namespaces/payments-prod/serviceaccounts"
WATCH = ("watch", "sa", "-n", "payments-prod")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_PAUSE_S", 0.0)


@pytest.fixture
def stocked(fake: FakeIssuer) -> FakeIssuer:
    """One account at revision 3."""
    fake.put(f"{ACCOUNTS}/api", account("api", 3, phase="Pending"))
    return fake


def watched_from(fake: FakeIssuer) -> list[str]:
    """The revision each WATCH began at."""
    asked = [each.url.params for each in fake.requests]
    return [params["resourceVersion"] for params in asked if params.get("watch")]


def words(text: str) -> list[list[str]]:
    return [row.split()[:3] for row in text.splitlines()]


def test_what_there_is_and_then_every_change(stocked: FakeIssuer, run: Run) -> None:
    changes = [
        line("MODIFIED", **account("api", 4)),
        line("ADDED", **account("b", 5)),
        line("DELETED", **account("b", 6)),
    ]
    stocked.streams = [interrupted(*changes)]
    result = run(*WATCH)
    assert words(result.stdout) == [
        ["EVENT", "NAME", "PHASE"],
        ["ADDED", "api", "Pending"],
        ["MODIFIED", "api", "Active"],
        ["ADDED", "b", "Active"],
        ["DELETED", "b", "Active"],
    ]
    assert {row.index("a") for row in result.stdout.splitlines()[1:3]} == {result.stdout.index("NAME")}
    assert watched_from(stocked) == ["3"]


def test_ctrl_c_is_quiet(stocked: FakeIssuer, run: Run) -> None:
    stocked.streams = [interrupted()]
    result = run(*WATCH)
    assert (result.exit_code, result.stderr) == (130, "")


def test_an_empty_collection_shows_its_headers_and_waits(fake: FakeIssuer, run: Run) -> None:
    fake.streams = [interrupted()]
    assert words(run(*WATCH).stdout) == [["EVENT", "NAME", "PHASE"]]


def test_json_is_one_whole_event_a_line(stocked: FakeIssuer, run: Run) -> None:
    odd = account("api", 4) | {"spec": {"displayName": "line\u2028end"}}
    stocked.streams = [interrupted(line("MODIFIED", **odd), bookmark(7))]
    first, second = (json.loads(each) for each in run(*WATCH, "-o", "json").stdout.splitlines())
    assert (first["type"], second["type"]) == ("ADDED", "MODIFIED")
    assert first["object"]["kind"] == "ServiceAccount"
    assert second["object"]["spec"] == {"displayName": "line\u2028end"}


def test_a_stream_that_ends_is_taken_up_at_the_last_revision_a_bookmark_included(stocked: FakeIssuer, run: Run) -> None:
    stocked.streams = [[line("MODIFIED", **account("api", 4))], [bookmark(9)], interrupted()]
    result = run(*WATCH)
    assert watched_from(stocked) == ["3", "4", "9"]
    assert len(words(result.stdout)) == 3


def test_a_broken_connection_is_taken_up_where_it_was(stocked: FakeIssuer, run: Run) -> None:
    stocked.streams = [broken(line("MODIFIED", **account("api", 4))), interrupted()]
    result = run(*WATCH)
    assert watched_from(stocked) == ["3", "4"]
    assert (
        result.stderr
        == "the connection to http://127.0.0.1:8081 broke: peer closed connection; trying again until it passes\n"
    )


def test_an_issuer_that_is_away_for_a_while_is_waited_for_and_each_trouble_said_once(
    stocked: FakeIssuer, run: Run
) -> None:
    def away(request: httpx.Request) -> httpx.Response:
        if "watch" not in request.url.params:
            return stocked.resource(request)
        match len(watched_from(stocked)):
            case 1 | 2:
                raise httpx.ConnectError("refused")
            case 3 | 4:
                return failure(503, "ServiceUnavailable", "starting")
            case _:
                return stocked.resource(request)

    stocked.overrides["GET", "/serviceaccounts"] = away
    stocked.streams = [interrupted()]
    result = run(*WATCH)
    assert result.exit_code == 130
    assert [said.rpartition("; ")[2] for said in result.stderr.splitlines()] == ["trying again until it passes"] * 2
    assert "starting; trying" in result.stderr


def test_a_watch_ends_before_its_token_does(stocked: FakeIssuer, run: Run) -> None:
    """The fake's tokens last 300 s, and streams are asked for 300 s."""
    stocked.streams = [interrupted()]
    run(*WATCH)
    assert 290 <= int(stocked.requests[-1].url.params["timeoutSeconds"]) < 300


@pytest.mark.parametrize("as_event", [True, False], ids=["an event", "an answer"])
def test_after_410_everything_is_listed_again_and_only_the_differences_are_told(
    stocked: FakeIssuer, run: Run, *, as_event: bool
) -> None:
    stocked.put(f"{ACCOUNTS}/gone", account("gone", 4))
    stocked.put(f"{ACCOUNTS}/same", account("same", 5))
    stocked.put(f"{ACCOUNTS}/anew", account("anew", 6))

    def too_old(request: httpx.Request) -> httpx.Response:
        if "watch" not in request.url.params:
            return stocked.resource(request)
        del stocked.overrides["GET", "/serviceaccounts"]
        del stocked.objects[f"{ACCOUNTS}/gone"]
        stocked.put(f"{ACCOUNTS}/api", account("api", 8))
        stocked.put(f"{ACCOUNTS}/anew", account("anew", 9, uid="another"))
        return httpx.Response(200, content=[expired()]) if as_event else failure(410, "Expired", "too old")

    stocked.overrides["GET", "/serviceaccounts"] = too_old
    stocked.streams = [interrupted()]
    result = run(*WATCH)
    later = [row[:2] for row in words(result.stdout)[5:]]
    assert later == [["DELETED", "anew"], ["DELETED", "gone"], ["ADDED", "anew"], ["MODIFIED", "api"]]
    assert result.stderr == ""


def test_what_a_younger_page_showed_already_is_not_told_again(stocked: FakeIssuer, run: Run) -> None:
    """Later pages of a list may be younger than the revision it is watched from."""
    stocked.put(f"{ACCOUNTS}/api", account("api", 6, uid="recreated"))
    revision = stocked.revision
    old = [line("MODIFIED", **account("api", revision - 2)), line("DELETED", **account("api", revision - 1))]
    old += [line("ADDED", **account("api", revision, uid="recreated")), line("DELETED", **account("gone", revision))]
    stocked.streams = [interrupted(*old)]
    assert len(words(run(*WATCH).stdout)) == 2


def test_a_selector_and_a_name_are_the_issuers_to_apply(stocked: FakeIssuer, run: Run) -> None:
    stocked.streams = [interrupted(), interrupted()]
    run(*WATCH, "-l", "team=payments")
    run("watch", "sa/api", "-n", "payments-prod")
    listed, watched, *_ = [each.url.params for each in stocked.requests if each.method == "GET"]
    assert listed["labelSelector"] == watched["labelSelector"] == "team=payments"
    assert stocked.requests[-1].url.params["fieldSelector"] == "metadata.name=api"


def test_all_namespaces_have_a_column(stocked: FakeIssuer, run: Run) -> None:
    stocked.streams = [interrupted()]
    assert words(run("watch", "sa", "-A").stdout)[1] == ["ADDED", "payments-prod", "api"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda _: failure(403, "Forbidden", "may not watch"), "may not watch"),
        (lambda _: httpx.Response(200, content=b"<html>\n"), "no event of a watch"),
        (lambda _: httpx.Response(200, content=[line("ERROR", code=500, message="broken")]), "broken"),
    ],
    ids=["refused", "no admin API", "an error in the stream"],
)
def test_what_waiting_cannot_mend_is_reported(stocked: FakeIssuer, run: Run, answer: object, said: str) -> None:
    def only_watch(request: httpx.Request) -> httpx.Response:
        if "watch" in request.url.params:
            assert callable(answer)
            answered = answer(request)
            assert isinstance(answered, httpx.Response)
            return answered
        return stocked.resource(request)

    stocked.overrides["GET", "/serviceaccounts"] = only_watch
    result = run(*WATCH)
    assert result.exit_code == 1
    assert said in result.stderr


def test_an_issuer_that_was_never_there_is_not_waited_for(
    run: Run, fake: FakeIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    monkeypatch.setitem(fake.overrides, ("GET", "/serviceaccounts"), refused)
    result = run(*WATCH)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: nothing answers at")


def test_a_missing_namespace_is_no_reason_to_wait(run: Run) -> None:
    result = run("watch", "sa", "-n", "nowhere")
    assert result.exit_code == 1
    assert "`issuer get namespaces` shows which there are" in result.stderr
