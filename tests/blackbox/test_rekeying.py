"""`issuer rekey` beside a server that issues tokens: killed twice, finished by a third run, and the old key taken away."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import asyncpg
import pytest

from issuer.administration.secrets import SEAL_PURPOSE
from issuer.signing.sealing import generate_master_key_line, load_master_key
from tests.blackbox.processes import ANY_PORT, CLEAN, ISSUER, PATIENCE_S, Started, run, run_here, serving
from tests.blackbox.replicas import Administrator, Workload
from tests.databases import ISSUER as URL
from tests.databases import Databases

NEW = generate_master_key_line("new")
COPIES = """
    INSERT INTO resources
        (uid, kind, namespace, name, revision, generation, created_at, labels, document, unique_value)
    SELECT gen_random_uuid(), kind, namespace, 'copy-' || number, revision, generation, created_at, labels, document,
           'sa-' || gen_random_uuid()
    FROM resources, generate_series(1, $1::int) AS number WHERE name = 'api'
    RETURNING uid, name
"""
UNDER = "SELECT count(*) FROM secret_versions WHERE substring(sealed, 3, get_byte(sealed, 1)) = $1"

Environment = dict[str, str]


@pytest.fixture
def bootstrapped(databases: Databases, database_url: str) -> Environment:
    """The settings of an issuer whose database is bootstrapped."""
    return {
        "ISSUER_URL": URL,
        "ISSUER_DATABASE_URL": database_url,
        "ISSUER_MASTER_KEY": databases.bootstrapped.master_key,
    }


@pytest.fixture
def both(bootstrapped: Environment) -> Environment:
    """The same with a new master key before the old one."""
    return bootstrapped | {"ISSUER_MASTER_KEY": NEW + bootstrapped["ISSUER_MASTER_KEY"]}


async def fill(environment: Environment, number: int) -> dict[str, str]:
    """So many accounts whose first secret waits for its driver, under the old key: their names, and the secrets."""
    master_key = load_master_key(environment["ISSUER_MASTER_KEY"], None)
    connection = await asyncpg.connect(environment["ISSUER_DATABASE_URL"])
    try:
        async with connection.transaction():
            accounts = await connection.fetch(COPIES, number)
            secrets = {name: f"isk1_{uid.hex}" for uid, name in accounts}
            await connection.executemany(
                "INSERT INTO secret_versions (account_uid, version, pepper_id, hmac, sealed, created_at) "
                "VALUES ($1, 1, 'p1', '', $2, now())",
                [
                    (uid, master_key.seal(secrets[name].encode(), purpose=SEAL_PURPOSE, owner=f"{uid}/1"))
                    for uid, name in accounts
                ],
            )
    finally:
        await connection.close()
    return secrets


async def under(url: str, kek_id: str) -> int:
    """How many secrets this master key seals."""
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(UNDER, kek_id.encode()))
    finally:
        await connection.close()


async def killed_at(environment: Environment, least: int) -> int:
    """Runs `issuer rekey` until so many secrets are under the new key, then kills it; how many there are then."""
    process = await asyncio.create_subprocess_exec(*ISSUER, "rekey", env={**CLEAN, **environment})
    connection = await asyncpg.connect(environment["ISSUER_DATABASE_URL"])
    try:
        async with asyncio.timeout(PATIENCE_S):
            while await connection.fetchval(UNDER, b"new") < least:
                assert process.returncode is None
                await asyncio.sleep(0.01)
    finally:
        process.kill()
        await process.wait()
        await connection.close()
    assert process.returncode == -9
    return await under(environment["ISSUER_DATABASE_URL"], "new")


@contextmanager
def asked_all_the_time(server: Started, workload: Workload) -> Iterator[list[int]]:
    """The answers to one token request after another."""
    statuses: list[int] = []
    enough = Event()

    def ask() -> None:
        while not enough.wait(0.03):
            statuses.append(workload.ask(server).status_code)

    thread = Thread(target=ask)
    thread.start()
    try:
        yield statuses
    finally:
        enough.set()
        thread.join(PATIENCE_S)


@pytest.mark.parametrize("number", [2_500, pytest.param(10_000, marks=pytest.mark.long)])
def test_killed_twice_it_is_finished_by_a_third_run_while_every_token_request_is_answered(
    databases: Databases, bootstrapped: Environment, both: Environment, tmp_path: Path, number: int
) -> None:
    url = bootstrapped["ISSUER_DATABASE_URL"]
    with serving(tmp_path, both) as server:
        server.wait_for(lambda: server.readiness().status_code == 200)
        administrator = Administrator(server, databases.bootstrapped.admin)
        administrator.namespace("payments")
        workload = administrator.account("api")
        administrator.close()
        secrets = asyncio.run(fill(bootstrapped, number))
        with asked_all_the_time(server, workload) as statuses:
            first = asyncio.run(killed_at(both, number // 20))
            second = asyncio.run(killed_at(both, number // 4))
            assert 0 < first < second < number
            asked = len(statuses)
            done = run_here("rekey", env=both)
            assert len(statuses) > asked
        assert set(statuses) == {200}
    assert done.exit_code == 0, done.stderr
    wrapped = (
        f"Wrapped anew under new: {number - second:,} undelivered secrets, 4 signing keys, 1 pepper, 1 check value."
    )
    assert done.stdout.splitlines() == [wrapped, "test seals nothing any more: it can be taken out of the file."]
    assert asyncio.run(under(url, "new")) == number

    with serving(tmp_path, {**bootstrapped, "ISSUER_MASTER_KEY": NEW}) as server:
        server.wait_for(lambda: server.readiness().status_code == 200)
        assert workload.ask(server).status_code == 200
        administrator = Administrator(server, databases.bootstrapped.admin)
        for name in list(secrets)[:: number // 10]:
            path = f"{workload.path.rpartition('/')[0]}/{name}/credentials/current"
            assert administrator.client.get(path).json()["clientSecret"] == secrets[name]
        administrator.close()


def test_a_master_key_that_is_missing_is_named_by_every_command_before_anything_is_changed(
    bootstrapped: Environment, both: Environment
) -> None:
    only_new = {**bootstrapped, "ISSUER_MASTER_KEY": NEW}
    for done in (run_here("rekey", env=only_new), run("serve", *ANY_PORT, env=only_new)):
        assert done.exit_code == 1
        assert "sealed under 'test', and given was only 'new'. Give that line" in done.stderr
        assert (done.stdout, len(done.stderr.splitlines())) == ("", 1)
    assert run_here("rekey", env=both).exit_code == 0
    # Now the check value is under the new key, and one pepper of a server that was forgotten is not.
    asyncio.run(forget_a_pepper(bootstrapped))
    assert "sealed under 'test'" in run_here("rekey", env=only_new).stderr
    again = run_here("rekey", env=both)
    assert again.stdout.startswith("Wrapped anew under new: 1 pepper.\ntest seals nothing any more")
    assert run_here("rekey", env=only_new).stdout == "Everything is sealed under new already.\n"


async def forget_a_pepper(environment: Environment) -> None:
    """A pepper sealed under the old key."""
    blob = load_master_key(environment["ISSUER_MASTER_KEY"], None).seal(b"p" * 32, purpose="pepper", owner="p9")
    connection = await asyncpg.connect(environment["ISSUER_DATABASE_URL"])
    await connection.execute("INSERT INTO peppers VALUES ('p9', '2020-01-01Z', $1)", blob)
    await connection.close()


def test_what_cannot_be_wrapped_anew_is_listed_with_what_to_do_and_fails(
    bootstrapped: Environment, both: Environment
) -> None:
    asyncio.run(damage_keys(bootstrapped["ISSUER_DATABASE_URL"]))
    done = run_here("rekey", env=both)
    assert done.exit_code == 1
    said = done.stdout.splitlines()
    assert said[:2] == ["Wrapped anew under new: 1 pepper, 1 check value.", "test still seals 4 signing keys."]
    assert [" does not open under the master key 'test'" in line for line in said[2:6]] == [True] * 4
    assert said[6:] == ["Restore these rows from a backup, or make new secrets for their accounts (`issuer rotate`)."]


async def damage_keys(url: str) -> None:
    """Every signing key with a wrong bit in its wrapped data key."""
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE signing_keys SET sealed = set_byte(sealed, 30, get_byte(sealed, 30) # 1)")
    await connection.close()


def test_before_migrate_and_before_bootstrap_it_says_what_comes_first(empty_database_url: str) -> None:
    environment = {"ISSUER_URL": URL, "ISSUER_DATABASE_URL": empty_database_url, "ISSUER_MASTER_KEY": NEW}
    assert "Run `issuer migrate`" in run_here("rekey", env=environment).stderr
    assert run_here("migrate", env=environment).exit_code == 0
    done = run_here("rekey", env=environment)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "Run `issuer bootstrap` first." in done.stderr
