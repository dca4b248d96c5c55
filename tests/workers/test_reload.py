"""The reloader: another process's writes are in force after one look; another database drops all; trouble drops nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
from sqlalchemy.engine import make_url

from issuer.administration.bootstrap import NotBootstrapped
from issuer.events import SnapshotLoaded, SnapshotStale, WorldReplaced
from issuer.signing.sealing import MasterKeyError, SealError, generate_master_key_line, load_master_key
from issuer.store.database import DatabaseUnavailable
from issuer.store.schema import SchemaError
from issuer.workers.reload import STALE_AFTER_S
from tests.administration.paths import MERGE
from tests.databases import Bootstrapped, Databases
from tests.store.rows import query
from tests.world import NAMESPACES, SCOPES, Client, World, started_world


@pytest.fixture
async def replica(world: World, databases: Databases) -> AsyncIterator[World]:
    """A second issuer on the same database, under the same clock."""
    async with started_world(world.database_url, databases.bootstrapped, world.clock) as other:
        yield other


def at(replica: World, client: Client) -> Client:
    """The same workload, asking the replica."""
    return Client(replica, client.path, client.client_id, client.secret)


async def refused(client: Client, **form: str) -> str | None:
    return str((await client.token(**form)).json().get("error"))


class TestAnotherProcess:
    @pytest.mark.parametrize("end", ["disable", "delete", "finalize", "delete the namespace"])
    async def test_what_ends_an_account_is_in_force_after_one_look(
        self, world: World, replica: World, end: str
    ) -> None:
        client = await world.account()
        await replica.issuer.reloader.catch_up()
        there = at(replica, client)
        assert (await there.token()).status_code == 200
        if end == "disable":
            await world.admin.patch(client.path, json={"spec": {"disabled": True}}, headers=MERGE)
        elif end == "delete":
            await world.admin.delete(client.path)
        elif end == "finalize":
            await world.admin.patch(client.path, json={"metadata": {"finalizers": ["a/b"]}}, headers=MERGE)
            await world.admin.delete(client.path)
        else:
            await world.admin.delete(f"{NAMESPACES}/payments")
        assert (await there.token()).status_code == 200, "the replica has not looked yet"
        await replica.issuer.reloader.catch_up()
        assert await refused(there) == "invalid_client"

    async def test_so_is_what_narrows_it(self, world: World, replica: World) -> None:
        client = await world.account(scopes=["api:read", "api:write"])
        there = at(replica, client)
        assert (await there.token()).json()["scope"] == "api:read api:write"
        await world.admin.patch(client.path, json={"spec": {"scopes": ["api:read"]}}, headers=MERGE)
        await replica.issuer.reloader.catch_up()
        assert (await there.token()).json()["scope"] == "api:read"

    async def test_so_is_a_scope_of_the_catalogue_made_changed_and_removed(self, world: World, replica: World) -> None:
        there = at(replica, await world.account(tokenSettings={"accessTokenTTL": "1h"}))

        async def lifetime() -> int:
            await replica.issuer.reloader.catch_up()
            return int((await there.token()).json()["expires_in"])

        assert await lifetime() == 3600
        spec = {"scope": "api:read", "maxAccessTokenTTL": "1m"}
        await world.admin.post(SCOPES, json={"metadata": {"name": "read"}, "spec": spec})
        assert await lifetime() == 60
        await world.admin.patch(f"{SCOPES}/read", json={"spec": {"maxAccessTokenTTL": "2m"}}, headers=MERGE)
        assert await lifetime() == 120
        await world.admin.delete(f"{SCOPES}/read")
        assert await lifetime() == 3600

    async def test_an_account_of_its_own_is_forgotten_alone_and_the_world_is_not_read_again(
        self, world: World, replica: World
    ) -> None:
        first, second = await world.account("first"), await world.account("second")
        await replica.issuer.reloader.catch_up()
        for client in (first, second):
            assert (await at(replica, client).token()).status_code == 200
        known, loads = len(replica.issuer.directory), len(replica.seen(SnapshotLoaded))
        await world.admin.patch(first.path, json={"spec": {"purpose": "x"}}, headers=MERGE)
        await replica.issuer.reloader.catch_up()
        assert len(replica.issuer.directory) == known - 1
        assert len(replica.seen(SnapshotLoaded)) == loads

    async def test_a_write_here_needs_no_look(self, world: World) -> None:
        client = await world.account()
        assert (await client.token()).status_code == 200
        await world.admin.patch(client.path, json={"spec": {"disabled": True}}, headers=MERGE)
        assert await refused(client) == "invalid_client"

    async def test_a_revision_already_in_force_costs_no_query(self, world: World) -> None:
        snapshot = world.issuer.reloader.snapshot()
        assert snapshot is not None
        for database in world.issuer.databases:
            await database.close()
        await query(
            make_url(world.database_url).set(database="postgres").render_as_string(hide_password=False),
            f'ALTER DATABASE "{make_url(world.database_url).database}" ALLOW_CONNECTIONS false',
        )
        await world.issuer.reloader.catch_up(snapshot.revision)
        with pytest.raises(DatabaseUnavailable):
            await world.issuer.reloader.catch_up(snapshot.revision + 1000)


class TestAnotherDatabase:
    @pytest.mark.parametrize(
        ("statement", "reason"),
        [
            ("UPDATE installation SET epoch = gen_random_uuid()", "identity"),
            ("UPDATE installation SET revision = revision - 1", "revision"),
        ],
        ids=["another epoch", "a revision that fell"],
    )
    async def test_everything_is_dropped_and_read_anew(self, world: World, statement: str, reason: str) -> None:
        client = await world.account()
        assert (await client.token()).status_code == 200
        # As after a restore: the account is not what it was, and no change log says so.
        await query(
            world.database_url,
            """UPDATE resources SET document = jsonb_set(document::jsonb, '{spec,disabled}', 'true')::json
               WHERE name = 'api'""",
        )
        await world.issuer.reloader.catch_up()
        assert (await client.token()).status_code == 200, "nothing says yet that the database is another one"
        before = world.issuer.reloader.snapshot()
        await query(world.database_url, statement)
        await world.issuer.reloader.catch_up()
        assert [event.reason for event in world.seen(WorldReplaced)] == [reason]
        assert await refused(client) == "invalid_client"
        assert world.issuer.reloader.snapshot() is not before
        await world.issuer.reloader.catch_up()
        assert len(world.seen(WorldReplaced)) == 1

    async def test_a_policy_of_the_same_revision_may_be_another_write(self, world: World) -> None:
        client = await world.account(tokenSettings={"accessTokenTTL": "1h"})
        document = {"metadata": {"name": "ceiling"}, "spec": {"tokenSettings": {"maxAccessTokenTTL": "40m"}}}
        await world.admin.post("/apis/auth.nauthera.io/v1alpha1/clusterauthpolicies", json=document)
        assert (await client.token()).json()["expires_in"] == 2400
        # As after a failover that lost the last write, and another write that took its revision.
        await query(
            world.database_url,
            """UPDATE resources
               SET document = jsonb_set(document::jsonb, '{spec,tokenSettings,maxAccessTokenTTL}', '"1m"')::json
               WHERE name = 'ceiling'""",
        )
        await query(world.database_url, "UPDATE installation SET epoch = gen_random_uuid()")
        await world.issuer.reloader.catch_up()
        assert (await client.token()).json()["expires_in"] == 60

    async def test_one_under_another_master_key_keeps_the_last_good_world_and_is_reported_once_it_is_stale(
        self, world: World
    ) -> None:
        client = await world.account()
        assert (await client.token()).status_code == 200
        before = world.issuer.reloader.snapshot()
        other = generate_master_key_line("test")
        await query(
            world.database_url,
            "UPDATE installation SET epoch = gen_random_uuid(), master_key_check = $1",
            foreign_check(other),
        )
        world.clock.advance(seconds=STALE_AFTER_S + 1)
        for _ in range(3):
            with pytest.raises(MasterKeyError, match="not the master key of this database") as caught:
                await world.issuer.reloader.catch_up()
            world.issuer.reloader._note_trouble(caught.value)
        assert world.issuer.reloader.snapshot() is before
        assert len(world.seen(SnapshotStale)) == 1
        assert world.seen(WorldReplaced) == [], "it was not replaced: it could not be read"
        assert (await client.token()).status_code == 200


def foreign_check(line: str) -> bytes:

    return load_master_key(line, None).check_blob()


class TestTrouble:
    async def test_an_unreadable_world_keeps_the_last_good_snapshot_and_recovers(self, world: World) -> None:
        client = await world.account()
        before = world.issuer.reloader.snapshot()
        await query(world.database_url, "UPDATE peppers SET sealed = sealed || 'x'::bytea")
        await world.admin.post(SCOPES, json={"metadata": {"name": "x"}, "spec": {"scope": "x"}})
        with pytest.raises(SealError):
            await world.issuer.reloader.catch_up()
        assert world.issuer.reloader.snapshot() is before
        assert world.issuer.reloader.why_not_ready is None
        assert (await client.token()).status_code == 200
        await query(world.database_url, "UPDATE peppers SET sealed = substr(sealed, 1, length(sealed) - 1)")
        await world.issuer.reloader.catch_up()
        snapshot = world.issuer.reloader.snapshot()
        assert snapshot is not None
        assert "x" in snapshot.governance.catalogue.scopes

    async def test_a_wrong_master_key_is_an_error_that_says_what_to_do(
        self, databases: Databases, database_url: str
    ) -> None:
        wrong = Bootstrapped(generate_master_key_line("test"), databases.bootstrapped.admin)
        with pytest.raises(MasterKeyError, match=r"not the master key of this database.*ISSUER_MASTER_KEY"):
            async with started_world(database_url, wrong):
                pytest.fail("it must not start")

    async def test_an_unbootstrapped_and_an_empty_database_are_told_apart(
        self, databases: Databases, database_url: str, empty_database_url: str
    ) -> None:
        await query(database_url, "UPDATE installation SET master_key_check = NULL")
        for url, error in ((database_url, NotBootstrapped), (empty_database_url, SchemaError)):
            with pytest.raises(error):
                async with started_world(url, databases.bootstrapped):
                    pytest.fail("it must not start")

    async def test_the_loop_survives_everything_a_database_can_do_and_finds_back(self, world: World) -> None:
        """A restore in place: tables vanish and return while the loop polls."""
        reloader = world.issuer.reloader
        running = asyncio.create_task(reloader.run())
        try:
            await query(world.database_url, "ALTER TABLE installation RENAME TO elsewhere")
            world.clock.advance(seconds=STALE_AFTER_S + 1)
            await until(lambda: bool(world.seen(SnapshotStale)))
            assert not running.done()
            await query(world.database_url, "ALTER TABLE elsewhere RENAME TO installation")
            await query(world.database_url, "UPDATE installation SET epoch = gen_random_uuid()")
            await until(lambda: bool(world.seen(WorldReplaced)))
            assert not running.done()
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def test_a_stored_object_that_cannot_be_compiled_ends_nothing_but_freshness(self, world: World) -> None:
        client = await world.account()
        await world.admin.post(SCOPES, json={"metadata": {"name": "x"}, "spec": {"scope": "x"}})
        good = json.dumps({"spec": {"scope": "x"}})
        (row,) = await query(world.database_url, "SELECT document FROM resources WHERE name = 'x'")
        await query(world.database_url, "UPDATE resources SET document = $1::json WHERE name = 'x'", good)
        before = world.issuer.reloader.snapshot()
        world.clock.advance(seconds=STALE_AFTER_S + 1)
        await world.renew_admin()
        await world.namespace("anything-else")
        assert world.issuer.reloader.snapshot() is before
        (event,) = world.seen(SnapshotStale)
        assert event.error.startswith("KeyError at store/resources.py:")
        assert (await client.token()).status_code == 200
        await query(world.database_url, "UPDATE resources SET document = $1::json WHERE name = 'x'", row["document"])
        await world.issuer.reloader.hasten()
        assert world.issuer.reloader.snapshot() is not before

    async def test_staleness_is_reported_once_for_one_reason_and_again_after_it_was_over(self, world: World) -> None:
        reloader, trouble = world.issuer.reloader, DatabaseUnavailable("away")
        reloader._note_trouble(trouble)
        assert world.seen(SnapshotStale) == [], "a moment is no staleness"
        for _ in range(2):
            world.clock.advance(seconds=STALE_AFTER_S + 1)
            reloader._note_trouble(trouble)
        assert [event.age_s for event in world.seen(SnapshotStale)] == [STALE_AFTER_S + 1]
        reloader._note_trouble(DatabaseUnavailable("refused"))
        assert len(world.seen(SnapshotStale)) == 2
        await reloader.catch_up()
        world.clock.advance(seconds=STALE_AFTER_S + 1)
        reloader._note_trouble(trouble)
        assert len(world.seen(SnapshotStale)) == 3


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is waited for knows no Event
            await asyncio.sleep(0.02)
