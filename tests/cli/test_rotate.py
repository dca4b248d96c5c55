"""`issuer rotate`: durable first, acknowledged second."""

import json
import os
from pathlib import Path
from stat import S_IMODE, S_ISDIR

import httpx
import pytest

from issuer.cli import app
from tests.cli.fake_issuer import NEW_SECRET, FakeIssuer, Run, failure

CREDENTIALS = "/apis/auth.nauthera.io/v1alpha1/namespaces/payments-prod/serviceaccounts/payment-service/credentials"
CREDENTIAL = {"version": 2, "state": "pending", "clientId": "sa-1", "clientSecret": NEW_SECRET}
TARGET = "payments-prod/payment-service"


@pytest.fixture
def issuer(fake: FakeIssuer) -> FakeIssuer:
    fake.overrides["POST", "/credentials"] = lambda _: httpx.Response(201, json=CREDENTIAL)
    fake.overrides["GET", "/credentials/current"] = lambda _: httpx.Response(200, json=CREDENTIAL)
    fake.overrides["POST", "/2/acknowledge"] = lambda _: httpx.Response(200, json={**CREDENTIAL, "clientSecret": None})
    return fake


def test_prints_lines_a_shell_can_read_and_then_acknowledges(issuer: FakeIssuer, run: Run) -> None:
    result = run("rotate", TARGET)
    assert result.exit_code == 0
    assert result.stdout == f"CLIENT_ID=sa-1\nCLIENT_SECRET={NEW_SECRET}\n"
    assert issuer.seen == [f"POST {CREDENTIALS}", f"POST {CREDENTIALS}/2/acknowledge"]


def test_a_file_is_whole_private_and_on_disk_before_the_acknowledgement(
    issuer: FakeIssuer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def watched(handle: int) -> None:
        synced.append("folder" if S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)

    def acknowledge(_: httpx.Request) -> httpx.Response:
        assert synced == ["file", "folder"]
        assert Path("new.env").read_text() == f"CLIENT_ID=sa-1\nCLIENT_SECRET={NEW_SECRET}\n"
        return httpx.Response(200, json={})

    issuer.overrides["POST", "/2/acknowledge"] = acknowledge
    Path("new.env").write_text("old")
    Path("new.env").chmod(0o644)
    result = run("rotate", TARGET, "--out", "new.env")
    assert result.exit_code == 0
    assert S_IMODE(Path("new.env").stat().st_mode) == 0o600
    assert NEW_SECRET not in result.output
    assert [path.name for path in Path().iterdir()] == ["new.env"]


def test_a_write_that_fails_is_not_acknowledged(issuer: FakeIssuer, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = run("rotate", TARGET, "--out", "new.env")
    assert result.exit_code == 1
    assert issuer.seen == [f"POST {CREDENTIALS}"]
    assert "No space left on device" in result.stderr
    assert "--resume" in result.stderr
    assert list(Path().iterdir()) == []
    assert NEW_SECRET not in result.output


def test_a_standard_output_that_fails_is_not_acknowledged(
    issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(SystemExit, match="1"):
            app(["rotate", TARGET])
    assert issuer.seen == [f"POST {CREDENTIALS}"]
    assert "it is not lost" in capfd.readouterr().err


def test_a_place_that_cannot_be_written_makes_no_secret(issuer: FakeIssuer, run: Run) -> None:
    result = run("rotate", TARGET, "--out", "missing/new.env")
    assert result.exit_code == 1
    assert issuer.seen == []
    assert run("rotate", TARGET, "--out", "/dev/null").exit_code == 2
    assert issuer.seen == []


def test_a_failed_acknowledgement_fails_and_says_how_to_go_on(issuer: FakeIssuer, run: Run) -> None:
    issuer.overrides["POST", "/2/acknowledge"] = lambda _: failure(503, "ServiceUnavailable", "later")
    result = run("rotate", TARGET, "--out", "new.env")
    assert result.exit_code == 1
    assert Path("new.env").exists()
    assert "--resume" in result.stderr


def test_a_version_somebody_else_holds_offers_resume(issuer: FakeIssuer, run: Run) -> None:
    issuer.overrides["POST", "/credentials"] = lambda _: failure(409, "Conflict", "version 2 is pending")
    result = run("rotate", TARGET)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "somebody else may hold a version that is not delivered yet" in result.stderr
    assert "--resume" in result.stderr


def test_resume_fetches_what_is_there_and_acknowledges_it(issuer: FakeIssuer, run: Run) -> None:
    result = run("rotate", TARGET, "--resume", "-o", "json")
    assert json.loads(result.stdout)["clientSecret"] == NEW_SECRET
    assert issuer.seen == [f"GET {CREDENTIALS}/current", f"POST {CREDENTIALS}/2/acknowledge"]


def test_resume_with_nothing_to_fetch_says_so(issuer: FakeIssuer, run: Run) -> None:
    issuer.overrides["GET", "/credentials/current"] = lambda _: failure(404, "NotFound", "no pending version")
    result = run("rotate", TARGET, "--resume")
    assert result.exit_code == 1
    assert "without --resume a new secret is made" in result.stderr


def test_compromise_and_grace_are_passed_on(issuer: FakeIssuer, run: Run) -> None:
    run("rotate", TARGET, "--compromised", "--grace-hours", "0")
    sent = next(each for each in issuer.requests if each.url.path == CREDENTIALS)
    assert json.loads(sent.content) == {"compromised": True, "gracePeriodHours": 0}


@pytest.mark.parametrize("words", [("payment-service",), ("a/",), ("a/b", "--resume", "--compromised")])
def test_a_rotation_that_makes_no_sense_is_exit_code_2(issuer: FakeIssuer, run: Run, words: tuple[str, ...]) -> None:
    assert run("rotate", *words).exit_code == 2
    assert issuer.requests == []
