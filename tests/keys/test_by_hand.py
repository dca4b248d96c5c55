"""Rotation and compromise by hand: what is refused with which words, what is told, and who signs afterwards."""

from datetime import timedelta

import pytest

from issuer.events import KeyActivated, KeyActivatedEarly, KeyCompromised
from issuer.model.times import format_time
from tests.administration.paths import KEYSETS, status_of
from tests.keys.ring import LEAD, Ring, published, signed_by, work
from tests.store.rows import count_rows, query
from tests.world import World


async def test_a_rotation_by_hand_lets_the_spare_sign_at_once(world: World) -> None:
    client, ring = await world.account(), Ring(world)
    world.clock.advance(seconds=LEAD.total_seconds())
    await world.renew_admin()
    first, second = await ring.kid("active"), await ring.kid("pending")
    rotated = await ring.rotate()
    assert rotated.status_code == 200
    assert [key["state"] for key in rotated.json()["status"]["keys"]] == ["retiring", "active"]
    assert rotated.json()["status"]["next"] == {"step": "Prepare", "at": format_time(world.clock.now())}
    assert await signed_by(client) == second
    assert first in await published(world)
    (event,) = world.seen(KeyActivated)
    assert (event.kid, event.replaced) == (second, first)


async def test_a_spare_that_verifiers_may_not_know_is_refused_with_the_time(world: World) -> None:
    ring = Ring(world)
    await ring.rotate(emergency="true")
    await work(world)
    world.clock.advance(minutes=10)
    refused = await ring.rotate()
    assert status_of(refused) == (409, "Conflict")
    assert refused.json()["message"] == (
        "the next key was published 10m ago, and verifiers may not know it before "
        f"{format_time(world.clock.now() + timedelta(minutes=15))}: rotate then, or with ?emergency=true, and tokens will "
        "fail until they do"
    )


async def test_an_emergency_lets_it_sign_all_the_same_and_the_event_says_how_old_it_was(world: World) -> None:
    client, ring = await world.account(), Ring(world)
    spare = await ring.kid("pending")
    world.clock.instant = (await query(world.database_url, "SELECT max(published_at) AS at FROM signing_keys"))[0]["at"]
    world.clock.advance(minutes=10)
    await world.renew_admin()
    assert (await ring.rotate(emergency="true")).status_code == 200
    assert await signed_by(client) == spare
    (event,) = world.seen(KeyActivatedEarly)
    assert (event.kid, round(event.published_for_s), event.lead_s) == (spare, 600, 1500)
    (record,) = await query(world.database_url, "SELECT principal, note FROM audit_records WHERE verb = 'rotate'")
    assert '"emergency": true' in record["note"]
    assert '"publishedForSeconds": 600' in record["note"]
    assert "issuer-system/admin" in record["principal"]


async def test_a_compromised_key_leaves_the_jwks_and_the_spare_signs(world: World) -> None:
    client, ring = await world.account(), Ring(world)
    first, spare = await ring.kid("active"), await ring.kid("pending")
    signed_from = (await ring.keys())[0]["activatedAt"]
    old_token = (await client.token()).json()["access_token"]
    world.clock.advance(minutes=1)
    told = (await ring.compromise(first)).json()
    now = world.clock.now()
    assert told == {
        "kid": first,
        "compromisedAt": format_time(now),
        "trustedUntil": format_time(now + timedelta(minutes=5)),
        "signedFrom": signed_from,
        "signedUntil": format_time(now),
        "lastExpiry": format_time(now + timedelta(days=1)),
        "signing": spare,
    }
    assert first not in await published(world)
    assert await signed_by(client) == spare
    (event,) = world.seen(KeyCompromised)
    assert (event.keyset, event.kid, event.signing) == ("default", first, spare)
    assert (event.signed_from, event.signed_until) == (signed_from, format_time(now))
    # The administrator's own token was signed with it, and proves nothing any more.
    assert (await world.admin.get(KEYSETS)).status_code == 401
    await world.renew_admin()
    assert (await world.admin.get(KEYSETS)).status_code == 200
    assert old_token not in str(world.events)


async def test_compromised_twice_is_told_twice_and_done_once(world: World) -> None:
    ring = Ring(world, "rs256")
    kid = await ring.kid("active")
    told = (await ring.compromise(kid)).json()
    world.clock.advance(minutes=1)
    counted = await count_rows(world.database_url)
    again = await ring.compromise(kid)
    assert again.json() == told
    assert await count_rows(world.database_url) == counted
    assert len(world.seen(KeyCompromised)) == 1


async def test_a_compromise_without_a_spare_makes_a_key_at_once_and_it_signs(world: World) -> None:
    client, ring = await world.account(), Ring(world)
    await ring.rotate(emergency="true")
    told = (await ring.compromise(await ring.kid("active"))).json()
    assert "signing" not in told
    assert sorted(await ring.states()) == ["active", "compromised", "pending", "retiring"]
    assert await signed_by(client) == await ring.kid("active")


async def test_a_compromised_spare_is_replaced_and_the_active_key_goes_on(world: World) -> None:
    client, ring = await world.account(), Ring(world)
    active, spare = await ring.kid("active"), await ring.kid("pending")
    told = (await ring.compromise(spare)).json()
    assert told["signing"] == active
    assert "signedFrom" not in told
    await work(world)
    assert spare not in await published(world)
    assert await ring.states() == ["active", "compromised", "pending"]
    assert await signed_by(client) == active


async def test_a_compromised_key_is_kept_for_the_record_until_what_it_signed_has_expired(world: World) -> None:
    ring = Ring(world)
    kid = await ring.kid("active")
    await ring.compromise(kid)
    await work(world)
    world.clock.advance(hours=24, minutes=14, seconds=59)
    await work(world)
    assert "compromised" in await ring.states()
    world.clock.advance(seconds=1)
    await work(world)
    assert "compromised" not in await ring.states()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "kid: is required"),
        ({"kid": "x"}, "kid: is no key of KeySet 'default'; its status.keys lists them"),
        ({"kid": 7}, "kid: Input should be a valid string"),
        ({"kid": "x", "why": "y"}, "why: unknown field"),
    ],
)
async def test_a_compromise_that_names_no_key_is_refused(world: World, body: object, said: str) -> None:
    answer = await world.admin.post(f"{KEYSETS}/default/compromise", json=body)
    assert status_of(answer) == (422, "Invalid")
    assert said in answer.json()["message"]


async def test_neither_is_possible_for_a_key_set_that_is_not_there_or_without_the_right_scope(world: World) -> None:
    reader = await world.account(
        "reader", "issuer-system", scopes=["issuer:admin:read"], audiences=["urn:issuer:admin"], justification="a test"
    )
    token = (await reader.token()).json()["access_token"]
    for path in ("rotate", "compromise"):
        assert status_of(
            await world.admin.post(f"{KEYSETS}/nowhere/{path}", json={"kid": "x"} if path == "compromise" else None)
        ) == (
            404,
            "NotFound",
        )
        headers = {"authorization": f"Bearer {token}"}
        refused = await world.anonymous.post(f"{KEYSETS}/default/{path}", headers=headers, json={"kid": "x"})
        assert status_of(refused) == (403, "Forbidden")
    assert status_of(await world.admin.post(f"{KEYSETS}/default/rotate", json={"emergency": True})) == (
        400,
        "BadRequest",
    )


async def test_a_dry_run_of_either_writes_nothing(world: World) -> None:
    ring = Ring(world)
    before, counted, events = await ring.keyset(), await count_rows(world.database_url), len(world.events)
    rotated = await ring.rotate(emergency="true", dryRun="All")
    assert [key["state"] for key in rotated.json()["status"]["keys"]] == ["retiring", "active"]
    told = await ring.compromise(await ring.kid("active"), dryRun="All")
    assert told.json()["signing"] == await ring.kid("pending")
    assert await ring.keyset() == before
    assert await count_rows(world.database_url) == counted
    assert len(world.events) == events
