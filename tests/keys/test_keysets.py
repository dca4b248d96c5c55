"""KeySets written over the admin API: what is refused and why, what an audience gets, how one goes."""

from typing import Any

import httpx
import pytest

from tests.administration.paths import KEYSETS, status_of
from tests.databases import Databases
from tests.keys.ring import LEAD, RETENTION, Ring, published, signed_by, work
from tests.world import World, started_world

LEDGER = "https://ledger.example.com"


async def create(world: World, name: str = "ledger", *, dry_run: bool = False, **spec: Any) -> httpx.Response:
    document = {"metadata": {"name": name}, "spec": {"algorithm": "Ed25519", **spec}}
    return await world.admin.post(KEYSETS, json=document, params={"dryRun": "All"} if dry_run else None)


def cause(answer: httpx.Response) -> tuple[str, str]:
    assert status_of(answer) == (422, "Invalid")
    (only,) = answer.json()["details"]["causes"]
    return only["field"], only["message"]


async def signing(world: World, name: str = "ledger", **spec: Any) -> Ring:
    """A KeySet whose first key signs."""
    assert (await create(world, name, **spec)).status_code == 201
    await work(world)
    world.clock.advance(seconds=LEAD.total_seconds())
    await work(world)
    await world.renew_admin()
    return Ring(world, name)


async def test_a_new_key_set_is_not_ready_until_its_first_key_is_known_to_every_verifier(world: World) -> None:
    made = (await create(world)).json()
    assert made["status"]["keys"] == []
    (condition,) = made["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "NoKey")
    await work(world)
    ring = Ring(world, "ledger")
    (condition,) = (await ring.keyset())["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "Publishing")
    assert await ring.kid("pending") in await published(world)
    world.clock.advance(seconds=LEAD.total_seconds())
    await work(world)
    (condition,) = (await ring.keyset())["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("True", "Signing")
    assert await ring.states() == ["active", "pending"]


async def test_an_audience_moves_to_its_key_set_when_that_signs_and_back_when_it_goes(world: World) -> None:
    client, default = await world.account(audiences=[LEDGER]), Ring(world)
    await create(world, audiences=[LEDGER])
    await work(world)
    assert await signed_by(client) == await default.kid("active")
    world.clock.advance(seconds=LEAD.total_seconds())
    await work(world)
    await world.renew_admin()
    ledger = Ring(world, "ledger")
    own = await ledger.kid("active")
    assert await signed_by(client) == own
    assert (await world.admin.delete(f"{KEYSETS}/ledger")).status_code == 200
    assert await signed_by(client) == await default.kid("active")
    assert own in await published(world)


async def test_the_keys_of_a_deleted_key_set_verify_until_the_last_token_has_expired(world: World) -> None:
    ring = await signing(world)
    own = await ring.kid("active")
    deleted = (await world.admin.delete(f"{KEYSETS}/ledger")).json()
    assert deleted["metadata"]["deletionTimestamp"]
    assert [key["state"] for key in deleted["status"]["keys"]] == ["retiring"]
    assert deleted["status"]["next"]["step"] == "Prune"
    assert deleted["status"]["conditions"][0]["reason"] == "Terminating"
    again = await world.admin.delete(f"{KEYSETS}/ledger")
    assert (again.status_code, again.json()) == (200, deleted)
    await work(world)
    assert await ring.states() == ["retiring"]
    for refused in (await ring.rotate(), await ring.change(rotation={"intervalDays": 60})):
        assert status_of(refused) == (409, "Conflict")
        assert "is being deleted" in refused.json()["message"]
    assert status_of(await create(world)) == (409, "AlreadyExists")
    world.clock.advance(seconds=RETENTION.total_seconds() - 1)
    await work(world)
    assert own in await published(world)
    world.clock.advance(seconds=1)
    await work(world)
    await world.renew_admin()
    assert own not in await published(world)
    assert (await world.admin.get(f"{KEYSETS}/ledger")).status_code == 404
    assert (await create(world)).status_code == 201


async def test_a_key_set_that_never_signed_is_gone_at_once(world: World) -> None:
    await create(world)
    await work(world)
    assert len(await published(world)) == 5
    gone = await world.admin.delete(f"{KEYSETS}/ledger")
    assert gone.json()["status"] == "Success"
    assert len(await published(world)) == 4


async def test_finalizers_hold_a_key_set_whose_keys_are_gone(world: World) -> None:
    document = {"metadata": {"name": "held", "finalizers": ["example.com/x"]}, "spec": {"algorithm": "ES256"}}
    await world.admin.post(KEYSETS, json=document)
    await work(world)
    assert (await world.admin.delete(f"{KEYSETS}/held")).json()["status"]["keys"] == []
    await work(world)
    held = (await world.admin.get(f"{KEYSETS}/held")).json()
    held["metadata"]["finalizers"] = []
    assert (await world.admin.put(f"{KEYSETS}/held", json=held)).status_code == 200
    assert (await world.admin.get(f"{KEYSETS}/held")).status_code == 404


@pytest.mark.parametrize("name", ["default", "rs256"])
async def test_what_everything_depends_on_cannot_be_deleted(world: World, name: str) -> None:
    refused = await world.admin.delete(f"{KEYSETS}/{name}")
    assert status_of(refused) == (403, "Forbidden")
    assert refused.json()["message"] == f"KeySet {name!r} signs what no other KeySet does, and cannot be deleted"


async def test_id_tokens_stay_rs256(world: World) -> None:
    field, message = cause(await Ring(world, "rs256").change(algorithm="ES256"))
    assert field == "spec.algorithm"
    assert message.startswith("must stay RS256: it signs ID tokens")


async def test_an_audience_has_one_key_set(world: World) -> None:
    await create(world, audiences=["https://a.example.com", LEDGER])
    field, message = cause(await create(world, "other", audiences=["https://b.example.com", LEDGER]))
    assert field == "spec.audiences[1]"
    assert message == "belongs to KeySet 'ledger', and an audience has one KeySet: take it away there first"
    await world.admin.delete(f"{KEYSETS}/ledger")
    assert (await create(world, "other", audiences=[LEDGER])).status_code == 201


async def test_sixteen_key_sets_are_enough(world: World) -> None:
    for number in range(14):
        assert (await create(world, f"set-{number}")).status_code == 201
    refused = await create(world, "one-more")
    assert status_of(refused) == (403, "Forbidden")
    assert "there are 16 KeySets, and at most 16 may exist" in refused.json()["message"]


async def test_an_interval_shorter_than_the_lead_is_refused_with_the_numbers(
    databases: Databases, database_url: str
) -> None:
    slow = {"jwks_max_age_s": 86_400, "verifier_refresh_s": 3_600}
    async with started_world(database_url, databases.bootstrapped, keys=slow) as world:
        field, message = cause(await Ring(world).change(rotation={"intervalDays": 2}))
        assert field == "spec.rotation.intervalDays"
        assert message == (
            "2 days (48h) is shorter than the 49h5m a key must be published before it signs (twice keys.jwks_max_age_s "
            "86400 + keys.verifier_refresh_s 3600 + outage.max_s 300): at least 3"
        )
        assert (await Ring(world).change(rotation={"intervalDays": 3})).status_code == 200
        assert (await Ring(world).change(rotation={"intervalDays": 2, "enabled": False})).status_code == 200


async def test_a_changed_interval_moves_the_next_rotation_at_once(world: World) -> None:
    ring = Ring(world)
    activated = (await ring.keys())[0]["activatedAt"]
    changed = (await ring.change(rotation={"intervalDays": 1})).json()
    assert changed["metadata"]["generation"] == changed["status"]["observedGeneration"] == 2
    assert changed["status"]["nextRotation"][:8] == activated[:8]
    assert changed["status"]["nextRotation"] > activated


async def test_a_status_that_was_sent_along_is_dropped(world: World) -> None:
    ring = Ring(world)
    before = await ring.keyset()
    sent = {**before, "status": {"keys": []}}
    assert (await world.admin.put(f"{KEYSETS}/default", json=sent)).json() == before


async def test_dry_runs_write_nothing(world: World) -> None:
    ring = await signing(world)
    before = await ring.keyset()
    assert (await create(world, "other", dry_run=True)).status_code == 201
    assert (await world.admin.get(f"{KEYSETS}/other")).status_code == 404
    deleted = await world.admin.delete(f"{KEYSETS}/ledger", params={"dryRun": "All"})
    assert deleted.json()["metadata"]["deletionTimestamp"]
    assert await ring.keyset() == before
    assert await ring.states() == ["active", "pending"]
