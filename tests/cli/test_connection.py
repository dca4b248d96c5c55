"""Where the command line finds an issuer, and what it says when it does not."""

import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.fake_issuer import ENVIRONMENT, SECRET, FakeIssuer, Run, failure


@pytest.fixture
def dev_env(fake: FakeIssuer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `dev.env` in a parent of the current folder, and an environment that names no issuer."""
    fake.secrets += ("s p",)
    lines = [f"{name}={value}" for name, value in ENVIRONMENT.items() if not name.startswith("ISSUER_CLIENT")]
    file = Path.cwd() / ".issuer/dev.env"
    file.parent.mkdir()
    file.write_text("\n".join([*lines, "# a comment", "", "DEMO_CLIENT_ID=sa-demo", "DEMO_CLIENT_SECRET='s p'"]))
    file.chmod(0o600)
    monkeypatch.setattr("os.environ", {})
    inside = Path.cwd() / "deep/er"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    return file


@pytest.mark.usefixtures("dev_env")
def test_dev_env_of_a_parent_folder_is_found(run: Run) -> None:
    assert run("get", "namespaces").exit_code == 0
    assert run("token", "--raw").exit_code == 0


@pytest.mark.usefixtures("dev_env")
def test_an_environment_that_names_an_issuer_is_not_mixed_with_dev_env(
    fake: FakeIssuer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.environ", {"ISSUER_ADMIN_URL": "https://prod.example"})
    result = run("get", "namespaces")
    assert result.exit_code == 1
    assert fake.requests == []
    assert "ISSUER_ADMIN_CLIENT_ID is not known: the environment does not say it" in result.stderr


def test_a_file_named_on_the_command_line_wins_over_the_environment(
    dev_env: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.environ", {"ISSUER_ADMIN_URL": "https://prod.example"})
    assert run("get", "namespaces", "--env-file", str(dev_env)).exit_code == 0


def test_a_dev_env_others_could_have_written_or_read_is_not_used(dev_env: Path, fake: FakeIssuer, run: Run) -> None:
    dev_env.chmod(0o644)
    result = run("get", "namespaces")
    assert result.exit_code == 1
    assert "mode 644" in result.stderr
    assert fake.requests == []


def test_a_bad_line_is_named_by_number_and_not_quoted(dev_env: Path, run: Run) -> None:
    dev_env.write_text(f"A=1\nISSUER_ADMIN_CLIENT_SECRET={SECRET}'\n")
    result = run("get", "namespaces")
    assert "dev.env, line 2: not a KEY=value line" in result.stderr


def test_no_issuer_anywhere_says_how_to_start_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {})
    result = run("get", "namespaces")
    assert result.exit_code == 1
    assert "issuer dev" in result.stderr
    assert "ISSUER_ADMIN_URL" in result.stderr


def test_a_ready_token_needs_no_credentials(fake: FakeIssuer, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "os.environ", {"ISSUER_ADMIN_URL": ENVIRONMENT["ISSUER_ADMIN_URL"], "ISSUER_ADMIN_TOKEN": "CANARY"}
    )
    assert run("get", "namespaces").exit_code == 0
    assert fake.forms == []
    assert fake.requests[0].headers["authorization"] == "Bearer CANARY"


@pytest.mark.parametrize(
    "url",
    ["http://issuer.example:8081", "https://user:CANARY@issuer.example", "ftp://issuer.example", "https://[::1", "x"],
)
def test_an_address_unfit_for_a_secret_is_refused_and_not_quoted(fake: FakeIssuer, run: Run, url: str) -> None:
    result = run("get", "namespaces", "--admin-url", url)
    assert result.exit_code == 2
    assert fake.requests == []
    assert "CANARY" not in result.output


def test_plain_http_can_be_accepted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {**ENVIRONMENT, "ISSUER_ADMIN_PLAINTEXT": "1"})
    assert run("get", "namespaces", "--admin-url", "http://issuer.example:8081").exit_code == 0


def _refused(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("[Errno 111] Connection refused")


def _untrusted(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("self-signed certificate") from ssl.SSLCertVerificationError()


def _silent(_: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("")


def _broken(_: httpx.Request) -> httpx.Response:
    raise httpx.RemoteProtocolError("server disconnected")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (_refused, "nothing answers at http://127.0.0.1:8081"),
        (_refused, "is `make run` or `issuer serve` running?"),
        (_untrusted, "SSL_CERT_FILE"),
        (_silent, "did not answer within 30 s"),
        (_broken, "the connection to http://127.0.0.1:8081 broke"),
        (lambda _: httpx.Response(200, text="<html>"), "is this the admin port"),
        (lambda _: httpx.Response(302, headers={"location": "https://elsewhere.example"}), "is this the admin port"),
        (lambda _: failure(401, "Unauthorized", "no"), "credentials come from the environment"),
        (lambda _: failure(403, "Forbidden", "no"), "issuer:admin:read to read"),
    ],
)
def test_every_trouble_is_one_sentence_and_what_to_do(fake: FakeIssuer, run: Run, answer: Any, sentence: str) -> None:
    fake.overrides["GET", "/namespaces"] = answer
    result = run("get", "namespaces")
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert "Traceback" not in result.output


def test_without_an_issuer_the_rest_is_not_tried(fake: FakeIssuer, run: Run) -> None:
    fake.overrides["GET", "/one"] = _refused
    documents = "---\n".join(
        f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}\n" for name in ("one", "two")
    )
    result = run("apply", "-f", "-", stdin=documents)
    assert result.exit_code == 1
    assert "stopped at namespace/one; 1 more were not tried" in result.stderr


@pytest.mark.parametrize("command", ["apply", "get", "delete", "rotate", "token"])
def test_every_command_explains_itself_and_has_the_connection_options(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert "--token-endpoint" in result.stdout
    assert "--client-id" in result.stdout
