"""First start: once, whole, and never again; and the way back in for whoever stands beside the database."""

from dataclasses import replace

import pytest

from issuer.administration.bootstrap import NotBootstrapped
from issuer.settings import DatabaseSettings
from issuer.signing.sealing import MasterKeyError, generate_master_key_line, load_master_key
from issuer.store.clock import database_clock
from issuer.store.database import Database
from issuer.store.schema import migrate
from issuer.wiring import first_start
from tests.administration.paths import MERGE
from tests.databases import LOCAL
from tests.store.rows import count_rows, query
from tests.world import ACCOUNTS, World

ADMIN = f"{ACCOUNTS.format(namespace='issuer-system')}/admin"


async def test_it_makes_what_the_design_lists_and_nothing_else(world: World) -> None:
    rows = await query(world.database_url, "SELECT kind, namespace, name FROM resources ORDER BY 1, 2, 3")
    assert [tuple(row) for row in rows] == [
        ("KeySet", "", "default"),
        ("KeySet", "", "rs256"),
        ("Namespace", "", "issuer-system"),
        ("ServiceAccount", "issuer-system", "admin"),
    ]
    keys = await query(
        world.database_url,
        "SELECT keyset, algorithm, activated_at IS NOT NULL AS active, published_at IS NOT NULL AS published "
        "FROM signing_keys ORDER BY 1, 3",
    )
    assert [tuple(row) for row in keys] == [
        ("default", "ES256", False, True),
        ("default", "ES256", True, True),
        ("rs256", "RS256", False, True),
        ("rs256", "RS256", True, True),
    ]
    admin = (await world.admin.get(ADMIN)).json()
    assert (admin["status"]["phase"], admin["spec"]["scopes"]) == ("Active", ["issuer:admin"])
    principals = await query(world.database_url, "SELECT DISTINCT principal->>'name' FROM audit_records")
    assert [row[0] for row in principals] == ["local:test"]


async def test_the_first_keys_begin_by_the_databases_clock_as_every_schedule_does(
    world: World, empty_database_url: str
) -> None:
    """A machine whose clock is ahead must not make keys that take over late."""
    database = Database(empty_database_url, DatabaseSettings(), application="bootstrap")
    try:
        await migrate(database.engine)
        world.clock.advance(days=400)
        foundation = replace(world.foundation, clock=database_clock)
        assert await first_start(foundation, database, LOCAL).bootstrap() is not None
        (row,) = await query(
            empty_database_url,
            "SELECT count(*), bool_and(now() - created_at < '1 min' AND published_at = created_at"
            " AND coalesce(activated_at, created_at) = created_at) AS current FROM signing_keys",
        )
    finally:
        await database.close()
    assert tuple(row) == (4, True)


async def test_run_again_it_changes_nothing(world: World) -> None:
    before = await count_rows(world.database_url)
    assert await first_start(world.foundation, world.issuer.databases[1], LOCAL).bootstrap() is None
    assert await count_rows(world.database_url) == before


async def test_under_another_master_key_it_refuses(world: World) -> None:
    other = replace(world.foundation, master_key=load_master_key(generate_master_key_line("test"), None))
    start = first_start(other, world.issuer.databases[1], LOCAL)
    before = await count_rows(world.database_url)
    for step in (start.bootstrap, start.recover):
        with pytest.raises(MasterKeyError):
            await step()
    assert await count_rows(world.database_url) == before


async def test_there_is_nothing_to_recover_before_it(world: World) -> None:
    await query(world.database_url, "UPDATE installation SET master_key_check = NULL")
    with pytest.raises(NotBootstrapped):
        await first_start(world.foundation, world.issuer.databases[1], LOCAL).recover()


@pytest.mark.parametrize("lockout", ["disabled", "expired", "deleted", "none"])
async def test_recover_lets_the_administrator_back_in_and_cuts_what_was_before(world: World, lockout: str) -> None:
    first = world.bootstrapped.admin
    old_token = dict(world.admin.headers)["authorization"]
    changes = {"disabled": {"disabled": True}, "expired": {"expiresAt": "2001-01-01T00:00:00Z"}, "none": {}}
    if lockout == "deleted":
        assert (await world.admin.delete(ADMIN)).status_code == 200
    else:
        answer = await world.admin.patch(ADMIN, json={"spec": changes[lockout]}, headers=MERGE)
        assert answer.status_code == 200
    start = first_start(world.foundation, world.issuer.databases[1], LOCAL)
    second = await start.recover()
    await world.issuer.reloader.catch_up()
    assert (await world.token(first.client_id, first.client_secret)).status_code == 401
    answer = await world.token(second.client_id, second.client_secret)
    assert answer.status_code == 200
    headers = {"authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await world.anonymous.get(ADMIN, headers=headers)).status_code == 200
    assert (await world.anonymous.get(ADMIN, headers={"authorization": old_token})).status_code == 401
    (record,) = await query(
        world.database_url, "SELECT principal->>'kind' AS kind, verb FROM audit_records ORDER BY revision DESC LIMIT 1"
    )
    assert (record["kind"], record["verb"]) == ("local", "recover")
