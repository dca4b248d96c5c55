"""Fixtures: an issuer that is not there, and the command line that talks to it."""

from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from issuer.cli import app
from tests.cli.fake_issuer import ENVIRONMENT, FakeIssuer, Run


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeIssuer:
    """An issuer with the namespace payments-prod, named by the environment, and an empty folder to stand in."""
    issuer = FakeIssuer()
    issuer.put("/api/v1/namespaces/payments-prod", {"metadata": {"name": "payments-prod"}})
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda _, request: issuer(request))
    monkeypatch.setattr("os.environ", dict(ENVIRONMENT))
    monkeypatch.chdir(tmp_path)
    return issuer


@pytest.fixture
def run(fake: FakeIssuer) -> Run:
    """Runs `issuer …` and gives back what it said and its exit code; an unexpected exception fails the test."""

    def run_it(*arguments: str, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(app, arguments, input=stdin, catch_exceptions=False)
        for canary in fake.secrets:
            assert canary not in result.output
        return result

    return run_it
