"""`/livez` and `/readyz`: open, without names, and in plain words about what is missing."""

from typing import Any

import pytest

from issuer.settings import load_settings
from issuer.signing.sealing import MasterKeyError, generate_master_key_line
from issuer.store.database import DatabaseUnavailable
from issuer.store.schema import SchemaError, migrate
from issuer.wiring import Issuer, lay_foundation, wire
from tests.databases import ISSUER, Databases
from tests.world import TOKEN, World, _client

ROUTES = ("/livez", "/readyz")


async def health(issuer: Issuer) -> tuple[int, str]:
    """`/livez` must be 200 whatever happens; the answer is `/readyz`'s."""
    async with _client(issuer.admin, "http://admin.test") as client:
        live, ready = [await client.get(path) for path in ROUTES]
    assert (live.status_code, live.text) == (200, "ok\n")
    assert (ready.status_code == 503) == ("retry-after" in ready.headers)
    return ready.status_code, ready.text


def wired(database_url: str, master_key: str, **settings: Any) -> Issuer:
    loaded = load_settings(**{"url": ISSUER, "database_url": database_url, "master_key": master_key, **settings})
    return wire(lay_foundation(loaded, lambda _: None))


async def poll(issuer: Issuer) -> None:
    """One turn of the reloader as `run` takes it."""
    try:
        await issuer.reloader.catch_up()
    except (DatabaseUnavailable, SchemaError, MasterKeyError) as error:
        issuer.reloader._note_trouble(error)


async def test_ready_says_ok_and_nothing_else(world: World) -> None:
    assert await health(world.issuer) == (200, "ok\n")


async def test_nothing_was_read_yet(databases: Databases, database_url: str) -> None:
    issuer = wired(database_url, databases.bootstrapped.master_key)
    try:
        assert await health(issuer) == (503, "not ready: nothing was read from the database yet\n")
        async with (
            _client(issuer.public, "http://public.test") as public,
            _client(issuer.admin, "http://a.test") as admin,
        ):
            token = await public.post(TOKEN, data={"grant_type": "client_credentials"})
            asked = await admin.get("/api/v1/namespaces")
        assert (token.status_code, token.json()["error"]) == (503, "temporarily_unavailable")
        assert (asked.status_code, asked.json()["reason"]) == (503, "ServiceUnavailable")
        assert token.headers["retry-after"] == asked.headers["retry-after"] == "1"
    finally:
        await issuer.close()


async def test_it_waits_for_migrate_then_for_bootstrap(databases: Databases, empty_database_url: str) -> None:
    issuer = wired(empty_database_url, databases.bootstrapped.master_key)
    try:
        await poll(issuer)
        code, text = await health(issuer)
        assert (code, "issuer migrate" in text, "no schema" in text) == (503, True, True)
        await migrate(issuer.databases[0].engine)
        with pytest.raises(Exception, match="bootstrap") as caught:
            await issuer.reloader.catch_up()
        issuer.reloader._note_trouble(caught.value)
        code, text = await health(issuer)
        assert (code, "issuer bootstrap" in text) == (503, True)
    finally:
        await issuer.close()


async def test_a_wrong_master_key_is_named_as_such(database_url: str) -> None:
    wrong = generate_master_key_line("test")
    issuer = wired(database_url, wrong)
    try:
        await poll(issuer)
        code, text = await health(issuer)
        assert code == 503
        assert text == "not ready: what this database holds is sealed under another master key\n"
        assert wrong.strip().partition(":")[2] not in text
    finally:
        await issuer.close()


@pytest.mark.parametrize(
    "url",
    ["postgresql://nobody@127.0.0.1:1/x", "postgresql://nobody@host.invalid/x"],
    ids=["refused", "no such host"],
)
async def test_a_database_that_is_away_is_said_to_be_without_any_name(databases: Databases, url: str) -> None:
    issuer = wired(url, databases.bootstrapped.master_key)
    try:
        await poll(issuer)
        assert await health(issuer) == (503, "not ready: the database does not answer\n")
    finally:
        await issuer.close()


async def test_health_needs_no_token_and_names_nobody(world: World) -> None:
    await world.account("secret-project", "secret-team")
    for path in ROUTES:
        answer = await world.anonymous.get(path)
        assert answer.status_code == 200
        assert "secret" not in answer.text


# --- verbose: for administrators only ---


async def test_it_says_how_each_process_is_to_whom_the_guard_knows(world: World) -> None:
    answer = await world.admin.get("/readyz?verbose")
    assert answer.status_code == 200
    assert answer.text.startswith("[+]server ok (revision ")
    refused = await world.anonymous.get("/readyz?verbose")
    assert (refused.status_code, refused.json()["reason"]) == (401, "Unauthorized")


async def test_while_the_database_is_away_it_is_503_and_not_an_error_of_ours(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account behind the token may have to be read."""

    async def away(_: str) -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr("issuer.web.guarded.GuardedRoutes.principal", lambda _, request: away(request.url.path))
    answer = await world.admin.get("/readyz?verbose")
    assert (answer.status_code, answer.json()["reason"]) == (503, "ServiceUnavailable")
    assert answer.headers["retry-after"] == "1"
