"""What a real PostgreSQL says about itself, and that `issuer check` needs no privilege and changes nothing."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, timedelta
from typing import Any

import pytest
from sqlalchemy import make_url

from issuer.checks.server import connections_of_process
from issuer.settings import DatabaseSettings, load_settings
from issuer.store.database import Database, DatabaseUnavailable, ReadOnlyStandby
from issuer.store.facts import (
    NEEDED_PRIVILEGES,
    ServerFacts,
    Standby,
    StoredFacts,
    read_clock,
    read_server,
    read_stored,
)
from issuer.store.schema import newest_version
from issuer.store.tables import metadata
from issuer.wiring import lay_foundation, wire
from tests.administration.paths import MERGE
from tests.checks.replication import Replicated, demanded
from tests.databases import ISSUER, Databases
from tests.store.roles import role
from tests.store.rows import query
from tests.world import World, started_world

SYSTEM_ACCOUNTS = "/apis/auth.nauthera.io/v1alpha1/namespaces/issuer-system/serviceaccounts"
WEEK = timedelta(days=7)


@asynccontextmanager
async def database(url: str, **settings: Any) -> AsyncIterator[Database]:
    opened = Database(url, DatabaseSettings(**settings), application="issuer check")
    try:
        yield opened
    finally:
        await opened.close()


async def server_facts(url: str) -> ServerFacts:
    async with database(url) as opened:
        return await read_server(opened)


async def stored_facts(url: str) -> StoredFacts:
    async with database(url) as opened:
        return await read_stored(opened, WEEK)


def grants_of(privileges: dict[str, Sequence[str]] | None = None) -> list[str]:
    return [f"{', '.join(needed)} ON {table}" for table, needed in (privileges or NEEDED_PRIVILEGES).items()]


# --- the server ------------------------------------------------------------------------------------------------------


async def test_a_bootstrapped_database_says_what_it_is(database_url: str) -> None:
    facts = await server_facts(database_url)
    assert facts.version_number >= 150_000
    assert facts.version.split(".")[0] == str(facts.version_number // 10_000)
    assert (facts.encoding, facts.schema_versions) == ("UTF8", (newest_version(),))
    assert (facts.missing_privileges, facts.may_create) == ((), True)


async def test_what_our_connections_ask_for_is_read_back_from_the_server(database_url: str) -> None:
    async with database(database_url, statement_timeout_s=1.25) as opened:
        facts = await read_server(opened)
        assert (facts.statement_timeout_ms, facts.synchronous_commit) == (1250, "on")


async def test_the_clock_is_the_databases(database_url: str) -> None:
    async with database(database_url) as opened:
        before = (await query(database_url, "SELECT clock_timestamp()"))[0][0]
        assert before <= (await read_clock(opened)).astimezone(UTC) <= before + timedelta(seconds=10)


async def test_the_least_of_three_limits_is_how_many_connections_there_are(database_url: str) -> None:
    (row,) = await query(
        database_url,
        """SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
                  - coalesce(current_setting('reserved_connections', true)::int, 0)""",
    )
    assert (await server_facts(database_url)).connection_limit == row[0]
    async with role(database_url) as url:
        name = make_url(url).username
        assert (await server_facts(url)).connection_limit == row[0]
        await query(database_url, f"ALTER ROLE {name} CONNECTION LIMIT 7")
        assert (await server_facts(url)).connection_limit == 7
        await query(database_url, f'ALTER DATABASE "{make_url(url).database}" CONNECTION LIMIT 5')
        assert (await server_facts(url)).connection_limit == 5


@pytest.mark.parametrize("pool_size", [1, 2, 10, 50])
async def test_the_connections_of_a_process_are_those_it_is_wired_with(databases: Databases, pool_size: int) -> None:
    settings = load_settings(
        url=ISSUER,
        database_url="postgresql://nowhere",
        master_key=databases.bootstrapped.master_key,
        database={"pool_size": pool_size},
    )
    issuer = wire(lay_foundation(settings, lambda _: None))
    pools: list[Any] = [database.engine.pool for database in issuer.databases]
    of_their_own = [issuer.listener, *issuer.recorder.recorders, issuer.attestation.retention]
    assert connections_of_process(pool_size) == sum(pool.size() for pool in pools) + len(of_their_own)


# --- schema and privileges -------------------------------------------------------------------------------------------


async def test_an_empty_database_has_no_schema_and_lacks_nothing_yet(empty_database_url: str) -> None:
    facts = await server_facts(empty_database_url)
    assert (facts.schema_versions, facts.missing_privileges) == ((), ())
    async with role(empty_database_url) as url:
        assert not (await server_facts(url)).may_create


async def test_other_versions_of_the_schema_are_read_as_they_stand(database_url: str) -> None:
    await query(database_url, "INSERT INTO alembic_version VALUES ('ae1027a6acf')")
    assert (await server_facts(database_url)).schema_versions == (newest_version(), "ae1027a6acf")


# Of whoever is not the owner of the tables, as those of a test are not.
OWNERSHIP = "the role that owns decision_records and so drops its days"


async def test_a_user_without_privileges_is_told_each_that_is_missing(database_url: str) -> None:
    async with role(database_url) as url:
        facts = await server_facts(url)
        wanted = {f"{privilege} ON {table}" for table, needed in NEEDED_PRIVILEGES.items() for privilege in needed}
        *others, ownership = facts.missing_privileges
        assert set(others) == wanted
        assert OWNERSHIP in ownership
        assert facts.schema_versions is None
    async with role(database_url, *grants_of()) as url:
        await query(database_url, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
        missing, _ = (await server_facts(url)).missing_privileges
        assert missing == "EXECUTE ON FUNCTION pg_control_system()"


def test_every_table_has_its_privileges() -> None:
    assert NEEDED_PRIVILEGES.keys() == metadata.tables.keys() | {"alembic_version"}


async def test_with_the_privileges_that_are_asked_for_an_issuer_does_all_its_work(world: World) -> None:
    async with (
        role(world.database_url, *grants_of()) as url,
        started_world(url, world.bootstrapped, world.clock) as confined,
    ):
        (missing,) = (await server_facts(url)).missing_privileges
        assert OWNERSHIP in missing
        client = await confined.account(credentialRotation={"gracePeriodHours": 1})
        await confined.issuer.reloader.catch_up()
        assert (await client.token()).status_code == 200
        again = await confined.admin.post(f"{client.path}/credentials", json={"compromised": True})
        assert again.status_code == 201
        assert (await confined.admin.patch(client.path, json={"spec": {"disabled": True}}, headers=MERGE)).is_success
        assert (await confined.admin.get("/apis/auth.nauthera.io/v1alpha1/auditrecords")).is_success
        assert (await confined.admin.delete(client.path)).is_success
        assert (await confined.admin.delete("/api/v1/namespaces/payments")).is_success


# --- what is stored --------------------------------------------------------------------------------------------------


async def test_what_is_stored_is_read_without_a_private_key_or_a_secret(world: World) -> None:
    policy = {"metadata": {"name": "all"}, "spec": {"tokenSettings": {"maxAccessTokenTTL": "5m"}}}
    made = await world.admin.post("/apis/auth.nauthera.io/v1alpha1/clusterauthpolicies", json=policy)
    assert made.status_code == 201
    facts = await stored_facts(world.database_url)
    assert [keyset.name for keyset in facts.keysets] == ["default", "rs256"]
    assert [each.name for each in facts.policies] == ["all"]
    assert len(facts.keys) == 4
    assert set(facts.sealed) == {world.foundation.master_key.current}
    assert facts.master_key_check is not None
    world.foundation.master_key.check(facts.master_key_check)
    assert not re.search(r"=b['\"]", repr(facts)), "no bytes at all: neither sealed ones nor their check value"


async def test_administrators_are_those_who_hold_the_scope_and_are_not_being_deleted(world: World) -> None:
    async def made(name: str, **spec: Any) -> None:
        document = {"metadata": {"name": name}, "spec": {"justification": "a test", **spec}}
        assert (await world.admin.post(SYSTEM_ACCOUNTS, json=document)).status_code == 201

    async def found() -> dict[str, int]:
        facts = await stored_facts(world.database_url)
        return {account.name: len(versions) for account, versions in facts.administrators}

    await made("reader", scopes=["issuer:admin:read"])
    await made("nobody", scopes=["api:read"])
    await made("second", scopes=["api:read", "issuer:admin"])
    await world.account("ours")
    assert await found() == {"admin": 1, "second": 1}
    assert (await world.admin.delete(f"{SYSTEM_ACCOUNTS}/admin")).is_success
    assert await found() == {"second": 1}


async def test_a_secret_waits_from_when_it_was_made_until_it_is_acknowledged_cut_or_replaced(world: World) -> None:
    async def waiting() -> set[str]:
        await query(world.database_url, "UPDATE secret_versions SET created_at = now() - interval '8 days'")
        return set((await stored_facts(world.database_url)).undelivered)

    clients = {name: await world.account(name) for name in ("stored", "open", "replaced", "gone")}
    assert await waiting() == set()
    for name in ("open", "replaced", "gone"):
        assert (await world.admin.post(f"{clients[name].path}/credentials", json={})).status_code == 201
    assert (await stored_facts(world.database_url)).undelivered == (), "not yet for so long"
    assert await waiting() == {"payments/open", "payments/replaced", "payments/gone"}
    replacing = {"compromised": True, "acknowledge": True}
    assert (await world.admin.post(f"{clients['replaced'].path}/credentials", json=replacing)).status_code == 201
    assert (await world.admin.delete(clients["gone"].path)).is_success
    assert await waiting() == {"payments/open"}


# --- standbys --------------------------------------------------------------------------------------------------------


def test_a_standby_is_seen_with_its_state_and_without_privilege_without_it(replicated: Replicated) -> None:
    primary = replicated.primary

    async def seen() -> tuple[ServerFacts, ServerFacts]:
        async with role(primary.url) as url:
            return await server_facts(primary.url), await server_facts(url)

    everything, little = asyncio.run(seen())
    assert everything.standbys == (Standby("walreceiver", "async"),)
    assert everything.synchronous_standby_names == ""
    assert little.standbys == (Standby("walreceiver", None),)
    with demanded(primary):
        everything, little = asyncio.run(seen())
    assert everything.standbys == (Standby("walreceiver", "sync"),)
    assert (little.standbys, little.synchronous_standby_names) == ((Standby("walreceiver", None),), "*")


async def test_a_standby_is_told_from_a_database_that_is_away(replicated: Replicated) -> None:
    with pytest.raises(ReadOnlyStandby):
        await server_facts(replicated.standby.url)
    with pytest.raises(DatabaseUnavailable):
        await server_facts(str(make_url(replicated.standby.url).set(port=9)))
