"""Who gets in at the admin port: a token of ours, for it, and what it was issued on still stands."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from issuer.administration.authorize import SYSTEM, Principal, authorize
from issuer.events import AdminRequestRefused
from issuer.model.faults import Fault
from issuer.model.times import format_time
from tests.administration.paths import ACCOUNT, MERGE, account, status_of
from tests.world import ACCOUNTS, NAMESPACES, Client, World

ADMIN = "urn:issuer:admin"
SYSTEM_ACCOUNTS = ACCOUNTS.format(namespace="issuer-system")

READS, WRITES = ("get", "list", "watch"), ("create", "update", "patch", "delete")
ALLOWED = {
    "issuer:admin": {("", verb) for verb in (*READS, *WRITES)} | {("credentials", verb) for verb in (*READS, *WRITES)},
    "issuer:admin:read": {("", verb) for verb in READS},
    "": set[tuple[str, str]](),
    "api:read": set[tuple[str, str]](),
    "issuer:admin:write": set[tuple[str, str]](),
    "issuer:administrator": set[tuple[str, str]](),
}


@pytest.mark.parametrize("scope", ALLOWED, ids=lambda scope: scope or "none")
@pytest.mark.parametrize("subresource", ["", "credentials"], ids=lambda name: name or "object")
@pytest.mark.parametrize("verb", [*READS, *WRITES])
def test_the_scopes_decide_what_a_principal_may(scope: str, subresource: str, verb: str) -> None:
    principal = Principal("account", "issuer-system/x", scopes=frozenset(scope.split()))
    asked = (principal, verb, "auth.nauthera.io", "serviceaccounts", "payments", "api", subresource)
    if (subresource, verb) in ALLOWED[scope]:
        authorize(*asked)
    else:
        with pytest.raises(Fault) as caught:
            authorize(*asked)
        assert caught.value.reason.code == 403


def test_the_issuer_itself_and_the_local_command_line_may_everything() -> None:
    for principal in (SYSTEM, Principal("local", "local:root")):
        authorize(principal, "delete", "auth.nauthera.io", "serviceaccounts", "issuer-system", "admin")


def test_a_principal_in_a_record_has_no_empty_parts() -> None:
    assert SYSTEM.to_json() == {"kind": "system", "name": "system"}


async def administrator(world: World, name: str = "operator", **spec: Any) -> Client:
    scopes = {"scopes": ["issuer:admin"], "audiences": [ADMIN], "justification": "test", **spec}
    return await world.account(name, "issuer-system", **scopes)


async def bearer(client: Client, **form: Any) -> dict[str, str]:
    answer = await client.token(**form)
    assert answer.status_code == 200, answer.text
    return {"authorization": f"Bearer {answer.json()['access_token']}"}


async def ask(world: World, headers: dict[str, str], path: str = NAMESPACES) -> httpx.Response:
    return await world.anonymous.get(path, headers=headers)


def requests_of(app: Any) -> Iterator[tuple[str, str]]:
    """Every method and path the admin app has, names filled in."""
    assert isinstance(app, Starlette)
    for route in app.routes:
        assert isinstance(route, Route), "a route of another kind: this test must learn to walk it"
        path = route.path
        for parameter in route.param_convertors:
            value = "1" if parameter == "version" else "payments" if parameter == "namespace" else "api"
            path = path.replace(f"{{{parameter}:int}}", value).replace(f"{{{parameter}}}", value)
        assert "{" not in path
        for method in sorted(route.methods or ()):
            yield method, path


OPEN = {"/livez", "/readyz", "/metrics", "/reference"}


async def test_every_route_but_health_metrics_and_the_reference_refuses_whoever_does_not_say_who_it_is(
    world: World,
) -> None:
    asked = 0
    for method, path in requests_of(world.issuer.admin):
        answer = await world.anonymous.request(method, path)
        if path in OPEN:
            assert answer.status_code == 200, path
            continue
        assert answer.status_code == 401, (method, path)
        assert method == "HEAD" or status_of(answer) == (401, "Unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        asked += 1
    assert asked > 50
    assert len(world.seen(AdminRequestRefused)) == asked


async def test_with_the_read_scope_every_route_shows_no_secret_and_writes_nothing(world: World) -> None:
    await world.account()
    reader = await bearer(await administrator(world, "reader", scopes=["issuer:admin:read"]))
    asked = 0
    for method, path in requests_of(world.issuer.admin):
        secret = "/credentials" in path
        question = method == "POST" and path.endswith("/explain")
        if path in OPEN or question or (method in {"GET", "HEAD"} and not secret):
            continue
        body = {"content": b"{}", "headers": {**reader, "content-type": "application/merge-patch+json"}}
        if method != "PATCH":
            body["headers"]["content-type"] = "application/json"  # type: ignore[index]
        answer = await world.anonymous.request(method, path, **body)  # type: ignore[arg-type]
        assert answer.status_code in {403, 405}, (method, path)
        assert method == "HEAD" or status_of(answer)[0] == answer.status_code
        asked += 1
    assert asked > 30
    shown = (await ask(world, reader, f"{ACCOUNT}/api")).json()
    assert shown["spec"]["scopes"] == ["api:read"]
    for path in (f"{ACCOUNT}/api/credentials/current", f"{ACCOUNT}/api/credentials"):
        method = "GET" if path.endswith("current") else "POST"
        assert status_of(await world.anonymous.request(method, path, headers=reader)) == (403, "Forbidden")


async def test_what_is_no_token_is_401(world: World) -> None:
    for header in ("", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer x.y.z", "Bearer é", "DPoP x", LONG):
        headers = [(b"authorization", header.encode("latin-1"))]
        answer = await world.anonymous.get(NAMESPACES, headers=headers)
        assert status_of(answer) == (401, "Unauthorized"), header[:20]


LONG = "Bearer " + "x" * 20_000


async def test_only_an_access_token_for_the_admin_audience_is_accepted(world: World) -> None:
    client = await administrator(world, scopes=["issuer:admin", "openid"], audiences=["https://other.example", ADMIN])
    assert (await ask(world, await bearer(client, resource=ADMIN))).status_code == 200
    assert status_of(await ask(world, await bearer(client))) == (401, "Unauthorized")
    both = (await client.token(resource=ADMIN, scope="openid issuer:admin")).json()
    id_token = {"authorization": f"Bearer {both['id_token']}"}
    assert status_of(await ask(world, id_token)) == (401, "Unauthorized")


async def test_a_token_of_another_signer_is_refused(world: World) -> None:
    token = (await world.admin_token()).split(".")
    claims = jwt.decode(".".join(token), options={"verify_signature": False})
    kid = jwt.get_unverified_header(".".join(token))["kid"]
    unsigned = jwt.encode(claims, "", algorithm="none", headers={"kid": kid, "typ": "at+jwt"})
    symmetric = jwt.encode(claims, "x" * 32, algorithm="HS256", headers={"kid": kid, "typ": "at+jwt"})
    for forged in (unsigned, symmetric, ".".join([*token[:2], token[2][::-1]])):
        assert status_of(await ask(world, {"authorization": f"Bearer {forged}"})) == (401, "Unauthorized")


async def test_a_token_is_good_until_thirty_seconds_after_its_end_and_before_its_start(world: World) -> None:
    client = await administrator(world, tokenSettings={"accessTokenTTL": "1m"})
    headers = await bearer(client)
    issued = int(world.clock.now().timestamp())
    for offset, code in ((89, 200), (90, 401), (-30, 200), (-31, 401)):
        world.clock.instant = world.clock.instant.fromtimestamp(issued + offset, tz=world.clock.instant.tzinfo)
        assert (await ask(world, headers)).status_code == code, offset


async def patch(world: World, client: Client, change: dict[str, Any]) -> None:
    answer = await world.admin.patch(client.path, json=change, headers=MERGE)
    assert answer.status_code == 200, answer.text


async def test_a_disabled_or_expired_account_is_out_at_once_and_back_when_enabled(world: World) -> None:
    client = await administrator(world)
    headers = await bearer(client)
    for ended in ({"disabled": True}, {"expiresAt": format_time(world.clock.now() - timedelta(seconds=1))}):
        await patch(world, client, {"spec": ended})
        assert status_of(await ask(world, headers)) == (401, "Unauthorized")
        await patch(world, client, {"spec": dict.fromkeys(ended)})
        assert (await ask(world, headers)).status_code == 200


async def test_a_deleted_account_is_out_and_one_made_again_does_not_bring_it_back(world: World) -> None:
    client = await administrator(world)
    headers = await bearer(client)
    await world.admin.delete(client.path)
    assert status_of(await ask(world, headers)) == (401, "Unauthorized")
    again = await administrator(world)
    assert status_of(await ask(world, headers)) == (401, "Unauthorized")
    assert (await ask(world, await bearer(again))).status_code == 200


async def test_one_that_waits_for_finalizers_is_out(world: World) -> None:
    client = await administrator(world)
    headers = await bearer(client)
    await patch(world, client, {"metadata": {"finalizers": ["a/b"]}})
    await world.admin.delete(client.path)
    assert status_of(await ask(world, headers)) == (401, "Unauthorized")


async def test_what_was_taken_from_the_account_is_taken_from_its_tokens(world: World) -> None:
    client = await administrator(world, scopes=["issuer:admin", "issuer:admin:read"], audiences=[ADMIN, "urn:x"])
    headers = await bearer(client)
    await patch(world, client, {"spec": {"scopes": ["issuer:admin:read"]}})
    assert (await ask(world, headers)).status_code == 200
    denied = await world.anonymous.post(NAMESPACES, json={"metadata": {"name": "x"}}, headers=headers)
    assert status_of(denied) == (403, "Forbidden")
    await patch(world, client, {"spec": {"audiences": ["urn:x"]}})
    assert status_of(await ask(world, headers)) == (401, "Unauthorized")


async def test_a_token_may_do_no_more_than_it_was_granted(world: World) -> None:
    client = await administrator(world, scopes=["issuer:admin", "issuer:admin:read"])
    headers = await bearer(client, scope="issuer:admin:read")
    assert (await ask(world, headers)).status_code == 200
    denied = await world.anonymous.post(NAMESPACES, json={"metadata": {"name": "x"}}, headers=headers)
    assert status_of(denied) == (403, "Forbidden")


async def test_a_credential_retired_by_rotation_keeps_its_tokens_and_one_cut_as_compromised_does_not(
    world: World,
) -> None:
    client = await administrator(world)
    headers = await bearer(client)
    rotate = {"acknowledge": True, "gracePeriodHours": 0}
    second = (await world.admin.post(f"{client.path}/credentials", json=rotate)).json()
    assert (await client.token()).status_code == 401
    assert (await ask(world, headers)).status_code == 200
    renewed = await bearer(Client(world, client.path, client.client_id, second["clientSecret"]))
    await world.admin.post(f"{client.path}/credentials", json={"compromised": True, "acknowledge": True})
    for cut in (headers, renewed):
        assert status_of(await ask(world, cut)) == (401, "Unauthorized")


async def test_cve_2026_4630_an_object_is_found_in_its_own_namespace_only(world: World) -> None:
    await world.account("api", "payments")
    await world.namespace("other")
    elsewhere = f"{ACCOUNTS.format(namespace='other')}/api"
    condition = {"type": "ConfigProvisioned", "status": "True", "reason": "R"}
    requests: list[tuple[str, str, Any]] = [
        ("GET", elsewhere, None),
        ("PUT", elsewhere, account("api")),
        ("DELETE", elsewhere, None),
        ("GET", f"{elsewhere}/status", None),
        ("PUT", f"{elsewhere}/status", {"status": {"conditions": [condition]}}),
        ("GET", f"{elsewhere}/config", None),
        ("POST", f"{elsewhere}/credentials", {}),
        ("GET", f"{elsewhere}/credentials/current", None),
        ("POST", f"{elsewhere}/credentials/1/acknowledge", None),
    ]
    for method, path, body in requests:
        assert status_of(await world.admin.request(method, path, json=body)) == (404, "NotFound"), (method, path)
    assert (await world.admin.get(ACCOUNTS.format(namespace="other"))).json()["items"] == []


async def test_a_refusal_names_who_and_what_in_the_event_and_no_token(world: World) -> None:
    reader = await bearer(await administrator(world, "reader", scopes=["issuer:admin:read"]))
    await world.anonymous.delete(f"{ACCOUNT}/api", headers=reader)
    (event,) = world.seen(AdminRequestRefused)
    assert (event.principal, event.verb, event.kind) == ("issuer-system/reader", "delete", "ServiceAccount")
    assert (event.namespace, event.name) == ("payments", "api")
    assert reader["authorization"][7:40] not in str(world.events)
