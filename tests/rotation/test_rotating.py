"""Secrets that rotate themselves: when, whom not, and what their drivers see (DESIGN section 4)."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from issuer.administration.rotation import BATCH
from issuer.events import DeliveryOverdue, SecretHoldEnded, SecretRotated, WorkFailed
from issuer.store import rotation as store
from tests.administration.watching import running_feed, watching
from tests.databases import Databases
from tests.delivery.driver import MERGE_PATCH, driver_of_new_account, fetch
from tests.rotation.accounts import DAILY, due, followed, message, policy, rotating, said, versions_by_account
from tests.world import World, started_world


async def test_a_rotation_that_is_due_makes_a_pending_version_and_both_secrets_work(world: World) -> None:
    driver = await rotating(world)
    first = await driver.given(acknowledge=True)
    await driver.later(days=1, seconds=-2)
    await world.issuer.rotation.rotate_due()
    assert await driver.states() == {1: "retired", 2: "active"}
    await driver.later(seconds=2)
    await world.issuer.rotation.rotate_due()
    assert await driver.states() == {1: "retired", 2: "active", 3: "pending"}
    second = (await driver.current()).json()["clientSecret"]
    assert second != first
    assert (await driver.works(first), await driver.works(second)) == (True, True)
    status = await driver.status()
    assert (status["phase"], status["lastCredentialRotation"]) == ("Active", said(world.clock.now()))
    assert status["nextCredentialRotation"] == said(world.clock.now(), days=1)
    assert world.seen(SecretRotated) == [SecretRotated(driver.client_id, driver.namespace, "api", 3)]
    rows = await fetch(world, "SELECT principal, note FROM audit_records WHERE verb = 'rotate'")
    assert [(json.loads(row["principal"])["kind"], json.loads(row["note"])) for row in rows] == [
        ("system", {"version": 3})
    ]


async def test_what_rotation_made_is_given_to_the_next_driver_who_asks_for_a_secret(world: World) -> None:
    driver = await rotating(world)
    await driver.later(days=1)
    await world.issuer.rotation.rotate_due()
    answer = await driver.rotate()
    assert (answer.status_code, answer.json()["version"]) == (201, 2)
    assert (await driver.rotate()).status_code == 409
    assert (await driver.current()).json()["clientSecret"] == answer.json()["clientSecret"]
    await driver.acknowledge(2)
    assert await driver.states() == {1: "grace", 2: "active"}


async def test_a_driver_needs_nothing_but_its_watch(world: World) -> None:
    driver = await rotating(world)
    await driver.later(days=1)
    collection = driver.path.rpartition("/")[0]
    listed = (await world.admin.get(collection)).json()
    version = listed["metadata"]["resourceVersion"]
    async with running_feed(world), watching(world, collection, resourceVersion=version) as watch:
        watch.objects = {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in listed["items"]}
        await world.issuer.rotation.rotate_due()
        event = await watch.next()
        assert event is not None
        status = event["object"]["status"]
        (provisioned,) = (each for each in status["conditions"] if each["type"] == "CredentialsProvisioned")
        assert (provisioned["status"], provisioned["reason"]) == ("False", "AwaitingDelivery")
        now = world.clock.now()
        assert provisioned["message"] == (
            f"version 2 waits for its driver since {said(now)}; version 1 stays in force until that is acknowledged or used"
        )
        await driver.current()
        await driver.acknowledge(2)
        for _ in range(2):
            event = await watch.next()
        assert event is not None
        (provisioned,) = (
            each for each in event["object"]["status"]["conditions"] if each["type"] == "CredentialsProvisioned"
        )
        assert (provisioned["status"], provisioned["reason"]) == ("True", "SecretCreated")
        assert "message" not in provisioned


async def test_while_a_version_is_pending_no_other_is_made_and_afterwards_not_at_once(world: World) -> None:
    driver = await rotating(world)
    for _ in range(3):
        await driver.later(days=1)
        await world.issuer.rotation.rotate_due()
    assert await driver.states() == {1: "active", 2: "pending"}
    assert await due(driver) is None
    await driver.current()
    await driver.acknowledge(2)
    planned = await due(driver)
    assert planned is not None
    assert timedelta(seconds=-1) <= planned - world.clock.now() <= timedelta(days=1)
    world.clock.instant = planned
    await world.issuer.rotation.rotate_due()
    await world.renew_admin()
    assert (await driver.states())[3] == "pending"


@pytest.mark.parametrize("why", ["off", "disabled", "expired", "terminating", "no secret is accepted"])
async def test_who_gets_no_token_is_not_rotated(world: World, why: str) -> None:
    specs: dict[str, dict[str, Any]] = {
        "off": {"credentialRotation": {**DAILY, "enabled": False}},
        "expired": {"expiresAt": said(world.clock.now(), hours=20)},
        "terminating": {"finalizers": ["example.com/driver"]},
    }
    driver = await rotating(world, **specs.get(why, {}))
    if why == "disabled":
        await world.admin.patch(driver.path, json={"spec": {"disabled": True}}, headers=MERGE_PATCH)
    elif why == "terminating":
        await world.admin.delete(driver.path)
    elif why == "no secret is accepted":
        document: dict[str, Any] = {
            "metadata": {"name": "keys-only"},
            "spec": {"clientAuthentication": {"allowedMethods": ["private_key_jwt"]}},
        }
        path = "/apis/auth.nauthera.io/v1alpha1/clusterauthpolicies"
        assert (await world.admin.post(path, json=document)).status_code == 201
    await driver.later(days=2)
    await world.issuer.rotation.rotate_due()
    await world.issuer.rotation.rotate_due()
    assert list(await driver.states()) == [1]
    assert "nextCredentialRotation" not in await driver.status()
    assert await store_due(world) == []


async def test_an_account_enabled_again_is_rotated_within_an_interval(world: World) -> None:
    driver = await rotating(world)
    await world.admin.patch(driver.path, json={"spec": {"disabled": True}}, headers=MERGE_PATCH)
    await driver.later(days=30)
    await world.admin.patch(driver.path, json={"spec": {"disabled": False}}, headers=MERGE_PATCH)
    await driver.later(days=1)
    await world.issuer.rotation.rotate_due()
    assert await driver.states() == {1: "active", 2: "pending"}


async def test_what_falls_due_at_once_is_rotated_batch_by_batch_and_every_account_once(world: World) -> None:
    drivers = [await rotating(world, f"api-{number}", namespace="many") for number in range(BATCH + 3)]
    await drivers[0].later(days=1)
    await world.issuer.rotation.rotate_due()
    versions = await versions_by_account(world)
    assert all(versions[driver.uid] == [1, 2] for driver in drivers)
    (most,) = await fetch(
        world, "SELECT max(count) AS n FROM (SELECT count(*) FROM changes GROUP BY at) AS of_a_transaction"
    )
    assert most["n"] == BATCH


async def test_two_replicas_at_once_rotate_each_account_once(world: World, databases: Databases) -> None:
    drivers = [await rotating(world, f"api-{number}", namespace="many") for number in range(2 * BATCH + 5)]
    async with started_world(world.database_url, databases.bootstrapped, world.clock) as other:
        await drivers[0].later(days=1)
        await asyncio.gather(*(each.issuer.rotation.rotate_due() for each in (world, other, world, other)))
        rotated = [*world.seen(SecretRotated), *other.seen(SecretRotated)]
    assert sorted(event.name for event in rotated) == sorted(driver.path.rpartition("/")[2] for driver in drivers)
    versions = await versions_by_account(world)
    assert all(versions[driver.uid] == [1, 2] for driver in drivers)


CRASHES = {
    "before anything was found": "issuer.administration.rotation.due_accounts",
    "before their versions were read": "issuer.administration.rotation.load_versions_of",
    "before the new versions were written": "issuer.administration.rotation.save_versions",
    "before the accounts were written": "issuer.administration.writing.commit_changes",
    "after the commit": "issuer.workers.reload.Reloader.catch_up",
}


@pytest.mark.parametrize("when", CRASHES)
async def test_a_replica_that_dies_at_any_step_leaves_a_rotation_undone_or_done_and_another_finishes(
    world: World, databases: Databases, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    class Killed(BaseException):
        """As a signal would: nothing catches it."""

    async def die(*_: Any, **__: Any) -> None:
        raise Killed

    driver = await rotating(world)
    await driver.later(days=1)
    async with started_world(world.database_url, databases.bootstrapped, world.clock) as other:
        with monkeypatch.context() as patched:
            patched.setattr(CRASHES[when], die)
            with pytest.raises(Killed):
                await world.issuer.rotation.rotate_due()
        left = (await versions_by_account(world))[driver.uid]
        assert left == ([1, 2] if when == "after the commit" else [1])
        assert len((await driver.status())["credentials"]) == len(left)
        await other.issuer.rotation.rotate_due()
        assert (await versions_by_account(world))[driver.uid] == [1, 2]
        assert (await driver.current()).status_code == 200


async def test_an_account_that_cannot_be_rotated_stops_nobody_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, sound = [await rotating(world, name, namespace="payments") for name in ("a", "b")]
    await sound.later(days=1)
    make = world.issuer.keeper.make

    def fails(account: Any, version: int) -> Any:
        if account.name == "a":
            raise ValueError("cannot be sealed")
        return make(account, version)

    monkeypatch.setattr(world.issuer.keeper, "make", fails)
    await world.issuer.rotation.rotate_due()
    assert await sound.states() == {1: "active", 2: "pending"}
    assert await broken.states() == {1: "active"}
    (event,) = world.seen(WorkFailed)
    assert (event.worker, event.subject) == ("secret rotation", "payments/a")


# --- holds ------------------------------------------------------------------------------------------------------------


async def test_the_end_of_a_hold_is_written_at_that_instant_and_the_old_secret_gets_its_grace(world: World) -> None:
    await policy(world, maxHoldHours=10)
    driver = await rotating(world)
    first = await driver.given(acknowledge=True, gracePeriodHours=0)
    await driver.later(days=1)
    await world.issuer.rotation.rotate_due()
    made = world.clock.now()
    assert f"or its hold ends at {said(made, hours=10)}" in str(await message(driver))
    await driver.later(hours=10, seconds=-1)
    await world.issuer.rotation.end_holds()
    assert world.seen(SecretHoldEnded) == []
    await driver.later(seconds=1)
    await world.issuer.rotation.end_holds()
    await world.issuer.rotation.end_holds()
    assert world.seen(SecretHoldEnded) == [SecretHoldEnded(driver.client_id, driver.namespace, "api", 3)]
    rows = await fetch(
        world, "SELECT activated_at, retires_at FROM secret_versions WHERE account_uid = $1::uuid", driver.uid
    )
    assert {row["activated_at"] for row in rows} >= {made + timedelta(hours=10)}
    assert "its hold has ended" in str(await message(driver))
    assert await driver.condition("CredentialsProvisioned") == ("False", "AwaitingDelivery")
    assert (await driver.current()).json()["version"] == 3
    await driver.later(hours=2, seconds=-1)
    assert await driver.works(first)
    await driver.later(seconds=1)
    assert not await driver.works(first)


async def test_a_version_that_is_never_delivered_never_cuts_the_old_one_off_without_max_hold_hours(
    world: World,
) -> None:
    driver = await rotating(world)
    first = await driver.given(acknowledge=True, gracePeriodHours=0)
    for _ in range(20):
        await driver.later(days=1)
        await world.issuer.rotation.rotate_due()
        await world.issuer.rotation.end_holds()
        await world.issuer.rotation.note_overdue()
        assert await driver.works(first)


async def test_a_delivery_overdue_for_a_week_is_said_once_by_condition_and_event(world: World) -> None:
    driver = await rotating(world)
    await driver.later(days=1)
    await world.issuer.rotation.rotate_due()
    made = said(world.clock.now())
    await driver.later(days=7, seconds=-1)
    await world.issuer.rotation.note_overdue()
    assert world.seen(DeliveryOverdue) == []
    await driver.later(seconds=1)
    await world.issuer.rotation.note_overdue()
    await world.issuer.rotation.note_overdue()
    assert world.seen(DeliveryOverdue) == [DeliveryOverdue(driver.client_id, driver.namespace, "api", 2, 7 * 86_400)]
    assert str(await message(driver)).startswith(
        f"overdue: version 2 waits for its driver since {made}; version 1 stays"
    )
    await driver.current()
    await driver.acknowledge(2)
    assert await message(driver) is None


async def test_a_first_secret_that_nobody_fetches_is_overdue_too(world: World) -> None:
    driver = await driver_of_new_account(world)
    assert await message(driver) is None
    await driver.later(days=7)
    await world.issuer.rotation.note_overdue()
    (event,) = world.seen(DeliveryOverdue)
    assert (event.client_id, event.version) == (driver.client_id, 1)
    assert str(await message(driver)).startswith("overdue: version 1 waits for its driver since")


# --- policies ---------------------------------------------------------------------------------------------------------


async def test_the_rotator_decides_on_what_policies_say_now_and_not_on_what_was_planned(world: World) -> None:
    path = await policy(world, required=True, maxIntervalDays=1)
    driver = await rotating(world, credentialRotation={"enabled": False})
    assert await due(driver) is not None
    assert (await world.admin.delete(path)).status_code == 200
    await driver.later(days=1)
    await world.issuer.rotation.rotate_due()
    assert await driver.states() == {1: "active"}
    assert await due(driver) is None


async def test_a_policy_that_requires_rotation_spreads_what_is_overdue_over_a_week(world: World) -> None:
    off = {"enabled": False}
    drivers = [await rotating(world, f"api-{number}", namespace="many", credentialRotation=off) for number in range(12)]
    await drivers[0].later(days=300)
    await policy(world, required=True, maxIntervalDays=30)
    await followed(world)
    now = world.clock.now()
    planned = [await due(driver) for driver in drivers]
    assert all(each is not None and now - timedelta(seconds=1) <= each <= now + timedelta(days=7) for each in planned)
    assert len(set(planned)) > len(drivers) // 2
    await drivers[0].later(hours=12)
    await followed(world)
    assert [await due(driver) for driver in drivers] == planned
    await drivers[0].later(days=7)
    await world.issuer.rotation.rotate_due()
    versions = await versions_by_account(world)
    assert all(versions[driver.uid] == [1, 2] for driver in drivers)


async def test_a_policy_moves_the_next_rotation_of_the_accounts_it_reaches_and_of_no_other(world: World) -> None:
    inside = await rotating(world, "a", namespace="payments", credentialRotation={"enabled": True, "intervalDays": 60})
    outside = await rotating(world, "b", namespace="other", credentialRotation={"enabled": True, "intervalDays": 60})
    made = world.clock.now()
    path = await policy(world, namespace="payments", maxIntervalDays=30)
    await followed(world)
    assert (await due(inside), await due(outside)) == (
        made.replace(microsecond=0) + timedelta(days=30),
        made.replace(microsecond=0) + timedelta(days=60),
    )
    revision = (await world.admin.get(outside.path)).json()["metadata"]["resourceVersion"]
    assert (await world.admin.delete(path)).status_code == 200
    await followed(world)
    assert await due(inside) == made.replace(microsecond=0) + timedelta(days=60)
    assert (await world.admin.get(outside.path)).json()["metadata"]["resourceVersion"] == revision


async def test_a_label_of_a_namespace_that_brings_a_policy_over_it_moves_them_too(world: World) -> None:
    driver = await rotating(world, namespace="payments", credentialRotation={"enabled": False})
    document = {
        "metadata": {"name": "production"},
        "spec": {
            "namespaceSelector": {"matchLabels": {"env": "prod"}},
            "credentialRotation": {"required": True, "maxIntervalDays": 30},
        },
    }
    assert (
        await world.admin.post("/apis/auth.nauthera.io/v1alpha1/clusterauthpolicies", json=document)
    ).status_code == 201
    await followed(world)
    assert await due(driver) is None
    labels = {"metadata": {"labels": {"env": "prod"}}}
    assert (await world.admin.patch("/api/v1/namespaces/payments", json=labels, headers=MERGE_PATCH)).status_code == 200
    await followed(world)
    assert await due(driver) == world.clock.now().replace(microsecond=0) + timedelta(days=30)


async def test_a_policy_that_says_nothing_of_rotation_makes_nobody_walk(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rotating(world)
    await followed(world)
    walked: list[Any] = []

    async def note(*arguments: Any) -> list[Any]:
        walked.append(arguments)
        return []

    monkeypatch.setattr("issuer.administration.following.accounts_after", note)
    document = {"metadata": {"name": "ttl"}, "spec": {"tokenSettings": {"maxAccessTokenTTL": "5m"}}}
    answer = await world.admin.post("/apis/auth.nauthera.io/v1alpha1/clusterauthpolicies", json=document)
    assert answer.status_code == 201
    await followed(world)
    assert walked == []
    await policy(world, required=True)
    await followed(world)
    assert walked != []


async def test_a_walk_that_was_cut_off_is_finished_by_another_replica(
    world: World, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = {"enabled": False}
    drivers = [await rotating(world, f"api-{number}", namespace="many", credentialRotation=off) for number in range(6)]
    await followed(world)
    monkeypatch.setattr("issuer.administration.following.PAGE", 2)
    await policy(world, required=True)
    step, steps = world.issuer.follower._step, 0

    async def two_steps(target: int) -> bool:
        nonlocal steps
        steps += 1
        return steps <= 2 and await step(target)

    monkeypatch.setattr(world.issuer.follower, "_step", two_steps)
    await followed(world)
    planned = [await due(driver) is not None for driver in drivers]
    assert 0 < sum(planned) < len(drivers)
    async with started_world(world.database_url, databases.bootstrapped, world.clock) as other:
        await followed(other)
    assert all([await due(driver) is not None for driver in drivers])


async def test_a_walk_writes_nothing_where_nothing_changes_and_asks_no_query_for_each_account(world: World) -> None:
    for number in range(9):
        await rotating(world, f"api-{number}", namespace="many")
    await followed(world)
    before = (await fetch(world, "SELECT revision FROM installation"))[0]["revision"]
    await policy(world, maxIntervalDays=365)
    await followed(world)
    assert (await fetch(world, "SELECT revision FROM installation"))[0]["revision"] == before + 1


async def store_due(world: World) -> list[str]:
    """Names of the accounts the rotator would look at now."""
    async with world.issuer.databases[1].transaction() as connection:
        return [each.name for each in await store.due_accounts(connection, world.clock.now(), 100)]
