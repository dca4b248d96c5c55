"""A database that is away, busy or refusing is DatabaseUnavailable, quickly; a statement that is wrong is not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.settings import DatabaseSettings
from issuer.store.database import Database, DatabaseUnavailable, RightMissing, connect, database_errors
from tests.administration.paths import account_path, status_of
from tests.databases import Databases
from tests.store.roles import role
from tests.store.rows import query
from tests.world import NAMESPACES, World, started_world

# As much time as a busy machine may need, but where running out of time is what a test is about.
PATIENT = DatabaseSettings(pool_size=1, pool_timeout_s=30, statement_timeout_s=30)
SHORT_STATEMENTS = DatabaseSettings(pool_size=1, pool_timeout_s=30, statement_timeout_s=0.2)
SHORT_WAIT = DatabaseSettings(pool_size=1, pool_timeout_s=1, statement_timeout_s=30)


@asynccontextmanager
async def opened(database_url: str, settings: DatabaseSettings) -> AsyncIterator[Database]:
    database = Database(database_url, settings, application="issuer test")
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url, PATIENT) as database:
        yield database


async def run(database: Database, statement: str) -> Any:
    async with database.transaction() as connection:
        return (await connection.execute(sa.text(statement))).scalar_one_or_none()


async def terminate(database_url: str) -> None:
    """Ends every other connection to the database, as a failover does."""
    await query(
        database_url,
        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE datname = current_database() AND pid <> pg_backend_pid()""",
    )


async def test_connections_are_set_up_to_be_durable_and_bounded(database: Database) -> None:
    for setting, value in {
        "synchronous_commit": "on",
        "statement_timeout": "30s",
        "idle_in_transaction_session_timeout": "1min",
        "transaction_isolation": "read committed",
        "transaction_read_only": "off",
        "TimeZone": "UTC",
        "application_name": "issuer test",
    }.items():
        assert await run(database, f"SELECT current_setting('{setting}')") == value


async def test_a_transaction_is_committed_at_its_end_and_rolled_back_by_any_exception(database: Database) -> None:
    await run(database, "UPDATE installation SET revision = revision + 100 RETURNING 1")
    before = await run(database, "SELECT revision FROM installation")

    async def fail() -> None:
        async with database.transaction() as connection:
            await connection.execute(sa.text("UPDATE installation SET revision = 0"))
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert before >= 100
    assert await run(database, "SELECT revision FROM installation") == before


async def test_single_statements_are_transactions_of_their_own_and_those_in_a_transaction_are_one(
    database: Database,
) -> None:
    """All on one connection: what one user of it asked for is nothing to the next."""
    which = sa.text("SELECT pg_current_xact_id()::text, current_setting('transaction_isolation')")

    async def asked_twice(block: AbstractAsyncContextManager[AsyncConnection]) -> tuple[set[str], str]:
        async with block as connection:
            rows = [(await connection.execute(which)).one() for _ in range(2)]
        return {row[0] for row in rows}, rows[0][1]

    for block, transactions, isolation in (
        (database.single_statements(), 2, "read committed"),
        (database.transaction(isolation="REPEATABLE READ"), 1, "repeatable read"),
        (database.transaction(), 1, "read committed"),
        (database.single_statements(), 2, "read committed"),
    ):
        seen, found = await asked_twice(block)
        assert (len(seen), found) == (transactions, isolation)


async def test_a_statement_that_takes_too_long_is_unavailability(database_url: str) -> None:
    async with opened(database_url, SHORT_STATEMENTS) as database:
        with pytest.raises(DatabaseUnavailable, match="57014"):
            await run(database, "SELECT pg_sleep(10)")
        assert await run(database, "SELECT 1") == 1


async def test_a_connection_that_was_cut_while_it_was_idle_is_replaced_and_nobody_notices(
    database: Database, database_url: str
) -> None:
    assert await run(database, "SELECT 1") == 1
    await terminate(database_url)
    assert await run(database, "SELECT 1") == 1


async def test_a_connection_that_is_cut_in_the_middle_is_unavailability(database: Database, database_url: str) -> None:
    async def cut() -> None:
        async with database.transaction() as connection:
            await connection.execute(sa.text("UPDATE installation SET revision = revision + 1"))
            await terminate(database_url)
            await connection.execute(sa.text("SELECT 1"))

    before = await run(database, "SELECT revision FROM installation")
    with pytest.raises(DatabaseUnavailable):
        await cut()
    assert await run(database, "SELECT revision FROM installation") == before


async def test_what_the_driver_cannot_explain_of_a_connection_is_unavailability_too(database: Database) -> None:
    """asyncpg's own class beside all others, seen after a process had been paused while its server went away."""
    with pytest.raises(DatabaseUnavailable):
        async with database.transaction():
            raise asyncpg.InternalClientError("got result for unknown protocol state 0")


async def test_an_exhausted_pool_is_unavailability_after_the_timeout(database_url: str) -> None:
    async with opened(database_url, SHORT_WAIT) as database:
        async with database.transaction():
            with pytest.raises(DatabaseUnavailable, match="TimeoutError"):
                await run(database, "SELECT 1")
        assert await run(database, "SELECT 1") == 1


async def test_a_lock_that_is_not_given_up_is_unavailability(database_url: str) -> None:
    holder = await asyncpg.connect(database_url)
    try:
        await holder.execute("BEGIN; SELECT 1 FROM installation FOR UPDATE")
        async with opened(database_url, SHORT_STATEMENTS) as database:
            with pytest.raises(DatabaseUnavailable, match="57014"):
                await run(database, "UPDATE installation SET revision = 0 RETURNING 1")
    finally:
        await holder.close()


async def test_a_server_that_refuses_the_connection_is_unavailability(database_url: str) -> None:
    """Wrong database, unknown role, too many connections, a database closed for maintenance."""
    role, name = "issuer_test_limited", make_url(database_url).database
    await query(database_url, f"DROP ROLE IF EXISTS {role}")
    await query(database_url, f"CREATE ROLE {role} LOGIN PASSWORD 'x' CONNECTION LIMIT 0")
    limited = make_url(database_url).set(username=role, password="x").render_as_string(hide_password=False)
    urls = {
        "database": make_url(database_url).set(database="nothing_here").render_as_string(hide_password=False),
        "role": make_url(database_url).set(username="nobody_at_all").render_as_string(hide_password=False),
        "too many": limited,
        "closed": database_url,
    }
    server = make_url(database_url).set(database="postgres").render_as_string(hide_password=False)
    try:
        for rule, url in urls.items():
            if rule == "closed":
                await query(server, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            refused = Database(url, PATIENT, application="test")
            try:
                with pytest.raises(DatabaseUnavailable):
                    await run(refused, "SELECT 1")
            finally:
                await refused.close()
    finally:
        await query(server, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await query(server, f"DROP ROLE {role}")


async def test_a_server_that_is_not_the_writable_primary_is_unavailability(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def standby(*_: Any, **__: Any) -> None:
        # What asyncpg raises when target_session_attrs finds only a standby: no PostgresError, no OSError.
        raise asyncpg.TargetServerAttributeNotMatched("read-write")

    monkeypatch.setattr(asyncpg, "connect", standby)
    with pytest.raises(DatabaseUnavailable):
        await run(database, "SELECT 1")


async def test_a_schema_that_is_missing_is_unavailability(database: Database) -> None:
    """During a restore tables are gone for a moment: no reason for every replica to end."""
    with pytest.raises(DatabaseUnavailable):
        await run(database, "SELECT revision FROM no_such_table")


WRONG: dict[str, type[Exception]] = {
    "SELECT 1 +": DBAPIError,
    "SELECT 1/0": DBAPIError,
    "INSERT INTO installation (only_row) VALUES (true)": IntegrityError,
    "INSERT INTO installation (only_row) VALUES (false)": IntegrityError,
}


async def test_a_statement_that_is_wrong_stays_an_error_of_ours(database: Database) -> None:
    for statement, error in WRONG.items():
        with pytest.raises(error):
            await run(database, statement)


async def test_a_right_that_the_user_lacks_is_called_that_by_whatever_the_database_is_asked(database_url: str) -> None:
    async with role(database_url) as url, opened(url, PATIENT) as confined:
        with pytest.raises(RightMissing, match=r"^permission denied for table installation$"):
            await run(confined, "SELECT revision FROM installation")
        with pytest.raises(RightMissing, match=r"^permission denied for schema public$"):
            await run(confined, "CREATE TABLE public.mine ()")
        own = await connect(url, PATIENT, "issuer test")
        try:
            with pytest.raises(RightMissing, match=r"^must be owner of table installation$"), database_errors():
                await own.execute("DROP TABLE installation")
        finally:
            await own.close()


async def test_a_user_who_may_not_enter_the_database_is_refused_the_connection(database_url: str) -> None:
    async with role(database_url) as url, opened(url, PATIENT) as shut_out:
        await query(database_url, f'REVOKE CONNECT ON DATABASE "{make_url(url).database}" FROM PUBLIC')
        with pytest.raises(DatabaseUnavailable, match="it refuses the connection: permission denied for database"):
            await run(shut_out, "SELECT 1")


async def test_a_constraint_checked_at_commit_stays_an_error_of_ours(database: Database) -> None:
    with pytest.raises(IntegrityError, match="secret_versions_account_uid_fkey"):
        await run(
            database,
            """INSERT INTO secret_versions (account_uid, version, pepper_id, hmac, created_at)
               SELECT gen_random_uuid(), 1, id, '', now() FROM peppers RETURNING 1""",
        )


async def test_no_parameter_stands_in_an_error(database: Database) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with database.transaction() as connection:
            await connection.execute(sa.text("SELECT 1 / length(:secret)"), {"secret": ""})
    assert "hide_parameters=True" in str(caught.value)


async def test_while_the_database_is_away_known_accounts_get_tokens_and_others_503(world: World) -> None:
    known, stranger = await world.account("known"), await world.account("stranger")
    assert (await known.token()).status_code == 200
    name = make_url(world.database_url).database
    server = make_url(world.database_url).set(database="postgres").render_as_string(hide_password=False)
    await query(server, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    try:
        for database in world.issuer.databases:
            await database.engine.dispose()
        await assert_outage(world, known, stranger)
    finally:
        await query(server, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert (await stranger.token()).status_code == 200
    assert (await world.admin.get(NAMESPACES)).status_code == 200


async def assert_outage(world: World, known: Any, stranger: Any) -> None:
    assert (await known.token()).status_code == 200
    refused = await stranger.token()
    assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable")
    assert int(refused.headers["retry-after"]) >= 1
    requests = [
        ("GET", NAMESPACES, None),
        ("POST", NAMESPACES, {"metadata": {"name": "x"}}),
        ("DELETE", known.path, None),
    ]
    for method, path, body in requests:
        answer = await world.admin.request(method, path, json=body)
        assert status_of(answer) == (503, "ServiceUnavailable")
        assert int(answer.headers["retry-after"]) >= 1
    with pytest.raises(DatabaseUnavailable):
        await world.issuer.reloader.catch_up()
    ready = await world.anonymous.get("/readyz")
    assert ready.status_code == 200, "a replica that knows its world goes on; staleness is an event"


async def test_a_write_whose_commit_succeeded_is_not_answered_with_503(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snapshot of this process may be late; the caller must not repeat what was done."""

    async def away(_: int) -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(world.issuer.reloader, "catch_up", away)
    assert (await world.admin.post(NAMESPACES, json={"metadata": {"name": "payments"}})).status_code == 201


async def test_a_slow_statement_of_the_admin_port_is_503_and_no_500(databases: Databases, database_url: str) -> None:
    settings = {"statement_timeout_s": 0.3}
    async with started_world(database_url, databases.bootstrapped, database=settings) as world:
        await world.account()
        holder = await asyncpg.connect(database_url)
        try:
            await holder.execute("BEGIN; LOCK TABLE resources IN ACCESS EXCLUSIVE MODE")
            read, written = await asyncio.gather(
                world.admin.get(account_path("api")), world.admin.delete(account_path("api"))
            )
        finally:
            await holder.close()
        assert [status_of(answer) for answer in (read, written)] == [(503, "ServiceUnavailable")] * 2
        assert (await world.admin.get(account_path("api"))).status_code == 200
