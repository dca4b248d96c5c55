"""The first start in production: migrate, bootstrap, serve; in every wrong order, and with everything that can be missing."""

import socket
import stat
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import asyncpg
import httpx
import pytest

from issuer.model.scopes import ADMIN_AUDIENCE
from issuer.signing.sealing import generate_master_key_line
from tests.blackbox.processes import ANY_PORT, CLEAN, ISSUER, Finished, Started, eventually, run, run_here, serving
from tests.databases import Databases
from tests.store.roles import role

URL = "https://issuer.example.com"
ADMIN = "/apis/auth.nauthera.io/v1alpha1/namespaces/issuer-system/serviceaccounts/admin"
KEY = generate_master_key_line("k1")
NOWHERE = "postgresql://issuer:canaryPASSWORD@127.0.0.1:9/issuer"

Environment = dict[str, str]


@pytest.fixture
def empty(empty_database_url: str) -> Environment:
    """The settings of an issuer whose database is empty."""
    return {"ISSUER_URL": URL, "ISSUER_DATABASE_URL": empty_database_url, "ISSUER_MASTER_KEY": KEY}


@pytest.fixture
def bootstrapped(databases: Databases, database_url: str) -> Environment:
    """The settings of an issuer whose database is bootstrapped."""
    return {
        "ISSUER_URL": URL,
        "ISSUER_DATABASE_URL": database_url,
        "ISSUER_MASTER_KEY": databases.bootstrapped.master_key,
    }


@pytest.fixture
async def without_rights(bootstrapped: Environment) -> AsyncIterator[Environment]:
    """The settings of an issuer whose database user may do nothing in its database."""
    async with role(bootstrapped["ISSUER_DATABASE_URL"]) as url:
        yield {**bootstrapped, "ISSUER_DATABASE_URL": url}


@pytest.fixture
async def may_only_read(bootstrapped: Environment) -> AsyncIterator[Environment]:
    """The same, and its tables may be read."""
    async with role(bootstrapped["ISSUER_DATABASE_URL"], "SELECT ON ALL TABLES IN SCHEMA public") as url:
        yield {**bootstrapped, "ISSUER_DATABASE_URL": url}


@pytest.fixture
async def without_a_place(empty: Environment) -> AsyncIterator[Environment]:
    """The same, and the database is empty."""
    async with role(empty["ISSUER_DATABASE_URL"]) as url:
        yield {**empty, "ISSUER_DATABASE_URL": url}


def trouble(done: Finished, *sentences: str, exit_code: int = 1) -> None:
    """Plain words, few of them, no traceback, no secret."""
    said = done.stdout + done.stderr
    assert done.exit_code == exit_code, said
    for sentence in sentences:
        assert sentence in done.stderr, said
    assert "error: " in done.stderr
    assert len(done.stderr.splitlines()) <= 5
    assert "Traceback" not in said
    assert "canary" not in said
    assert KEY.strip().partition(":")[2] not in said


def values_of(text: str) -> Environment:
    return dict(line.split("=", 1) for line in text.splitlines())


def admin_status(server: Started, values: Mapping[str, str]) -> int:
    """What a full turn as the administrator comes to: a token, and the administrator's own account read with it."""
    id_, secret = values["ISSUER_ADMIN_CLIENT_ID"], values["ISSUER_ADMIN_CLIENT_SECRET"]
    answer = server.token(id_, secret, resource=ADMIN_AUDIENCE, scope="issuer:admin")
    if answer.status_code != 200:
        return answer.status_code
    headers = {"authorization": f"Bearer {answer.json()['access_token']}"}
    return server.client.get(server.admin + ADMIN, headers=headers).status_code


# --- the way the README says -----------------------------------------------------------------------------------------


def test_migrate_bootstrap_serve_and_each_again_without_harm(empty: Environment, tmp_path: Path) -> None:
    only_database = {"ISSUER_DATABASE_URL": empty["ISSUER_DATABASE_URL"]}
    first = run("migrate", env=only_database)
    assert first.exit_code == 0, first.stderr
    assert "The schema went from nothing to 0" in first.stderr
    assert "nothing to do" in run_here("migrate", env=only_database).stderr

    out = tmp_path / "admin.env"
    made = run("bootstrap", "--out", str(out), env=empty)
    assert made.exit_code == 0, made.stderr
    assert made.stdout == ""
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    before = out.read_bytes()
    again = run_here("bootstrap", "--out", str(out), env=empty)
    assert (again.exit_code, again.stdout) == (0, "")
    assert "nothing to do" in again.stderr
    assert out.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["admin.env"]

    with serving(tmp_path, empty) as server:
        server.wait_for(lambda: server.readiness().status_code == 200)
        assert admin_status(server, values_of(out.read_text())) == 200
        words = " ".join((*ISSUER, "get", "serviceaccounts", "-A"))
        assert (
            values_of(out.read_text())["ISSUER_ADMIN_URL"] == "http://127.0.0.1:8081"
        )  # where `serve` listens by default
        # This test's server listens elsewhere, on ports that were free.
        here = f"ISSUER_ADMIN_URL={server.admin} ISSUER_TOKEN_ENDPOINT={server.public}/oauth2/token"
        sourced = f"set -a; . {out}; {here}; exec {words}"
        done = subprocess.run(("bash", "-c", sourced), env=CLEAN, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "issuer-system" in done.stdout


def test_bootstrap_prints_lines_for_a_shell_and_nothing_else_on_standard_output(empty: Environment) -> None:
    run_here("migrate", env=empty)
    made = run_here("bootstrap", env=empty)
    values = values_of(made.stdout)
    assert values["ISSUER_TOKEN_ENDPOINT"] == f"{URL}/oauth2/token"
    assert values["ISSUER_ADMIN_CLIENT_SECRET"].startswith("isk1_")
    assert values["ISSUER_ADMIN_CLIENT_SECRET"] not in made.stderr


# --- wrong orders ----------------------------------------------------------------------------------------------------


def test_serve_before_everything_is_not_ready_says_why_and_becomes_ready_by_itself(
    empty: Environment, tmp_path: Path
) -> None:
    with serving(tmp_path, empty) as server:
        waiting = server.wait_for(lambda: "issuer migrate" in server.readiness().text and server.readiness())
        assert waiting.status_code == 503
        assert server.client.get(f"{server.admin}/livez").status_code == 200
        unknown = "sa-00000000-0000-4000-8000-000000000000"
        refused = server.token(unknown, "isk1_x")
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert server.client.get(f"{server.public}/.well-known/jwks.json").status_code == 503
        assert run_here("migrate", env=empty).exit_code == 0
        server.wait_for(lambda: "issuer bootstrap" in server.readiness().text)
        made = run_here("bootstrap", env=empty)
        assert made.exit_code == 0, made.stderr
        eventually(lambda: server.readiness().status_code == 200, patience_s=5)
        assert admin_status(server, values_of(made.stdout)) == 200
        assert "Traceback" not in server.said


def test_bootstrap_before_migrate_says_so_and_writes_no_file(empty: Environment, tmp_path: Path) -> None:
    out = tmp_path / "admin.env"
    trouble(run_here("bootstrap", "--out", str(out), env=empty), "Run `issuer migrate`, then `issuer bootstrap`")
    assert not list(tmp_path.iterdir())


def test_recover_before_bootstrap_says_so(empty: Environment) -> None:
    run_here("migrate", env=empty)
    trouble(run_here("bootstrap", "--recover", env=empty), "Run `issuer bootstrap` first")


async def test_serve_refuses_an_older_schema(bootstrapped: Environment) -> None:
    connection = await asyncpg.connect(bootstrapped["ISSUER_DATABASE_URL"])
    await connection.execute("UPDATE alembic_version SET version_num = '0000'")
    await connection.close()
    trouble(run("serve", *ANY_PORT, env=bootstrapped), "schema is 0000, this program needs 0", "Run `issuer migrate`")


# --- what can be missing or wrong ------------------------------------------------------------------------------------

WRONG_SETTINGS = {
    "no master key": ({"ISSUER_MASTER_KEY": ""}, "There is no master key. Make one with"),
    "a malformed master key": ({"ISSUER_MASTER_KEY": "k1:canary"}, "Line 1 of the master key is not"),
    "a master key file that is not there": (
        {"ISSUER_MASTER_KEY": "", "ISSUER_MASTER_KEY_FILE": "/nowhere/master.key"},
        "/nowhere/master.key cannot be read: No such file",
    ),
    "two master keys": ({"ISSUER_MASTER_KEY_FILE": "/nowhere"}, "use one of them"),
    "no issuer URL": ({"ISSUER_URL": ""}, "ISSUER_URL is not set"),
    "http for another host": ({"ISSUER_URL": "http://issuer.example.com"}, "url: must be https"),
    "two at once": ({"ISSUER_URL": f"{URL}/", "ISSUER_LOG__LEVEL": "loud"}, "\n  log.level: Input should be"),
    "a slash at the end": ({"ISSUER_URL": f"{URL}/"}, "url: must not end with a slash"),
    "no database URL": ({"ISSUER_DATABASE_URL": ""}, "ISSUER_DATABASE_URL is not set"),
    "another database": (
        {"ISSUER_DATABASE_URL": "mysql://u:canary@h/d"},
        "database_url: must begin with postgresql://",
    ),
}


@pytest.mark.parametrize("command", ["serve", "bootstrap"])
@pytest.mark.parametrize("changed", WRONG_SETTINGS)
def test_wrong_settings_are_named_before_anything_happens(command: str, changed: str) -> None:
    values, sentence = WRONG_SETTINGS[changed]
    given = {"ISSUER_URL": URL, "ISSUER_DATABASE_URL": NOWHERE, "ISSUER_MASTER_KEY": KEY} | values
    trouble(run_here(command, env=given), sentence)


@pytest.mark.parametrize("command", [("serve", *ANY_PORT), ("bootstrap",), ("bootstrap", "--recover")], ids=" ".join)
def test_the_master_key_of_another_database_is_refused(bootstrapped: Environment, command: tuple[str, ...]) -> None:
    wrong = {**bootstrapped, "ISSUER_MASTER_KEY": KEY}
    start = run if command[0] == "serve" else run_here
    trouble(start(*command, env=wrong), "This is not the master key of this database")


@pytest.mark.parametrize("command", ["migrate", "bootstrap"])
def test_a_database_that_does_not_answer_is_said_so(command: str) -> None:
    given = {"ISSUER_URL": URL, "ISSUER_DATABASE_URL": NOWHERE, "ISSUER_MASTER_KEY": KEY}
    trouble(run_here(command, env=given), "the database does not answer", "is PostgreSQL running")


@pytest.mark.parametrize(
    "command",
    ["migrate", "bootstrap", "bootstrap --recover", "serve", "rekey", "audit verify", "audit export"],
)
def test_a_database_user_without_rights_is_told_so_by_every_command(command: str, without_rights: Environment) -> None:
    sockets = ANY_PORT if command == "serve" else ()
    start = run if command == "serve" else run_here
    done = start(*command.split(), *sockets, env=without_rights)
    trouble(
        done, "the database user lacks a right (permission denied for table alembic_version)", "`issuer check` lists"
    )


def test_a_right_that_only_serving_needs_ends_it_in_plain_words_too(may_only_read: Environment) -> None:
    done = run("serve", *ANY_PORT, env=may_only_read)
    assert done.exit_code == 1
    assert "error: the database user lacks a right (permission denied for table " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_user_who_may_not_create_tables_is_told_so_by_migrate(without_a_place: Environment) -> None:
    done = run_here("migrate", env=without_a_place)
    trouble(
        done, "the database user lacks a right (permission denied for schema public)", "wants the owner of the tables"
    )


def test_a_wrong_database_password_is_said_so_and_not_quoted(empty: Environment) -> None:
    parts = httpx.URL(empty["ISSUER_DATABASE_URL"])
    wrong = str(parts.copy_with(password="canaryWRONG"))
    trouble(run_here("migrate", env={"ISSUER_DATABASE_URL": wrong}), "is PostgreSQL running")


def test_a_place_for_the_credential_that_cannot_be_written_makes_none(empty: Environment) -> None:
    run_here("migrate", env=empty)
    trouble(run_here("bootstrap", "--out", "/nowhere/admin.env", env=empty), "/nowhere/admin.env cannot be written")
    assert run_here("bootstrap", env=empty).stdout.count("\n") == 4


def test_an_admin_port_for_everybody_wants_tls_or_an_explicit_wish(bootstrapped: Environment, tmp_path: Path) -> None:
    refused = run_here("serve", "--public", "127.0.0.1:0", "--admin", "0.0.0.0:0", env=bootstrapped)
    trouble(refused, "the admin port would be open on 0.0.0.0:0 without TLS", "ISSUER_ADMIN_PLAINTEXT=1")
    wish = {**bootstrapped, "ISSUER_ADMIN_PLAINTEXT": "1"}
    with serving(tmp_path, wish, admin="0.0.0.0:0") as server:
        server.wait_for(lambda: server.readiness().status_code == 200)


@pytest.mark.parametrize("command", ["serve", "migrate", "bootstrap", "dev", "get"])
def test_an_option_nobody_knows_is_a_misuse(command: str) -> None:
    done = run_here(command, "--nonsense", env={})
    assert done.exit_code == 2
    assert "--nonsense" in done.stderr


# --- a database that comes late --------------------------------------------------------------------------------------


@pytest.fixture
def gate(database_url: str) -> Iterator["Gate"]:
    """An address of the database that nothing answers at, until it is opened."""
    gate = Gate(database_url)
    yield gate
    gate.close()


class Gate:
    """A port that forwards to the database once it is open."""

    def __init__(self, database_url: str) -> None:
        self.target = httpx.URL(database_url)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url = str(self.target.copy_with(host="127.0.0.1", port=self.port))
        self._forwarder: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        program = FORWARDER.format(port=self.port, host=self.target.host, target=self.target.port)
        self._forwarder = subprocess.Popen((ISSUER[0], "-c", program))

    def close(self) -> None:
        if self._forwarder is not None:
            self._forwarder.kill()
            self._forwarder.wait()
            self._forwarder = None


FORWARDER = """
import asyncio
async def copy(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()
async def on_client(reader, writer):
    there = await asyncio.open_connection("{host}", {target})
    await asyncio.gather(copy(reader, there[1]), copy(there[0], writer), return_exceptions=True)
async def main():
    server = await asyncio.start_server(on_client, "127.0.0.1", {port})
    await server.serve_forever()
asyncio.run(main())
"""


def test_serve_waits_for_a_database_that_is_down_and_recovers_whenever_it_comes_back(
    databases: Databases, bootstrapped: Environment, gate: Gate, tmp_path: Path
) -> None:
    admin = databases.bootstrapped.admin
    values = {"ISSUER_ADMIN_CLIENT_ID": admin.client_id, "ISSUER_ADMIN_CLIENT_SECRET": admin.client_secret}
    with serving(tmp_path, {**bootstrapped, "ISSUER_DATABASE_URL": gate.url}) as server:
        waiting = server.wait_for(lambda: "does not answer" in server.readiness().text and server.readiness())
        assert waiting.status_code == 503
        gate.open()
        server.wait_for(lambda: server.readiness().status_code == 200)
        assert admin_status(server, values) == 200
        gate.close()
        headers = {"authorization": "Bearer x"}
        assert server.client.get(f"{server.admin}/livez", headers=headers).status_code == 200
        server.wait_for(lambda: server.events("SnapshotStale"))
        gate.open()
        server.wait_for(lambda: admin_status(server, values) == 200)
        assert "Traceback" not in server.said


# --- recovery --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["disabled", "deleted"])
def test_recover_lets_the_operator_back_in_while_it_serves(
    databases: Databases, bootstrapped: Environment, tmp_path: Path, harm: str
) -> None:
    admin = databases.bootstrapped.admin
    lost = {"ISSUER_ADMIN_CLIENT_ID": admin.client_id, "ISSUER_ADMIN_CLIENT_SECRET": admin.client_secret}
    with serving(tmp_path, bootstrapped) as server:
        server.wait_for(lambda: server.readiness().status_code == 200)
        token = server.token(admin.client_id, admin.client_secret, resource=ADMIN_AUDIENCE, scope="issuer:admin").json()
        headers = {"authorization": f"Bearer {token['access_token']}"}
        if harm == "disabled":
            headers["content-type"] = "application/merge-patch+json"
            done = server.client.patch(server.admin + ADMIN, json={"spec": {"disabled": True}}, headers=headers)
        else:
            done = server.client.delete(server.admin + ADMIN, headers=headers)
        assert done.status_code == 200, done.text
        assert admin_status(server, lost) == 401
        out = tmp_path / "admin.env"
        recovered = run_here("bootstrap", "--recover", "--out", str(out), env=bootstrapped)
        assert recovered.exit_code == 0, recovered.stderr
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
        values = values_of(out.read_text())
        eventually(lambda: admin_status(server, values) == 200, patience_s=2)
        assert admin_status(server, lost) == 401
        assert (values["ISSUER_ADMIN_CLIENT_ID"] == admin.client_id) == (harm == "disabled")


def test_what_a_shell_exports_by_accident_reaches_no_output(empty: Environment) -> None:
    done = run_here("serve", env={**empty, "ISSUER_MASTER_KEY": f"{KEY}canary", "ISSUER_LOG__FORMAT": "console"})
    trouble(done, "Line 2 of the master key")
