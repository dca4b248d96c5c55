"""`issuer wait`: until a condition holds or an object is gone; told, not polled for."""

from collections.abc import Iterator

import pytest

from issuer.cli import following
from tests.cli.fake_issuer import FakeIssuer, Run, failure
from tests.cli.streams import account, broken, expired, interrupted, line

ACCOUNTS = "/apis/auth.nauthera.io/v1alpha1/namespaces/payments-prod/serviceaccounts"
NAME = "payments-prod/api"
READY = "--for=condition=Ready"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_PAUSE_S", 0.0)


def put(fake: FakeIssuer, name: str = "api", **conditions: str) -> None:
    fake.put(f"{ACCOUNTS}/{name}", account(name, fake.revision, **conditions))


def test_what_holds_already_needs_no_watch(fake: FakeIssuer, run: Run) -> None:
    put(fake, Ready="True")
    result = run("wait", "sa", NAME, READY)
    assert (result.exit_code, result.stdout) == (0, "serviceaccount/api condition met in payments-prod\n")
    assert not any("watch" in each.url.params for each in fake.requests)


def test_a_condition_is_waited_for_by_watching_the_one_object_from_its_list(fake: FakeIssuer, run: Run) -> None:
    put(fake, Ready="False")
    fake.streams = [[line("MODIFIED", **account("api", 8, Ready="True"))]]
    assert run("wait", "sa/api", "-n", "payments-prod", READY).exit_code == 0
    watched = fake.requests[-1].url.params
    assert watched["fieldSelector"] == "metadata.name=api"
    assert watched["resourceVersion"] == "3"
    assert watched["timeoutSeconds"] == "30"


def test_another_status_and_other_letters_can_be_waited_for(fake: FakeIssuer, run: Run) -> None:
    put(fake, Ready="False")
    assert run("wait", "sa", NAME, "--for=condition=Ready=false", "--timeout", "0s").exit_code == 0


def test_a_condition_of_an_older_generation_does_not_count(fake: FakeIssuer, run: Run) -> None:
    put(fake, Ready="True")
    found = fake.objects[f"{ACCOUNTS}/api"]
    found["metadata"]["generation"] = 2
    found["status"]["conditions"][0]["observedGeneration"] = 1
    result = run("wait", "sa", NAME, READY, "--timeout", "0s")
    assert "does not yet speak of the newest change" in result.stderr
    found["status"]["conditions"][0]["observedGeneration"] = 2
    assert run("wait", "sa", NAME, READY, "--timeout", "0s").exit_code == 0


def test_when_time_is_up_everything_still_missing_is_named(fake: FakeIssuer, run: Run) -> None:
    put(fake, "ready", Ready="True")
    put(fake, "not", Ready="False")
    put(fake, "bare")
    names = ("payments-prod/ready", "payments-prod/not", "payments-prod/bare", "payments-prod/absent")
    result = run("wait", "sa", *names, READY, "--timeout", "0s")
    assert result.exit_code == 1
    assert result.stdout == "serviceaccount/ready condition met in payments-prod\n"
    assert result.stderr.splitlines()[1:] == [
        "error: not reached within 0s",
        "  serviceaccount/not in payments-prod: condition Ready is False (BecauseFalse)",
        "  serviceaccount/bare in payments-prod: has no condition Ready (it has none)",
        "  serviceaccount/absent in payments-prod: does not exist",
    ]


@pytest.mark.parametrize("ending", ["in order", "broken", "expired"])
def test_time_ends_while_a_watch_runs(fake: FakeIssuer, run: Run, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    """However the stream ends: afterwards nothing more is asked, and no issuer that is away is waited for."""
    put(fake, Ready="False")
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def until_time_is_up() -> Iterator[bytes]:
        now[0] = 2.0
        fake.overrides["GET", "/serviceaccounts"] = lambda _: failure(503, "ServiceUnavailable", "away")
        yield from {"in order": [], "broken": broken(), "expired": [expired()]}[ending]

    fake.streams = [until_time_is_up()]
    result = run("wait", "sa", NAME, READY, "--timeout", "2s")
    assert result.exit_code == 1
    assert "condition Ready is False" in result.stderr
    assert fake.requests[-1].url.params["timeoutSeconds"] == "2"


def test_what_does_not_exist_yet_is_waited_for_and_said_so(fake: FakeIssuer, run: Run) -> None:
    fake.streams = [
        [line("ADDED", **account("api", 4, Ready="False")), line("MODIFIED", **account("api", 5, Ready="True"))]
    ]
    result = run("wait", "sa", NAME, READY)
    assert result.exit_code == 0
    assert result.stderr == "serviceaccount/api does not exist in payments-prod yet\n"


def test_a_deletion_is_waited_for(fake: FakeIssuer, run: Run) -> None:
    put(fake)
    fake.streams = [[line("MODIFIED", **account("api", 4)), line("DELETED", **account("api", 5))]]
    result = run("wait", "sa", NAME, "--for=delete")
    assert (result.exit_code, result.stdout) == (0, "serviceaccount/api deleted in payments-prod\n")


def test_a_successor_of_the_same_name_does_not_hide_a_deletion(fake: FakeIssuer, run: Run) -> None:
    put(fake)

    def replaced() -> bytes:
        fake.put(f"{ACCOUNTS}/api", account("api", 9, uid="another"))
        return expired()

    fake.streams = [(replaced() for _ in range(1))]
    assert run("wait", "sa", NAME, "--for=delete").exit_code == 0


@pytest.mark.parametrize("name", [NAME, "nowhere/api"])
def test_what_is_not_there_is_deleted(run: Run, name: str) -> None:
    assert run("wait", "sa", name.replace("api", "absent"), "--for=delete").exit_code == 0


def test_everything_a_selector_finds_is_waited_for(fake: FakeIssuer, run: Run) -> None:
    for name in ("one", "two"):
        put(fake, name, Ready="True" if name == "one" else "False")
        fake.objects[f"{ACCOUNTS}/{name}"]["metadata"]["labels"] = {"team": "payments"}
    put(fake, "other", Ready="False")
    fake.streams = [[line("MODIFIED", **account("two", 9, Ready="True"))]]
    result = run("wait", "sa", "-A", "-l", "team=payments", READY)
    assert [each.split()[0] for each in result.stdout.splitlines()] == ["serviceaccount/one", "serviceaccount/two"]
    assert result.exit_code == 0


def test_a_selector_that_finds_nothing_fails_but_for_a_deletion(run: Run) -> None:
    words = ("wait", "sa", "-n", "payments-prod", "-l", "team=nobody")
    result = run(*words, READY)
    assert result.exit_code == 1
    assert "there are no serviceaccounts in payments-prod that match -l team=nobody" in result.stderr
    assert run(*words, "--for=delete").exit_code == 0


def test_ctrl_c_is_quiet(fake: FakeIssuer, run: Run) -> None:
    put(fake, Ready="False")
    fake.streams = [interrupted()]
    result = run("wait", "sa", NAME, READY)
    assert (result.exit_code, result.stderr) == (130, "")


@pytest.mark.parametrize(
    "words",
    [
        ("sa", NAME),
        ("sa", NAME, "--for=ready"),
        ("sa", NAME, "--for=condition="),
        ("sa", READY),
        ("sa", NAME, "-l", "a=b", READY),
        ("sa", NAME, "-A", READY),
        ("sa", NAME, READY, "--timeout", "soon"),
        ("pods", "x", READY),
    ],
)
def test_a_wait_that_makes_no_sense_is_exit_code_2(fake: FakeIssuer, run: Run, words: tuple[str, ...]) -> None:
    assert run("wait", *words).exit_code == 2
    assert fake.requests == []
