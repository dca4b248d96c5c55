"""security-cases.md sections 4b and 4c on PostgreSQL: what was written holds for the next token, and costs are counted."""

import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
import sqlalchemy as sa

from issuer.events import RequestFailed
from tests.conformance.endpoint import raw_basic
from tests.world import NAMESPACES, World, basic

MERGE = {"content-type": "application/merge-patch+json"}
UNKNOWN = "sa-00000000-0000-4000-8000-000000000000"


@dataclass
class Cost:
    """HMACs and queries of the token path."""

    hmacs: int = 0
    queries: int = 0


@contextmanager
def counted(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cost]:
    """What is done in the block."""
    cost, real = Cost(), hmac.digest
    engine = world.issuer.databases[0].engine.sync_engine

    def digest(key: bytes, message: bytes, name: str) -> bytes:
        cost.hmacs += 1
        return real(key, message, name)

    def executed(*_: Any) -> None:
        cost.queries += 1

    sa.event.listen(engine, "before_cursor_execute", executed)
    try:
        with monkeypatch.context() as patched:
            patched.setattr("issuer.credentials.digest", digest)
            yield cost
    finally:
        sa.event.remove(engine, "before_cursor_execute", executed)


async def refused_at_cost(world: World, monkeypatch: pytest.MonkeyPatch, client_id: str) -> Cost:
    with counted(world, monkeypatch) as cost:
        answer = await world.token(client_id, "isk1_wrong")
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    return cost


async def test_unknown_client_and_wrong_secret_cost_the_same_cold(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """openiddict #511, workers-oauth-provider #45, CVE-2026-22746: the same body, status and time."""
    client = await world.account()
    wrong = await refused_at_cost(world, monkeypatch, client.client_id)
    unknown = await refused_at_cost(world, monkeypatch, UNKNOWN)
    assert wrong == unknown == Cost(hmacs=2, queries=1)


async def test_unknown_client_and_wrong_secret_cost_the_same_within_the_second(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await world.account()
    for client_id in (client.client_id, UNKNOWN):
        await refused_at_cost(world, monkeypatch, client_id)
    wrong = await refused_at_cost(world, monkeypatch, client.client_id)
    unknown = await refused_at_cost(world, monkeypatch, UNKNOWN)
    assert wrong == unknown == Cost(hmacs=2, queries=0)


async def test_unknown_client_and_wrong_secret_cost_the_same_warm(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account is in memory and was read more than a second ago: one re-read, as for an id that nobody has."""
    client = await world.account()
    for client_id in (client.client_id, UNKNOWN):
        await refused_at_cost(world, monkeypatch, client_id)
    world.clock.advance(seconds=2)
    wrong = await refused_at_cost(world, monkeypatch, client.client_id)
    unknown = await refused_at_cost(world, monkeypatch, UNKNOWN)
    assert wrong == unknown == Cost(hmacs=2, queries=1)


async def test_many_versions_cost_no_more_queries_than_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await world.account(credentialRotation={"gracePeriodHours": 100})
    for _ in range(6):
        answer = await world.admin.post(f"{client.path}/credentials", json={"acknowledge": True})
        assert answer.status_code == 201, answer.text
    assert (await refused_at_cost(world, monkeypatch, client.client_id)) == Cost(hmacs=2, queries=1)


async def test_a_good_request_of_a_known_account_asks_the_database_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await world.account()
    await client.token()
    world.clock.advance(minutes=1)
    with counted(world, monkeypatch) as cost:
        assert (await client.token()).status_code == 200
    assert cost == Cost(hmacs=1, queries=0)


async def test_the_stored_hmac_is_not_the_secret(world: World) -> None:
    """django-oauth-toolkit #1077, with what really stands in the database."""
    client = await world.account()
    async with world.issuer.databases[0].transaction() as connection:
        stored = (await connection.execute(sa.text("SELECT hmac FROM secret_versions"))).scalars().all()
    assert stored
    for value in stored:
        assert (await world.token(client.client_id, bytes(value).hex())).status_code == 401


async def test_a_disabled_account_is_refused_at_once_although_it_is_in_memory(world: World) -> None:
    """CVE-2025-64521 (authentik), CVE-2026-1609 (Keycloak)."""
    client = await world.account()
    assert (await client.token()).status_code == 200
    await world.admin.patch(client.path, json={"spec": {"disabled": True}}, headers=MERGE)
    assert (await client.token()).status_code == 401
    await world.admin.patch(client.path, json={"spec": {"disabled": False}}, headers=MERGE)
    assert (await client.token()).status_code == 200


async def test_a_deleted_account_is_refused_at_once_and_looks_like_one_that_never_was(world: World) -> None:
    client = await world.account()
    assert (await client.token()).status_code == 200
    assert (await world.admin.delete(client.path)).status_code == 200
    deleted, never = await client.token(), await world.token(UNKNOWN, "x")
    assert deleted.status_code == 401
    assert (deleted.content, deleted.headers) == (never.content, never.headers)


async def test_an_account_of_the_same_name_is_another_identity(world: World) -> None:
    client = await world.account()
    await world.admin.delete(client.path)
    again = await world.account()
    assert again.client_id != client.client_id
    assert [(await each.token()).status_code for each in (client, again)] == [401, 200]


async def test_accounts_of_a_namespace_being_deleted_are_refused_at_once(world: World) -> None:
    client = await world.account()
    assert (await client.token()).status_code == 200
    assert (await world.admin.delete(f"{NAMESPACES}/payments")).status_code in {200, 202}
    assert (await client.token()).status_code == 401


async def test_policy_is_decided_on_the_state_of_the_moment_of_issuance(world: World) -> None:
    """CVE-2026-18573 and CVE-2026-15572: created harmless, updated afterwards."""
    client = await world.account(scopes=["api:read", "api:write"], audiences=["https://a.example"])
    assert (await client.token(scope="api:write")).status_code == 200
    narrowed = {"spec": {"scopes": ["api:read"], "audiences": ["https://b.example"]}}
    assert (await world.admin.patch(client.path, json=narrowed, headers=MERGE)).status_code == 200
    assert (await client.token(scope="api:write")).json()["error"] == "invalid_scope"
    assert (await client.token(resource="https://a.example")).json()["error"] == "invalid_target"
    token = (await client.token()).json()["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["scope"], claims["aud"]) == ("api:read", "https://b.example")


async def test_a_scope_catalogued_afterwards_limits_the_next_token(world: World) -> None:
    client = await world.account(scopes=["api:read"])
    assert (await client.token()).json()["expires_in"] == 600
    entry = {"metadata": {"name": "read"}, "spec": {"scope": "api:read", "maxAccessTokenTTL": "30s"}}
    answer = await world.admin.post("/apis/auth.nauthera.io/v1alpha1/scopes", json=entry)
    assert answer.status_code == 201, answer.text
    assert (await client.token()).json()["expires_in"] == 30


async def test_no_credential_reaches_postgresql_as_an_error(world: World) -> None:
    """django-oauth-toolkit #1006."""
    for credential in (
        "%00:%00",
        "sa-\0:x",
        "\xff\xfe:\xff",
        "'; DROP TABLE resources; --:x",
        "a" * 20_000 + ":x",
        ":",
    ):
        header = {"authorization": raw_basic(credential.encode("latin-1"))}
        answer = await world.public.post("/oauth2/token", data={"grant_type": "client_credentials"}, headers=header)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), credential[:40]
    assert not world.seen(RequestFailed)


async def test_an_admin_token_for_an_ordinary_account_does_not_exist(world: World) -> None:
    client = await world.account()
    answer = await world.public.post(
        "/oauth2/token",
        data={"grant_type": "client_credentials", "resource": "urn:issuer:admin"},
        headers={"authorization": basic(client.client_id, client.secret)},
    )
    assert answer.json()["error"] == "invalid_target"
