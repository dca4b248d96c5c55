"""DESIGN section 4, "Delivery": handing out, reading again, acknowledging; who may, and what is written down."""

import asyncio
import json
from itertools import count
from typing import Any

import httpx
import pytest
import pytest_asyncio

from issuer.events import AdminRequestRefused, ResourceWritten
from tests.delivery.driver import Driver, driver_of_new_account, fetch
from tests.world import ACCOUNTS, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

_NUMBERS = count(1)
ANSWER_FIELDS = {"version", "state", "clientId", "clientSecret", "createdAt"}


async def test_a_hand_out_answers_the_version_with_its_secret_and_nothing_else(driver: Driver) -> None:
    answer = await driver.rotate()
    assert answer.status_code == 201
    assert answer.json().keys() == ANSWER_FIELDS
    assert (answer.json()["version"], answer.json()["state"]) == (1, "pending")
    assert answer.json()["clientId"] == driver.client_id
    assert answer.headers["cache-control"] == "no-store"


async def test_reading_it_again_answers_the_same_and_is_never_cached(driver: Driver) -> None:
    given = (await driver.rotate()).json()
    for _ in range(2):
        answer = await driver.current()
        assert (answer.status_code, answer.json()) == (200, given)
        assert answer.headers["cache-control"] == "no-store"


async def test_an_empty_body_and_an_empty_object_ask_for_the_same(driver: Driver) -> None:
    answer = await driver.admin.post(f"{driver.path}/credentials")
    assert (answer.status_code, answer.json()["version"]) == (201, 1)


async def test_the_first_hand_out_gives_version_1_and_later_ones_make_new_versions(driver: Driver) -> None:
    assert (await driver.rotate(acknowledge=True)).json()["version"] == 1
    answer = await driver.rotate()
    assert (answer.json()["version"], answer.json()["state"]) == (2, "pending")


async def test_a_hand_out_may_acknowledge_in_the_same_step(driver: Driver) -> None:
    answer = await driver.rotate(acknowledge=True)
    assert (answer.json()["version"], answer.json()["state"]) == (1, "active")
    assert await driver.condition("CredentialsProvisioned") == ("True", "SecretCreated")
    assert (await driver.current()).status_code == 404


@pytest.mark.parametrize("how", ["handed out", "read"])
async def test_a_second_driver_gets_a_409_and_no_rotation_while_one_is_handed_out(driver: Driver, how: str) -> None:
    first = (await driver.given()) if how == "handed out" else (await driver.current()).json()["clientSecret"]
    answer = await driver.rotate()
    assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
    assert first not in answer.text
    assert await driver.states() == {1: "pending"}


async def test_of_two_drivers_at_once_exactly_one_is_given_the_version(driver: Driver) -> None:
    for newest in (1, 2, 3):
        answers = await asyncio.gather(driver.rotate(), driver.rotate())
        assert sorted(answer.status_code for answer in answers) == [201, 409]
        assert max(await driver.states()) == newest
        assert (await driver.acknowledge(newest)).status_code == 200


async def test_of_two_drivers_that_expect_the_same_version_exactly_one_rotates(driver: Driver) -> None:
    await driver.given(acknowledge=True)
    answers = await asyncio.gather(*(driver.rotate(expectedVersion=1, acknowledge=True) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert await driver.states() == {1: "grace", 2: "active"}


async def test_an_acknowledgement_and_a_cut_at_once_leave_a_working_secret(driver: Driver) -> None:
    await driver.given()
    acknowledged, cut = await asyncio.gather(driver.acknowledge(1), driver.rotate(compromised=True))
    assert acknowledged.status_code in {200, 409}
    assert await driver.states() == {1: "retired", 2: "pending"}
    assert await driver.works(cut.json()["clientSecret"])


async def test_another_expected_version_is_a_409_and_rotates_nothing(driver: Driver) -> None:
    first = await driver.given(acknowledge=True)
    bodies: tuple[dict[str, Any], ...] = ({"expectedVersion": 2}, {"expectedVersion": 7, "compromised": True})
    for body in bodies:
        answer = await driver.rotate(**body)
        assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
        assert "the newest version is 1" in answer.json()["message"]
    assert await driver.states() == {1: "active"}
    assert await driver.works(first)
    assert (await driver.rotate(expectedVersion=1)).status_code == 201


async def test_a_crash_between_read_and_acknowledgement_loses_nothing(driver: Driver) -> None:
    old = await driver.given(acknowledge=True)
    lost = await driver.given()  # the driver dies here, its answer with it
    await driver.later(days=30)
    assert await driver.works(old)
    again = (await driver.current()).json()
    assert (again["clientSecret"], again["version"]) == (lost, 2)
    assert (await driver.acknowledge(2)).status_code == 200
    assert await driver.works(lost)


async def test_acknowledging_twice_is_a_200_that_writes_nothing(driver: Driver) -> None:
    await driver.given()
    once, twice = await driver.acknowledge(1), await driver.acknowledge(1)
    await driver.later(days=1)
    thrice = await driver.acknowledge(1)
    assert [answer.status_code for answer in (once, twice, thrice)] == [200, 200, 200]
    assert once.json() == twice.json() == thrice.json()


async def test_a_superseded_version_cannot_be_acknowledged(driver: Driver) -> None:
    await driver.given(acknowledge=True)
    await driver.given()
    answer = await driver.acknowledge(1)
    assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
    assert answer.json()["message"] == "version 1 is superseded: the newest is 2"


async def test_a_version_nobody_was_given_cannot_be_acknowledged(driver: Driver) -> None:
    assert (await driver.acknowledge(1)).status_code == 409
    assert await driver.condition("CredentialsProvisioned") == ("False", "AwaitingDelivery")


@pytest.mark.parametrize("version", ["0", "2", "99999999999999999999", "one", "-1"])
async def test_acknowledging_a_version_that_does_not_exist_is_a_404(driver: Driver, version: str) -> None:
    await driver.given()
    assert (await driver.admin.post(f"{driver.path}/credentials/{version}/acknowledge")).status_code == 404


async def test_a_plaintext_is_kept_only_while_its_version_is_the_newest_and_unacknowledged(driver: Driver) -> None:
    async def kept() -> dict[int, bool]:
        query = "SELECT version, sealed IS NOT NULL AS kept FROM secret_versions WHERE account_uid = $1::uuid"
        rows = await fetch(driver.world, query, driver.uid)
        return {row["version"]: row["kept"] for row in rows}

    assert await kept() == {1: True}
    used = await driver.given()
    await driver.works(used)
    await driver.world.issuer.first_uses.flush()
    assert await kept() == {1: True}
    await driver.given()
    assert await kept() == {1: False, 2: True}
    await driver.acknowledge(2)
    assert await kept() == {1: False, 2: False}
    await driver.given(acknowledge=True)
    await driver.given(compromised=True)
    assert await kept() == {1: False, 2: False, 3: False, 4: True}


async def test_the_listing_and_the_account_never_hold_a_secret(driver: Driver) -> None:
    secrets = [await driver.given(acknowledge=True), await driver.given()]
    one = await driver.admin.get(driver.path)
    many = await driver.admin.get(driver.path.rpartition("/")[0])
    config = await driver.admin.get(f"{driver.path}/config")
    acknowledged = await driver.acknowledge(2)
    for answer in (one, many, config, acknowledged):
        assert answer.status_code == 200
        assert not any(secret in answer.text for secret in secrets)
    first, second = one.json()["status"]["credentials"]
    assert first.keys() == {"version", "state", "createdAt"}
    assert second == {"version": 2, "state": "pending", "createdAt": first["createdAt"]}
    (item,) = many.json()["items"]
    assert not {"credentials", "effective"} & item["status"].keys()


@pytest_asyncio.fixture(loop_scope="module")
async def reader(world: World) -> httpx.AsyncClient:
    """A second administrator, who may only read."""
    spec = {"scopes": ["issuer:admin:read"], "audiences": ["urn:issuer:admin"], "justification": "an auditor"}
    auditor = await driver_of_new_account(world, f"auditor-{next(_NUMBERS)}", "issuer-system", **spec)
    answer = await world.token(auditor.client_id, await auditor.given(), resource="urn:issuer:admin")
    world.anonymous.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
    return world.anonymous


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/credentials/current"),
        ("POST", "/credentials"),
        ("POST", "/credentials/1/acknowledge"),
    ],
)
async def test_who_may_only_read_may_not_read_secrets(
    driver: Driver, reader: httpx.AsyncClient, method: str, path: str
) -> None:
    secret = await driver.given()
    assert (await reader.get(driver.path)).status_code == 200
    answer = await reader.request(method, driver.path + path)
    assert answer.status_code == 403
    assert secret not in answer.text
    (event,) = driver.world.seen(AdminRequestRefused)
    assert event.principal.startswith("issuer-system/auditor-")
    assert (event.namespace, event.name) == (driver.namespace, "api")
    assert "the token lacks the scope issuer:admin" in event.cause
    assert await driver.states() == {1: "pending"}


async def test_an_account_of_issuer_system_must_say_why_it_exists(world: World) -> None:
    document = {"metadata": {"name": "a"}, "spec": {"scopes": ["issuer:admin:read"]}}
    answer = await world.admin.post(ACCOUNTS.format(namespace="issuer-system"), json=document)
    assert answer.status_code == 422
    assert [cause["field"] for cause in answer.json()["details"]["causes"]] == ["spec.justification"]


async def test_without_a_token_nothing_is_said(driver: Driver) -> None:
    for method, path in (("GET", "/credentials/current"), ("POST", "/credentials")):
        answer = await driver.world.anonymous.request(method, driver.path + path)
        assert (answer.status_code, answer.json()["reason"]) == (401, "Unauthorized")


async def test_every_step_is_recorded_with_who_did_it_and_every_read_too(driver: Driver) -> None:
    world = driver.world
    secret = await driver.given()
    await driver.current()
    await driver.current()
    await driver.works(secret)
    await world.issuer.first_uses.flush()
    await driver.acknowledge(1)
    await driver.acknowledge(1)
    await driver.given(compromised=True)
    rows = await fetch(world, "SELECT * FROM audit_records WHERE uid = $1::uuid ORDER BY at", driver.uid)
    assert [(row["verb"], json.loads(row["note"])) for row in rows] == [
        ("create", {}),
        ("create credentials", {"version": 1, "made": False}),
        ("get credentials", {"version": 1}),
        ("get credentials", {"version": 1}),
        ("use credentials", {"version": 1}),
        ("acknowledge credentials", {"version": 1}),
        ("create credentials", {"version": 2, "made": True, "compromised": True}),
    ]
    assert [row["revision"] is None for row in rows] == [False, False, True, True, False, False, False]
    admin = {"kind": "account", "name": "issuer-system/admin", "uid": _uid_of(world), "credential": "secret/1"}
    principals = [json.loads(row["principal"]) for row in rows]
    assert principals.pop(4) == {"kind": "system", "name": "system"}
    assert principals == [admin] * 6
    assert {(row["namespace"], row["name"], row["kind"]) for row in rows} == {
        (driver.namespace, "api", "ServiceAccount")
    }
    assert not any(secret in str(dict(row)) for row in rows)


async def test_a_first_read_marks_the_version_as_handed_out_and_is_one_record(driver: Driver) -> None:
    await driver.current()
    query = "SELECT revision FROM audit_records WHERE verb = 'get credentials' AND uid = $1::uuid"
    rows = await fetch(driver.world, query, driver.uid)
    assert len(rows) == 1
    assert rows[0]["revision"] is not None


async def test_a_refused_step_writes_nothing(driver: Driver) -> None:
    await driver.given()
    before = await fetch(driver.world, "SELECT count(*) AS n, max(revision) AS r FROM audit_records")
    written = len(driver.world.seen(ResourceWritten))
    await driver.rotate()
    await driver.rotate(expectedVersion=9)
    await driver.acknowledge(2)
    assert await fetch(driver.world, "SELECT count(*) AS n, max(revision) AS r FROM audit_records") == before
    assert len(driver.world.seen(ResourceWritten)) == written


async def test_the_credentials_of_a_deleted_account_are_a_404_and_nothing_of_them_stays(driver: Driver) -> None:
    secret = await driver.given()
    assert (await driver.admin.delete(driver.path)).status_code == 200
    for answer in (await driver.rotate(), await driver.current(), await driver.acknowledge(1)):
        assert (answer.status_code, answer.json()["reason"]) == (404, "NotFound")
    assert not await driver.works(secret)
    assert await fetch(driver.world, "SELECT 1 FROM secret_versions WHERE account_uid = $1::uuid", driver.uid) == []


async def test_an_account_made_again_under_the_name_is_another_identity(driver: Driver) -> None:
    secret = await driver.given(acknowledge=True)
    await driver.admin.delete(driver.path)
    again = await driver_of_new_account(driver.world, namespace=driver.namespace)
    assert again.client_id != driver.client_id
    fresh = await again.given()
    assert [await driver.works(secret), await again.works(secret), await again.works(fresh)] == [False, False, True]


async def test_an_account_that_is_being_deleted_gets_no_new_secret(world: World) -> None:
    driver = await driver_of_new_account(world, finalizers=["example.com/driver"])
    secret = await driver.given(acknowledge=True)
    assert (await driver.admin.delete(driver.path)).json()["status"]["phase"] == "Terminating"
    answer = await driver.rotate()
    assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
    assert not await driver.works(secret)


@pytest.mark.parametrize("path", ["credentials", "credentials/current", "credentials/1/acknowledge"])
async def test_of_an_account_that_does_not_exist_there_is_nothing(world: World, path: str) -> None:
    method = "GET" if path.endswith("current") else "POST"
    answer = await world.admin.request(method, f"{ACCOUNTS.format(namespace='payments')}/nobody/{path}")
    assert (answer.status_code, answer.json()["reason"]) == (404, "NotFound")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"expectedVersion": 0}, ["expectedVersion"]),
        ({"expectedVersion": "1"}, ["expectedVersion"]),
        ({"expectedVersion": True}, ["expectedVersion"]),
        ({"acknowledge": "yes"}, ["acknowledge"]),
        ({"acknowledge": None}, ["acknowledge"]),
        ({"compromised": 1}, ["compromised"]),
        ({"gracePeriodHours": -1}, ["gracePeriodHours"]),
        ({"gracePeriodHours": 8761}, ["gracePeriodHours"]),
        ({"gracePeriodHours": 1.5}, ["gracePeriodHours"]),
        ({"clientSecret": "chosen by its caller"}, ["clientSecret"]),
        ({"version": 3, "acknowledge": 1, "compromised": "no"}, ["acknowledge", "compromised", "version"]),
        ([], [""]),
        ("rotate", [""]),
    ],
    ids=str,
)
async def test_every_wrong_field_is_one_cause_and_nothing_rotates(driver: Driver, body: Any, fields: list[str]) -> None:
    answer = await driver.admin.post(f"{driver.path}/credentials", json=body)
    assert (answer.status_code, answer.json()["reason"]) == (422, "Invalid")
    assert [cause["field"] for cause in answer.json()["details"]["causes"]] == fields
    assert "chosen by its caller" not in answer.text
    assert (await driver.rotate()).json()["version"] == 1


@pytest.mark.parametrize(
    ("content", "content_type", "code"),
    [
        (b"{", "application/json", 400),
        (b'{"acknowledge": true, "acknowledge": false}', "application/json", 400),
        (b"a: 1\n---\nb: 2\n", "application/yaml", 400),
        (b"acknowledge=true", "application/x-www-form-urlencoded", 415),
        (b"{}", "text/plain", 415),
        (b" " * 1_048_577, "application/json", 413),
    ],
    ids=["not JSON", "a key twice", "two documents", "a form", "text", "too long"],
)
async def test_a_body_that_cannot_be_read_rotates_nothing(
    driver: Driver, content: bytes, content_type: str, code: int
) -> None:
    headers = {"content-type": content_type}
    answer = await driver.admin.post(f"{driver.path}/credentials", content=content, headers=headers)
    assert answer.status_code == code
    assert (await driver.rotate()).json()["version"] == 1


async def test_a_body_may_be_yaml_and_so_may_the_answer(driver: Driver) -> None:
    headers = {"content-type": "application/yaml", "accept": "application/yaml"}
    answer = await driver.admin.post(f"{driver.path}/credentials", content=b"acknowledge: true\n", headers=headers)
    assert answer.status_code == 201
    assert "state: active\n" in answer.text
    assert answer.headers["cache-control"] == "no-store"


async def test_anothers_account_is_rotated_only_by_its_driver_or_by_force(world: World) -> None:
    holder = {"cluster": "eu1", "namespace": "payments", "name": "api", "uid": "uid-1"}
    driver = await driver_of_new_account(world, managedBy=holder)
    assert (await driver.rotate(acknowledge=True)).status_code == 409
    assert (await driver.rotate("?managedBy=uid-2", acknowledge=True)).status_code == 409
    assert (await driver.rotate("?force=yes", acknowledge=True)).status_code == 400
    assert (await driver.rotate("?managedBy=uid-1", acknowledge=True)).json()["version"] == 1
    assert (await driver.rotate("?force=true", acknowledge=True)).json()["version"] == 2


async def test_a_dry_run_of_a_creation_makes_no_secret(world: World) -> None:
    await world.namespace("payments")
    document = {"metadata": {"name": "dry"}, "spec": {"scopes": ["a"]}}
    answer = await world.admin.post(ACCOUNTS.format(namespace="payments") + "?dryRun=All", json=document)
    assert answer.status_code == 201
    uid = answer.json()["metadata"]["uid"]
    assert await fetch(world, "SELECT 1 FROM secret_versions WHERE account_uid = $1::uuid", uid) == []


async def test_there_is_no_dry_run_of_a_secret(driver: Driver) -> None:
    """`dryRun=All` makes no secret (DESIGN section 3): a driver that says it must never rotate by it."""
    assert (await driver.rotate("?dryRun=All")).status_code == 400
    assert (await driver.rotate()).json()["version"] == 1
    assert (await driver.admin.post(f"{driver.path}/credentials/1/acknowledge?dryRun=All")).status_code == 400
    assert await driver.states() == {1: "pending"}


def _uid_of(world: World) -> str:
    return world.bootstrapped.admin.client_id.removeprefix("sa-")
