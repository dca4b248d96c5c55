"""Drivers that are killed, and drivers that come at once: no secret is lost, nobody is locked out, nothing is made twice."""

import json
import re
import resource
import shlex
import subprocess
from base64 import urlsafe_b64decode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier

import httpx
import pytest

from issuer.cli.environment import read_env_file
from tests.blackbox.conftest import Cli
from tests.blackbox.killing import Step, run_until
from tests.blackbox.processes import CLEAN, ISSUER, PATIENCE_S, Started
from tests.databases import Databases

ACCOUNT = """
apiVersion: auth.nauthera.io/v1alpha1
kind: ServiceAccount
metadata: {name: %s, namespace: drivers}
spec: {scopes: ["api:read"]}
"""
READ = Step("answer", "POST", "/credentials")
READ_AGAIN = Step("answer", "GET", "/credentials/current")
NAMED = Step("rename")
STORED = Step("request", "POST", "/acknowledge")
ACKNOWLEDGED = Step("answer", "POST", "/acknowledge")
ROUNDS = 15


@dataclass
class Driver:
    """A driver that stores an account's secret in `target`, and everything that is known of the account beside it."""

    server: Started
    cli: Cli
    environment: dict[str, str]
    name: str
    target: Path
    hooks: Path

    @property
    def command(self) -> tuple[str, ...]:
        return ("rotate", f"drivers/{self.name}", "--out", str(self.target))

    def dies(self, step: Step, *options: str) -> None:
        run_until(step, *self.command, *options, env=self.environment, target=self.target, hooks=self.hooks)

    def comes_back(self) -> None:
        """As its operator would have it: the same again; if that is refused, what the hint says."""
        again = self.cli(*self.command)
        if again.exit_code:
            (hint,) = re.findall(r"`issuer (rotate [^`]*--resume[^`]*)`", again.stderr)
            again = self.cli(*shlex.split(hint))
        assert again.exit_code == 0, again.output

    @property
    def stored(self) -> tuple[str, str]:
        """Client id and secret in the file, which is whole."""
        values = read_env_file(self.target)
        assert list(values) == ["CLIENT_ID", "CLIENT_SECRET"]
        return values["CLIENT_ID"], values["CLIENT_SECRET"]

    def version_of(self, credential: tuple[str, str]) -> int:
        """The version that a token got with the credential names; it must be had."""
        answer = self.server.token(*credential)
        assert answer.status_code == 200, answer.text
        payload = answer.json()["access_token"].split(".")[1]
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return int(claims["auth.nauthera.io"]["credential"].removeprefix("secret/"))

    @property
    def states(self) -> dict[int, str]:
        listed = json.loads(self.cli("get", "credentials", f"drivers/{self.name}", "-o", "json").stdout)
        return {each["version"]: each["state"] for each in listed}


@pytest.fixture
def driver(
    server: Started,
    databases: Databases,
    cli: Cli,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Driver:
    """A driver of a new account whose first version nobody has been given."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:100].strip("-")
    assert cli("apply", "--create-namespaces", "-f", "-", stdin=ACCOUNT % name).exit_code == 0
    admin = databases.bootstrapped.admin
    environment = {
        "ISSUER_ADMIN_URL": server.admin,
        "ISSUER_TOKEN_ENDPOINT": f"{server.public}/oauth2/token",
        "ISSUER_ADMIN_CLIENT_ID": admin.client_id,
        "ISSUER_ADMIN_CLIENT_SECRET": admin.client_secret,
    }
    folder = tmp_path_factory.mktemp("driver")
    return Driver(server, cli, environment, name, folder / "api.env", tmp_path_factory.mktemp("hooks"))


@pytest.mark.parametrize(
    ("step", "held", "afterwards"),
    [
        (Step("request", "POST", "/credentials"), {1: "active"}, {1: "grace", 2: "active"}),
        (READ, {1: "active", 2: "pending"}, {1: "grace", 2: "active"}),
        (NAMED, {1: "active", 2: "pending"}, {1: "grace", 2: "active"}),
        (STORED, {1: "active", 2: "pending"}, {1: "grace", 2: "active"}),
        # Delivered, but the driver does not know: it rotates once more, which costs nobody anything.
        (ACKNOWLEDGED, {1: "grace", 2: "active"}, {1: "grace", 2: "grace", 3: "active"}),
    ],
    ids=str,
)
def test_a_driver_killed_at_any_step_loses_no_secret_and_locks_nobody_out(
    driver: Driver, step: Step, held: dict[int, str], afterwards: dict[int, str]
) -> None:
    assert driver.cli(*driver.command).exit_code == 0
    first = driver.stored
    driver.dies(step)
    assert driver.states == held
    assert driver.version_of(first) == 1
    left = driver.stored
    driver.comes_back()
    assert driver.version_of(driver.stored) == max(afterwards)
    assert driver.version_of(left) == (2 if step in {STORED, ACKNOWLEDGED} else 1)
    assert driver.version_of(first) == 1
    assert driver.states == afterwards
    assert list(driver.target.parent.iterdir()) == [driver.target]


def test_a_first_delivery_that_is_killed_again_and_again_delivers_the_first_version(driver: Driver) -> None:
    driver.dies(READ)
    for step in (READ_AGAIN, NAMED, STORED):
        driver.dies(step, "--resume")
    assert driver.states == {1: "pending"}
    driver.comes_back()
    assert driver.version_of(driver.stored) == 1
    assert driver.states == {1: "active"}
    assert list(driver.target.parent.iterdir()) == [driver.target]


def test_a_secret_that_was_used_before_its_driver_came_back_is_followed_by_another(driver: Driver) -> None:
    """Its first use took the hold from the old one: it needs no rescue, and goes on working beside its successor."""
    assert driver.cli(*driver.command).exit_code == 0
    driver.dies(STORED)
    left = driver.stored
    assert driver.version_of(left) == 2
    driver.server.wait_for(lambda: driver.states == {1: "grace", 2: "active"})
    driver.comes_back()
    assert driver.version_of(driver.stored) == 3
    assert driver.version_of(left) == 2


def test_a_full_disk_leaves_the_old_secret_in_its_place_and_the_new_one_to_be_fetched(driver: Driver) -> None:
    assert driver.cli(*driver.command).exit_code == 0
    first = driver.stored

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8))

    full = subprocess.run(
        (*ISSUER, *driver.command),
        env={**CLEAN, **driver.environment, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=no_room,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert full.returncode == 1, full.stderr
    assert "File too large" in full.stderr
    assert "it is not lost and not acknowledged: `issuer rotate" in full.stderr
    assert driver.stored == first
    assert driver.states == {1: "active", 2: "pending"}
    driver.comes_back()
    assert driver.version_of(driver.stored) == 2
    assert driver.version_of(first) == 1
    assert list(driver.target.parent.iterdir()) == [driver.target]


def test_of_two_drivers_at_once_one_gets_a_version_and_one_a_conflict(driver: Driver) -> None:
    path = f"/apis/auth.nauthera.io/v1alpha1/namespaces/drivers/serviceaccounts/{driver.name}/credentials"
    both = Barrier(2)

    def rotate(client: httpx.Client) -> httpx.Response:
        both.wait(PATIENCE_S)
        return client.post(path, json={"gracePeriodHours": 0})

    token = driver.server.token(
        driver.environment["ISSUER_ADMIN_CLIENT_ID"],
        driver.environment["ISSUER_ADMIN_CLIENT_SECRET"],
        resource="urn:issuer:admin",
    )
    bearer = {"authorization": f"Bearer {token.json()['access_token']}"}

    def client() -> httpx.Client:
        return httpx.Client(base_url=driver.server.admin, headers=bearer, timeout=PATIENCE_S)

    with ThreadPoolExecutor(2) as threads, client() as one, client() as other:
        for version in range(1, ROUNDS + 1):
            answers = list(threads.map(rotate, (one, other)))
            assert sorted(answer.status_code for answer in answers) == [201, 409], version
            given, refused = sorted(answers, key=lambda answer: answer.status_code)
            assert given.json()["version"] == version
            assert refused.json()["reason"] == "Conflict"
            assert "credentials/current" in refused.json()["message"]
            assert one.post(f"{path}/{version}/acknowledge").status_code == 200
            assert driver.version_of((given.json()["clientId"], given.json()["clientSecret"])) == version
