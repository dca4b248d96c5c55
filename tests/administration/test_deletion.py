"""Deletion: finalizers, namespaces with what is in them, and what ends at once."""

from typing import Any

import pytest

from issuer.administration import resources as administration
from tests.administration.paths import ACCOUNT, MERGE, account, account_path, status_of
from tests.store.rows import query
from tests.world import NAMESPACES, World

NAMESPACE = f"{NAMESPACES}/payments"


async def finalizers(world: World, path: str, *values: str) -> Any:
    return await world.admin.patch(path, json={"metadata": {"finalizers": list(values)}}, headers=MERGE)


class TestFinalizers:
    async def test_an_account_stays_until_the_last_is_gone_and_gets_no_token(self, world: World) -> None:
        client = await world.account()
        await finalizers(world, client.path, "a/b", "c/d")
        deleted = await world.admin.delete(client.path)
        assert deleted.status_code == 200
        assert deleted.json()["metadata"]["deletionTimestamp"]
        assert (deleted.json()["status"]["phase"], deleted.json()["status"]["ready"]) == ("Terminating", False)
        assert (await client.token()).json()["error"] == "invalid_client"
        assert (await finalizers(world, client.path, "c/d")).status_code == 200
        assert (await world.admin.get(client.path)).status_code == 200
        gone = await finalizers(world, client.path)
        assert gone.status_code == 200
        assert (await world.admin.get(client.path)).status_code == 404
        (last,) = await query(world.database_url, "SELECT type FROM changes ORDER BY revision DESC LIMIT 1")
        assert last["type"] == "DELETED"

    async def test_the_deletion_is_dated_once(self, world: World) -> None:
        client = await world.account()
        await finalizers(world, client.path, "a/b")
        first = (await world.admin.delete(client.path)).json()["metadata"]
        world.clock.advance(seconds=60)
        again = await world.admin.delete(client.path)
        assert again.status_code == 200
        assert again.json()["metadata"] == first

    async def test_none_can_be_added_once_it_is_being_deleted(self, world: World) -> None:
        client = await world.account()
        await finalizers(world, client.path, "a/b")
        await world.admin.delete(client.path)
        answer = await finalizers(world, client.path, "a/b", "c/d")
        assert [cause["field"] for cause in answer.json()["details"]["causes"]] == ["metadata.finalizers"]

    async def test_what_is_being_deleted_gets_no_new_secret(self, world: World) -> None:
        client = await world.account()
        await finalizers(world, client.path, "a/b")
        await world.admin.delete(client.path)
        assert status_of(await world.admin.post(f"{client.path}/credentials")) == (409, "Conflict")

    async def test_removing_it_before_the_deletion_deletes_nothing(self, world: World) -> None:
        client = await world.account()
        await finalizers(world, client.path, "a/b")
        await finalizers(world, client.path)
        assert (await world.admin.get(client.path)).status_code == 200


async def test_an_account_made_again_is_another_identity(world: World) -> None:
    first = await world.account()
    await world.admin.delete(first.path)
    second = await world.account()
    assert second.client_id != first.client_id
    assert (await first.token()).status_code == 401
    assert (await second.token()).status_code == 200
    assert (
        await query(world.database_url, "SELECT FROM secret_versions WHERE account_uid = $1", first.client_id[3:]) == []
    )


class TestNamespaces:
    async def test_a_namespace_carries_its_name_as_a_label_whatever_is_written(self, world: World) -> None:
        label = {"kubernetes.io/metadata.name": "other", "env": "prod"}
        created = await world.admin.post(NAMESPACES, json={"metadata": {"name": "payments", "labels": label}})
        assert created.json()["metadata"]["labels"] == {"kubernetes.io/metadata.name": "payments", "env": "prod"}
        patched = await world.admin.patch(NAMESPACE, json={"metadata": {"labels": None}}, headers=MERGE)
        assert patched.json()["metadata"]["labels"] == {"kubernetes.io/metadata.name": "payments"}

    async def test_the_namespace_of_the_administrators_cannot_be_deleted(self, world: World) -> None:
        path = f"{NAMESPACES}/issuer-system"
        for query_string in ("", "?force=true", "?dryRun=All"):
            assert status_of(await world.admin.delete(path + query_string)) == (403, "Forbidden")
        assert (await world.admin.get(path)).json()["status"]["phase"] == "Active"

    async def test_deleting_one_refuses_tokens_and_creations_at_once(self, world: World) -> None:
        client = await world.account()
        assert (await client.token()).status_code == 200
        deleted = await world.admin.delete(NAMESPACE)
        assert deleted.json()["status"] == {"phase": "Terminating"}
        assert (await client.token()).json()["error"] == "invalid_client"
        refused = await world.admin.post(ACCOUNT, json=account("late"))
        assert status_of(refused) == (403, "Forbidden")
        assert (await world.admin.delete(NAMESPACE)).status_code == 200
        assert status_of(await world.admin.post(NAMESPACES, json={"metadata": {"name": "payments"}})) == (
            409,
            "AlreadyExists",
        )

    async def test_its_contents_go_in_batches_and_itself_at_last(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(administration, "MAX_CHANGES", 2)
        await world.namespace("payments")
        for name in ("a", "b", "c"):
            await world.admin.post(ACCOUNT, json=account(name))
        await world.admin.delete(NAMESPACE)
        left = []
        for _ in range(2):
            assert not await world.issuer.resources.empty_namespace("payments")
            left.append(len((await world.admin.get(ACCOUNT)).json()["items"]))
        assert left == [1, 0]
        assert await world.issuer.resources.empty_namespace("payments")
        assert (await world.admin.get(NAMESPACE)).status_code == 404
        assert await world.issuer.resources.empty_namespace("payments")
        rows = await query(
            world.database_url,
            "SELECT principal->>'kind' AS kind, verb FROM audit_records ORDER BY revision DESC LIMIT 4",
        )
        assert {(row["kind"], row["verb"]) for row in rows} == {("system", "delete")}
        assert (await world.admin.post(NAMESPACES, json={"metadata": {"name": "payments"}})).status_code == 201

    async def test_a_namespace_that_is_not_being_deleted_is_left_alone(self, world: World) -> None:
        await world.account()
        assert await world.issuer.resources.empty_namespace("payments")
        assert len((await world.admin.get(ACCOUNT)).json()["items"]) == 1

    async def test_contents_with_finalizers_are_marked_and_waited_for_without_holding_up_the_rest(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(administration, "MAX_CHANGES", 2)
        await world.namespace("payments")
        for name in ("a", "b"):
            await world.admin.post(ACCOUNT, json=account(name, finalizers=["x/y"]))
        for name in ("c", "d"):
            await world.admin.post(ACCOUNT, json=account(name))
        await world.admin.delete(NAMESPACE)
        for _ in range(4):
            assert not await world.issuer.resources.empty_namespace("payments")
        items = (await world.admin.get(ACCOUNT)).json()["items"]
        assert [(each["metadata"]["name"], each["status"]["phase"]) for each in items] == [
            ("a", "Terminating"),
            ("b", "Terminating"),
        ]
        for name in ("a", "b"):
            await finalizers(world, account_path(name))
        assert await world.issuer.resources.empty_namespace("payments")
        assert (await world.admin.get(NAMESPACE)).status_code == 404

    async def test_a_namespace_waits_for_its_own_finalizers_too(self, world: World) -> None:
        await world.admin.post(NAMESPACES, json={"metadata": {"name": "payments", "finalizers": ["x/y"]}})
        await world.admin.delete(NAMESPACE)
        assert not await world.issuer.resources.empty_namespace("payments")
        assert (await world.admin.get(NAMESPACE)).status_code == 200
        await finalizers(world, NAMESPACE)
        assert await world.issuer.resources.empty_namespace("payments")
        assert (await world.admin.get(NAMESPACE)).status_code == 404
