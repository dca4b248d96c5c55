"""DESIGN section 4, "States": what a version may do at each moment of its life, and what the account's status says."""

import pytest

from issuer.events import RetiredSecretPresented, SecretFirstUsed, TokenRefused
from issuer.model.times import format_time
from tests.databases import Databases
from tests.delivery.driver import MERGE_PATCH, Driver, driver_of_new_account
from tests.world import World, started_world

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_account_is_born_with_version_1_pending_and_awaiting_delivery(driver: Driver) -> None:
    status = await driver.status()
    born = format_time(driver.world.clock.now())
    assert status["credentials"] == [{"version": 1, "state": "pending", "createdAt": born}]
    assert (status["phase"], status["ready"]) == ("Pending", False)
    assert status["lastCredentialRotation"] == born
    assert await driver.condition("CredentialsProvisioned") == ("False", "AwaitingDelivery")
    assert await driver.condition("Ready") == ("False", "Pending")


async def test_a_pending_version_already_authenticates(driver: Driver) -> None:
    secret = await driver.given()
    assert await driver.works(secret)
    assert await driver.states() == {1: "pending"}


async def test_the_first_use_makes_it_active_and_delivers_nothing(driver: Driver) -> None:
    secret = await driver.given()
    for _ in range(3):
        assert await driver.works(secret)
    await driver.world.issuer.first_uses.flush()
    assert driver.world.seen(SecretFirstUsed) == [SecretFirstUsed(driver.client_id, 1)]
    status = await driver.status()
    assert (status["phase"], status["ready"]) == ("Active", True)
    assert await driver.states() == {1: "active"}
    assert await driver.condition("Ready") == ("True", "ServiceAccountRegistered")
    assert await driver.condition("CredentialsProvisioned") == ("False", "AwaitingDelivery")
    assert (await driver.current()).json()["clientSecret"] == secret


async def test_a_token_after_the_first_use_was_written_notes_nothing(driver: Driver) -> None:
    secret = await driver.given()
    await driver.works(secret)
    await driver.world.issuer.first_uses.flush()
    await driver.works(secret)
    assert not driver.world.issuer.first_uses._waiting


async def test_the_acknowledgement_makes_it_active_and_delivered(driver: Driver) -> None:
    await driver.given()
    answer = await driver.acknowledge(1)
    assert answer.status_code == 200
    assert (answer.json()["status"]["phase"], answer.json()["status"]["ready"]) == ("Active", True)
    assert await driver.states() == {1: "active"}
    assert await driver.condition("CredentialsProvisioned") == ("True", "SecretCreated")
    assert (await driver.current()).status_code == 404


async def test_the_acknowledgement_after_the_first_use_moves_no_time(driver: Driver) -> None:
    await driver.given(acknowledge=True)
    second = await driver.given()
    await driver.works(second)
    await driver.world.issuer.first_uses.flush()
    before = (await driver.status())["credentials"]
    await driver.later(hours=5)
    assert (await driver.acknowledge(2)).status_code == 200
    assert (await driver.status())["credentials"] == before
    assert await driver.condition("CredentialsProvisioned") == ("True", "SecretCreated")


async def test_rotating_awaits_delivery_again_and_moves_last_credential_rotation(driver: Driver) -> None:
    await driver.given(acknowledge=True)
    await driver.later(days=3)
    await driver.given()
    status = await driver.status()
    assert status["lastCredentialRotation"] == format_time(driver.world.clock.now())
    assert (status["phase"], await driver.condition("CredentialsProvisioned")) == (
        "Active",
        ("False", "AwaitingDelivery"),
    )
    assert (await driver.acknowledge(2)).json()["status"]["lastCredentialRotation"] == status["lastCredentialRotation"]


async def test_the_next_rotation_is_an_interval_after_the_newest_version(world: World) -> None:
    driver = await driver_of_new_account(world, credentialRotation={"enabled": True, "intervalDays": 30})
    await driver.later(days=1)
    await driver.given(compromised=True)
    rotated = driver.world.clock.now()
    await driver.later(days=2)
    status = await driver.status()
    assert status["lastCredentialRotation"] == format_time(rotated)
    world.clock.instant = rotated
    world.clock.advance(days=30)
    assert status["nextCredentialRotation"] == format_time(world.clock.now())


async def test_a_pending_version_holds_its_predecessor_however_long_it_takes(driver: Driver) -> None:
    first = await driver.given(acknowledge=True)
    await driver.given()
    await driver.later(days=3650)
    assert await driver.states() == {1: "active", 2: "pending"}
    assert await driver.works(first)


@pytest.mark.parametrize("how", ["acknowledged", "used"])
async def test_only_then_the_previous_version_enters_grace_and_both_work_until_it_ends(
    driver: Driver, how: str
) -> None:
    first = await driver.given(acknowledge=True)
    await driver.later(days=1)
    second = await driver.given()
    await driver.later(days=1)
    if how == "acknowledged":
        await driver.acknowledge(2)
    else:
        await driver.works(second)
        await driver.world.issuer.first_uses.flush()
    await driver.later(hours=24, microseconds=-1)
    assert await driver.states() == {1: "grace", 2: "active"}
    retires_at = (await driver.status())["credentials"][0]["retiresAt"]
    assert (await driver.works(first), await driver.works(second)) == (True, True)
    await driver.later(microseconds=1)
    assert retires_at == format_time(driver.world.clock.now())
    assert await driver.states() == {1: "retired", 2: "active"}
    assert (await driver.works(first), await driver.works(second)) == (False, True)


async def test_a_rotations_own_grace_wins(driver: Driver) -> None:
    first = await driver.given(acknowledge=True)
    await driver.given(acknowledge=True, gracePeriodHours=2)
    await driver.later(hours=2, seconds=-1)
    assert await driver.works(first)
    await driver.later(seconds=1)
    assert not await driver.works(first)


async def test_a_grace_of_zero_ends_at_once(driver: Driver) -> None:
    first = await driver.given(acknowledge=True)
    await driver.given(acknowledge=True, gracePeriodHours=0)
    assert not await driver.works(first)
    assert await driver.states() == {1: "retired", 2: "active"}


async def test_an_hour_lasts_as_long_as_the_schedule_says(databases: Databases, database_url: str) -> None:
    async with started_world(database_url, databases.bootstrapped, schedule={"hour_s": 0.5}) as world:
        driver = await driver_of_new_account(world)
        first = await driver.given(acknowledge=True)
        await driver.given(acknowledge=True)
        await driver.later(seconds=11.5)
        assert await driver.works(first)
        await driver.later(seconds=0.5)
        assert not await driver.works(first)


async def test_an_edit_of_the_grace_moves_no_end_that_was_set(driver: Driver) -> None:
    await driver.given(acknowledge=True)
    await driver.given(acknowledge=True)
    before = (await driver.status())["credentials"]
    patch = {"spec": {"credentialRotation": {"gracePeriodHours": 1}}}
    assert (await driver.admin.patch(driver.path, json=patch, headers=MERGE_PATCH)).status_code == 200
    assert (await driver.status())["credentials"] == before


async def test_a_retired_secret_presented_again_is_a_security_event_and_a_401_like_any_other(driver: Driver) -> None:
    first = await driver.given(acknowledge=True)
    await driver.given(acknowledge=True, gracePeriodHours=0)
    world = driver.world
    retired = await world.token(driver.client_id, first)
    wrong = await world.token(driver.client_id, "isk1_wrong")
    assert (retired.status_code, retired.text) == (401, wrong.text)
    assert dict(retired.headers) == dict(wrong.headers)
    (event,) = world.seen(RetiredSecretPresented)
    assert (event.client_id, event.version) == (driver.client_id, 1)
    refused = world.seen(TokenRefused)[-2:]
    assert [(each.failure, each.cause) for each in refused] == [("secret_retired", "secret/1"), ("secret_wrong", "")]


async def test_a_compromised_cut_ends_all_older_versions_at_once(driver: Driver) -> None:
    secrets = [await driver.given(acknowledge=True) for _ in range(3)]
    fresh = await driver.given(compromised=True)
    assert [await driver.works(secret) for secret in secrets] == [False, False, False]
    assert await driver.works(fresh)
    assert await driver.states() == {1: "retired", 2: "retired", 3: "retired", 4: "pending"}
    assert len(driver.world.seen(RetiredSecretPresented)) == 3


async def test_a_compromised_cut_is_possible_while_one_is_pending_and_ends_that_one_too(driver: Driver) -> None:
    first = await driver.given(acknowledge=True)
    pending = await driver.given()
    fresh = await driver.given(compromised=True)
    assert [await driver.works(secret) for secret in (first, pending, fresh)] == [False, False, True]
    assert (await driver.current()).json()["clientSecret"] == fresh
    assert (await driver.acknowledge(2)).status_code == 409
    assert (await driver.acknowledge(3)).status_code == 200


async def test_a_first_use_written_after_the_cut_revives_nothing(driver: Driver) -> None:
    pending = await driver.given()
    assert await driver.works(pending)
    await driver.given(compromised=True)
    await driver.world.issuer.first_uses.flush()
    assert await driver.states() == {1: "retired", 2: "pending"}
    assert not await driver.works(pending)


async def test_a_cut_credential_takes_its_admin_tokens_along_and_a_retired_one_does_not(world: World) -> None:
    spec = {"scopes": ["issuer:admin"], "audiences": ["urn:issuer:admin"], "justification": "test"}
    driver = await driver_of_new_account(world, "second", "issuer-system", **spec)
    token = await _admin_token(driver, await driver.given(acknowledge=True))
    newer = await _admin_token(driver, await driver.given(acknowledge=True, gracePeriodHours=0))
    headers = {"authorization": f"Bearer {token}"}
    assert (await world.anonymous.get(driver.path, headers=headers)).status_code == 200
    await driver.given(compromised=True)
    for each in (token, newer):
        answer = await world.anonymous.get(driver.path, headers={"authorization": f"Bearer {each}"})
        assert answer.status_code == 401


async def test_eight_live_versions_are_the_most(driver: Driver) -> None:
    for _ in range(8):
        await driver.given(acknowledge=True)
    answer = await driver.rotate(acknowledge=True)
    assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
    assert "8 versions are live" in answer.json()["message"]
    await driver.later(hours=24)
    assert (await driver.rotate(acknowledge=True)).status_code == 201


async def test_a_disabled_account_keeps_its_versions_and_gets_no_token(driver: Driver) -> None:
    secret = await driver.given(acknowledge=True)
    await driver.admin.patch(driver.path, json={"spec": {"disabled": True}}, headers=MERGE_PATCH)
    assert not await driver.works(secret)
    await driver.admin.patch(driver.path, json={"spec": {"disabled": False}}, headers=MERGE_PATCH)
    assert await driver.works(secret)


async def _admin_token(driver: Driver, secret: str) -> str:
    answer = await driver.world.token(driver.client_id, secret, resource="urn:issuer:admin")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])
