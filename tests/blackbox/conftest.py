"""Fixtures: one `issuer dev` and one `issuer serve` a session, and the command line that talks to the latter."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from issuer.cli import app
from tests.blackbox.processes import Started, developing, serving
from tests.databases import ISSUER, Databases

Cli = Callable[..., Result]


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Started, dict[str, str]]]:
    """A running `issuer dev` and what its dev.env says."""
    with developing(tmp_path_factory.mktemp("dev")) as running:
        yield running


@pytest.fixture(scope="session")
def environment(databases: Databases) -> Iterator[dict[str, str]]:
    """The settings of a bootstrapped production server, as environment variables."""
    with databases.copy() as url:
        yield {
            "ISSUER_URL": ISSUER,
            "ISSUER_DATABASE_URL": url,
            "ISSUER_MASTER_KEY": databases.bootstrapped.master_key,
        }


@pytest.fixture(scope="session")
def server(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """A running, ready `issuer serve`."""
    with serving(tmp_path_factory.mktemp("serve"), environment) as running:
        running.wait_for(lambda: running.readiness().status_code == 200)
        yield running


@pytest.fixture
def cli(
    server: Started, databases: Databases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Result]:
    """Runs a client command of `issuer` in this process, against the running server, in an empty folder."""
    admin = databases.bootstrapped.admin
    surroundings = {
        "ISSUER_ADMIN_URL": server.admin,
        "ISSUER_TOKEN_ENDPOINT": f"{server.public}/oauth2/token",
        "ISSUER_ADMIN_CLIENT_ID": admin.client_id,
        "ISSUER_ADMIN_CLIENT_SECRET": admin.client_secret,
    }
    for name, value in surroundings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def issuer(*arguments: str, stdin: str | None = None, **changed: Any) -> Result:
        for name, value in changed.items():
            monkeypatch.setenv(name, value)
        result = CliRunner().invoke(app, arguments, input=stdin, catch_exceptions=False)
        assert admin.client_secret not in result.output
        return result

    return issuer
