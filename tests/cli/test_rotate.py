"""`issuer rotate`: durable first, acknowledged second."""

import json
import os
from base64 import b64decode
from pathlib import Path
from stat import S_IMODE, S_ISDIR
from typing import Any

import httpx
import pytest
import yaml

from issuer.cli import app
from issuer.cli.privatefile import private_file
from tests.cli.fake_issuer import NEW_SECRET, FakeIssuer, Run, failure

ACCOUNT = "/apis/auth.nauthera.io/v1alpha1/namespaces/payments-prod/serviceaccounts/payment-service"
CREDENTIALS = f"{ACCOUNT}/credentials"
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


def test_a_version_somebody_else_holds_offers_the_very_command_that_resumes(issuer: FakeIssuer, run: Run) -> None:
    issuer.put(ACCOUNT, {"status": {"conditions": [{"type": "CredentialsProvisioned", "status": "False"}]}})
    issuer.overrides["POST", "/credentials"] = lambda _: failure(409, "Conflict", "version 2 is pending")
    result = run("rotate", TARGET, "-o", "json", "--out", "a file.json")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "somebody else may hold a version that is not delivered yet" in result.stderr
    assert f"`issuer rotate {TARGET} --resume -o json --out 'a file.json'`" in result.stderr


@pytest.mark.parametrize(
    ("account", "said"),
    [
        ({"spec": {"managedBy": {"uid": "x"}}}, "--force does it all the same"),
        ({"spec": {}}, f"`issuer get credentials {TARGET}` shows how they stand"),
        (None, "look at the object"),
    ],
)
def test_another_conflict_does_not_offer_to_resume_or_to_cut_what_works(
    issuer: FakeIssuer, run: Run, account: dict[str, Any] | None, said: str
) -> None:
    if account is not None:
        issuer.put(ACCOUNT, account)
    issuer.overrides["POST", "/credentials"] = lambda _: failure(409, "Conflict", "8 versions are live")
    result = run("rotate", TARGET)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "8 versions are live" in result.stderr
    assert said in result.stderr
    assert "--resume" not in result.stderr
    assert "--compromised" not in result.stderr


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


# --- the Secret a workload mounts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("resume", [(), ("--resume",)], ids=["rotate", "resume"])
def test_a_kubernetes_secret_has_the_name_of_the_spec_and_the_keys_of_the_reference_page(
    issuer: FakeIssuer, run: Run, resume: tuple[str, ...]
) -> None:
    issuer.put(ACCOUNT, {"spec": {"credentialsSecretName": "payment-service-oauth-secret"}})
    result = run("rotate", TARGET, "-o", "k8s-secret", "--out", "secret.yaml", *resume)
    assert result.exit_code == 0, result.output
    secret = yaml.safe_load(Path("secret.yaml").read_text())
    data = secret.pop("data")
    assert secret == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "payment-service-oauth-secret", "namespace": "payments-prod"},
        "type": "Opaque",
    }
    assert {key: b64decode(value).decode() for key, value in data.items()} == {
        "client_id": "sa-1",
        "client_secret": NEW_SECRET,
    }
    assert issuer.seen[0] == f"GET {ACCOUNT}"
    assert issuer.seen[-1] == f"POST {CREDENTIALS}/2/acknowledge"


def test_a_kubernetes_secret_of_an_account_that_is_not_there_makes_none(issuer: FakeIssuer, run: Run) -> None:
    result = run("rotate", TARGET, "-o", "k8s-secret")
    assert (result.exit_code, result.stdout) == (1, "")
    assert issuer.writes() == []


# --- what a killed writer leaves -------------------------------------------------------------------------------------


def test_what_a_killed_run_left_is_taken_away_and_nothing_else(issuer: FakeIssuer, run: Run) -> None:
    del issuer
    Path(".new.env.issuer-k1ll3d").write_text("an older secret")
    for bystander in (".new.env.local", ".other.env.issuer-k1ll3d", "new.env.issuer-k1ll3d"):
        Path(bystander).write_text("mine")
    assert run("rotate", TARGET, "--out", "new.env").exit_code == 0
    assert {path.name for path in Path().iterdir()} == {
        ".new.env.local",
        ".other.env.issuer-k1ll3d",
        "new.env",
        "new.env.issuer-k1ll3d",
    }


def test_a_writer_at_work_keeps_its_file_whoever_writes_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "new.env"
    with private_file(target) as first, private_file(target) as second:
        second("second")
        first("first")
    assert target.read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]
