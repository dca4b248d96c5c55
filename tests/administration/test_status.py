"""`status`: who owns what in it, what it says over an account's life, and its final shape."""

from datetime import timedelta
from typing import Any

import yaml

from issuer.model.times import format_time, parse_time
from tests.administration.paths import ACCOUNT, MERGE, account, account_path, status_of
from tests.world import World

PATH = account_path("api")
PROVISIONED = {"type": "ConfigProvisioned", "status": "True", "reason": "ConfigMapCreated"}


async def write(world: World, status: Any, method: str = "PUT") -> Any:
    headers = MERGE if method == "PATCH" else {}
    return await world.admin.request(method, f"{PATH}/status", json={"status": status}, headers=headers)


async def created(world: World, **spec: Any) -> dict[str, Any]:
    await world.namespace("payments")
    answer = await world.admin.post(ACCOUNT, json=account("api", **spec))
    assert answer.status_code == 201
    status: dict[str, Any] = answer.json()["status"]
    return status


def reasons(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}


async def test_a_new_account_waits_for_its_secret_and_knows_no_driver(world: World) -> None:
    status = await created(world)
    now = format_time(world.clock.now())
    assert status["clientId"].startswith("sa-")
    assert (status["phase"], status["ready"], status["observedGeneration"]) == ("Pending", False, 1)
    assert status["lastCredentialRotation"] == now
    assert "nextCredentialRotation" not in status
    assert status["conditions"] == [
        {"type": "Ready", "status": "False", "reason": "Pending", "lastTransitionTime": now},
        {"type": "CredentialsProvisioned", "status": "False", "reason": "AwaitingDelivery", "lastTransitionTime": now},
        {"type": "ConfigProvisioned", "status": "Unknown", "reason": "NoDriver", "lastTransitionTime": now},
    ]


async def test_after_its_driver_has_delivered_it_has_the_shape_of_the_seed(world: World) -> None:
    """The seed's status.yaml, beside what only GET computes."""
    await created(world, credentialRotation={"enabled": True})
    made = world.clock.now()
    world.clock.advance(minutes=1)
    handed_out = (await world.admin.post(f"{PATH}/credentials")).json()
    await world.admin.post(f"{PATH}/credentials/{handed_out['version']}/acknowledge")
    await write(world, {"conditions": [PROVISIONED]})
    status = (await world.admin.get(PATH)).json()["status"]
    transition = format_time(world.clock.now())
    assert {key: value for key, value in status.items() if key not in {"credentials", "effective"}} == {
        "clientId": handed_out["clientId"],
        "ready": True,
        "phase": "Active",
        "observedGeneration": 1,
        "lastCredentialRotation": format_time(made),
        "nextCredentialRotation": format_time(made + timedelta(days=90)),
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "ServiceAccountRegistered",
                "lastTransitionTime": transition,
            },
            {
                "type": "CredentialsProvisioned",
                "status": "True",
                "reason": "SecretCreated",
                "lastTransitionTime": transition,
            },
            {**PROVISIONED, "lastTransitionTime": transition},
        ],
    }
    assert [(each["version"], each["state"]) for each in status["credentials"]] == [(1, "active")]
    assert "clientSecret" not in str(status)


async def test_the_driver_owns_config_provisioned_and_its_time_moves_with_its_status_only(world: World) -> None:
    await created(world)
    world.clock.advance(minutes=1)
    moved = format_time(world.clock.now())
    await write(world, {"conditions": [PROVISIONED]})
    world.clock.advance(minutes=1)
    later = {**PROVISIONED, "reason": "Other", "message": "m", "lastTransitionTime": "2001-01-01T00:00:00Z"}
    status = (await write(world, {"conditions": [later]}, "PATCH")).json()["status"]
    assert status["conditions"][2] == {**later, "lastTransitionTime": moved}


REFUSED: dict[str, tuple[Any, list[str]]] = {
    "a condition of the issuer, changed": (
        {"conditions": [{"type": "Ready", "status": "True", "reason": "Mine"}]},
        ["status.conditions[0].type"],
    ),
    "credentials that were not delivered": (
        {"conditions": [{"type": "CredentialsProvisioned", "status": "True", "reason": "SecretCreated"}]},
        ["status.conditions[0].type"],
    ),
    "a type nobody owns": (
        {"conditions": [PROVISIONED, {"type": "Shiny", "status": "True", "reason": "Yes"}]},
        ["status.conditions[1].type"],
    ),
    "one type twice": ({"conditions": [PROVISIONED, PROVISIONED]}, ["status.conditions[1].type"]),
    "fields of the issuer, every one": (
        {"phase": "Active", "ready": True, "clientId": "sa-x", "colour": "red"},
        ["status.clientId", "status.colour", "status.phase", "status.ready"],
    ),
    "a malformed condition": (
        {"conditions": [{"type": "ConfigProvisioned", "status": "yes", "x": 1}, 7]},
        [
            "status.conditions[0].reason",
            "status.conditions[0].status",
            "status.conditions[0].x",
            "status.conditions[1]",
        ],
    ),
    "conditions that are no list": ({"conditions": {}}, ["status.conditions"]),
}


async def test_what_a_driver_does_not_own_is_refused_by_field(world: World) -> None:
    await created(world)
    before = (await world.admin.get(PATH)).json()
    for rule, (status, fields) in REFUSED.items():
        for method in ("PUT", "PATCH"):
            answer = await write(world, status, method)
            assert status_of(answer) == (422, "Invalid"), rule
            assert [cause["field"] for cause in answer.json()["details"]["causes"]] == fields, rule
    bodies: tuple[Any, ...] = (None, [], "x")
    for body in bodies:
        assert status_of(await write(world, body)) == (400, "BadRequest")
    assert (await world.admin.get(PATH)).json() == before


async def test_the_whole_status_may_be_sent_back_as_it_was_read(world: World) -> None:
    await created(world)
    status = (await world.admin.get(PATH)).json()["status"]
    status["conditions"][2] |= PROVISIONED
    answer = await write(world, status)
    assert answer.status_code == 200
    assert reasons(answer.json()["status"])["ConfigProvisioned"] == ("True", "ConfigMapCreated")


async def test_also_after_it_has_expired(world: World) -> None:
    client = await world.account(expiresAt=format_time(world.clock.now() + timedelta(hours=1)))
    world.clock.advance(hours=2)
    await world.renew_admin()
    read = (await world.admin.get(client.path)).json()
    assert read["status"]["phase"] == "Expired"
    answer = await world.admin.put(f"{client.path}/status", json=read)
    assert answer.status_code == 200, answer.text


async def test_a_status_write_changes_nothing_but_conditions(world: World) -> None:
    await created(world)
    before = (await world.admin.get(PATH)).json()
    document = {"metadata": {"labels": {"a": "b"}}, "spec": {"disabled": True}, "status": {"conditions": [PROVISIONED]}}
    after = (await world.admin.put(f"{PATH}/status", json=document)).json()
    assert after["spec"] == before["spec"]
    assert "labels" not in after["metadata"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


async def test_a_status_of_nobody_is_404(world: World) -> None:
    assert status_of(await write(world, {"conditions": []})) == (404, "NotFound")


async def test_the_phase_is_the_first_that_holds(world: World) -> None:
    client = await world.account()

    async def phase(change: dict[str, Any]) -> str:
        answer = await world.admin.patch(client.path, json=change, headers=MERGE)
        status = answer.json()["status"]
        ready = reasons(status)["Ready"]
        assert status["ready"] is (ready[0] == "True") is (status["phase"] == "Active")
        assert ready[1] == ("ServiceAccountRegistered" if status["ready"] else status["phase"])
        return str(status["phase"])

    past = format_time(world.clock.now() - timedelta(seconds=1))
    assert await phase({}) == "Active"
    assert await phase({"spec": {"expiresAt": past}}) == "Expired"
    assert await phase({"spec": {"disabled": True}}) == "Disabled"
    await world.admin.patch(client.path, json={"metadata": {"finalizers": ["a/b"]}}, headers=MERGE)
    await world.admin.delete(client.path)
    assert await phase({"spec": {"purpose": "x"}}) == "Terminating"


async def test_a_precondition_that_cannot_be_read_is_not_lost(world: World) -> None:
    client = await world.account()
    status = (await world.admin.get(client.path)).json()["status"]
    listed: tuple[Any, ...] = ([], "7", 7)
    for metadata in listed:
        answer = await world.admin.put(f"{client.path}/status", json={"metadata": metadata, "status": status})
        assert status_of(answer) == (400, "BadRequest"), metadata


async def test_expiry_shows_from_its_instant_in_get_without_a_write(world: World) -> None:
    """LIST and WATCH show what is stored: `test_expiry` has how that follows."""
    instant = parse_time(format_time(world.clock.now() + timedelta(hours=1)))
    client = await world.account(expiresAt=format_time(instant))

    async def seen() -> list[tuple[str, bool, tuple[str, str]]]:
        await world.renew_admin()
        shown = [(await world.admin.get(path)).json()["status"] for path in (client.path, f"{client.path}/status")]
        return [(each["phase"], each["ready"], reasons(each)["Ready"]) for each in shown]

    version = (await world.admin.get(client.path)).json()["metadata"]["resourceVersion"]
    world.clock.instant = instant - timedelta(seconds=1)
    assert await seen() == [("Active", True, ("True", "ServiceAccountRegistered"))] * 2
    world.clock.instant = instant
    assert await seen() == [("Expired", False, ("False", "Expired"))] * 2
    read = (await world.admin.get(client.path)).json()
    assert read["status"]["conditions"][0]["lastTransitionTime"] == format_time(instant)
    assert read["metadata"]["resourceVersion"] == version


async def test_turning_rotation_off_ends_the_next_one(world: World) -> None:
    status = await created(world, credentialRotation={"enabled": True, "intervalDays": 30})
    assert parse_time(status["nextCredentialRotation"]) - parse_time(status["lastCredentialRotation"]) == timedelta(30)
    change = {"spec": {"credentialRotation": {"enabled": False}}}
    assert "nextCredentialRotation" not in (await world.admin.patch(PATH, json=change, headers=MERGE)).json()["status"]


async def test_config_is_the_seeds_config_map(world: World) -> None:
    client = await world.account(scopes=["api:payments", "api:ledger:read"])
    issuer = world.foundation.issuer
    expected = {
        "issuer_url": issuer,
        "token_endpoint": f"{issuer}/oauth2/token",
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "client_id": client.client_id,
        "scopes": "api:payments api:ledger:read",
    }
    for accept in ("application/json", "application/yaml"):
        answer = await world.admin.get(f"{client.path}/config", headers={"accept": accept})
        assert answer.headers["content-type"].startswith(accept)
        assert yaml.safe_load(answer.text) == expected
