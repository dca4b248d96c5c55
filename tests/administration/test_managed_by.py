"""`spec.managedBy` (DESIGN section 3): an account belongs to one driver's object; keycloak-operator #361."""

from typing import Any

import pytest

from tests.administration.paths import ACCOUNT, MERGE, account, account_path, status_of
from tests.world import World

MINE = {"cluster": "eu1", "namespace": "payments", "name": "api", "uid": "uid-1"}
THEIRS = {**MINE, "cluster": "us1", "uid": "uid-2"}
PATH = account_path("api")


@pytest.fixture
async def managed(world: World) -> World:
    await world.namespace("payments")
    assert (await world.admin.post(ACCOUNT, json=account("api", managedBy=MINE))).status_code == 201
    return world


async def test_a_put_must_carry_the_same(managed: World) -> None:
    for document in (account("api", purpose="x"), account("api", managedBy=THEIRS, purpose="x")):
        assert status_of(await managed.admin.put(PATH, json=document)) == (409, "Conflict")
    same = await managed.admin.put(PATH, json=account("api", managedBy=MINE, purpose="x"))
    assert same.json()["spec"]["purpose"] == "x"


async def test_a_patch_must_not_remove_replace_or_change_a_part_of_it(managed: World) -> None:
    changes: list[Any] = [{"managedBy": None}, {"managedBy": THEIRS}, {"managedBy": {"uid": "uid-2"}}]
    for change in changes:
        answer = await managed.admin.patch(PATH, json={"spec": {**change, "purpose": "x"}}, headers=MERGE)
        assert status_of(answer) == (409, "Conflict"), change
    assert "purpose" not in (await managed.admin.get(PATH)).json()["spec"]


async def test_a_patch_that_does_not_name_it_is_always_allowed(managed: World) -> None:
    answer = await managed.admin.patch(PATH, json={"spec": {"disabled": True}}, headers=MERGE)
    assert answer.json()["status"]["phase"] == "Disabled"
    assert answer.json()["spec"]["managedBy"] == MINE
    named = await managed.admin.patch(PATH, json={"spec": {"managedBy": MINE, "disabled": False}}, headers=MERGE)
    assert named.status_code == 200


async def test_an_account_without_a_driver_can_be_adopted(managed: World) -> None:
    await managed.admin.post(ACCOUNT, json=account("free"))
    for adopt in (
        await managed.admin.put(account_path("free"), json=account("free", managedBy=MINE)),
        await managed.admin.patch(account_path("free"), json={"spec": {"managedBy": MINE}}, headers=MERGE),
    ):
        assert adopt.json()["spec"]["managedBy"] == MINE


REFUSED = ("", "?managedBy=uid-2", "?managedBy=", "?force=false", "?force=0")
ACCEPTED = ("?managedBy=uid-1", "?force=true", "?managedBy=uid-2&force=true")


async def test_a_secret_and_a_deletion_need_the_drivers_uid_or_force(managed: World) -> None:
    for query in REFUSED:
        secret = await managed.admin.post(f"{PATH}/credentials{query}")
        deleted = await managed.admin.delete(PATH + query)
        assert [status_of(answer) for answer in (secret, deleted)] == [(409, "Conflict")] * 2, query
        assert "uid-1" in deleted.json()["message"]
    for query in ACCEPTED:
        secret = await managed.admin.post(f"{PATH}/credentials{query}")
        deleted = await managed.admin.delete(PATH + query)
        assert (secret.status_code, deleted.status_code) == (201, 200), query
        assert (await managed.admin.post(ACCOUNT, json=account("api", managedBy=MINE))).status_code == 201


async def test_the_driver_is_asked_before_the_deletion_of_what_waits_for_finalizers(managed: World) -> None:
    await managed.admin.patch(PATH, json={"metadata": {"finalizers": ["a/b"]}}, headers=MERGE)
    assert status_of(await managed.admin.delete(PATH)) == (409, "Conflict")
    assert "deletionTimestamp" not in (await managed.admin.get(PATH)).json()["metadata"]
