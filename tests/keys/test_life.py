"""A KeySet's keys through a whole life, by a clock that only the test moves: who signs, what verifies, what is said of it."""

from datetime import timedelta

import pytest

from issuer.events import (
    KeyActivated,
    KeyForgotten,
    KeyIntervalTooShort,
    KeyPublished,
    KeysCrowded,
)
from issuer.model.times import format_time
from tests.administration.paths import KEYSETS
from tests.databases import Databases
from tests.keys.ring import LEAD, RETENTION, Ring, published, signed_by, work
from tests.store.rows import query
from tests.world import Clock, World, started_world

SECOND = timedelta(seconds=1)
MONTH = timedelta(days=30)


async def until(world: World, **parts: float) -> None:
    """Moves the clock, renews the administrator's token, lets the worker look."""
    world.clock.advance(**parts)
    await world.renew_admin()
    await work(world)


async def test_a_bootstrapped_key_set_says_what_happens_next_and_when(world: World) -> None:
    ring = Ring(world)
    status = (await ring.keyset())["status"]
    active, spare = status["keys"]
    assert (active["state"], spare["state"]) == ("active", "pending")
    (ready,) = status["conditions"]
    assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "True", "Signing")
    assert status["next"] == {"step": "Activate", "kid": spare["kid"], "at": status["nextRotation"]}
    assert "retiresAt" not in active
    before = status
    await work(world)
    assert (await ring.keyset())["status"] == before
    assert world.seen(KeyPublished) == []


async def test_a_key_set_through_two_rotations(world: World) -> None:
    client, ring = await world.account(), Ring(world)
    first, second = await ring.kid("active"), await ring.kid("pending")
    begun = world.clock.now()
    assert await signed_by(client) == first

    await until(world, seconds=(await ring.due_in(MONTH) - timedelta(minutes=1)).total_seconds())
    assert await signed_by(client) == first

    await until(world, seconds=61)  # instants are shown in whole seconds
    assert await signed_by(client) == second
    assert await ring.states() == ["retiring", "active", "pending"]
    (activated,) = [event for event in world.seen(KeyActivated) if event.keyset == "default"]
    assert (activated.kid, activated.replaced) == (second, first)
    third = await ring.kid("pending")
    assert {first, second, third} <= set(await published(world))
    assert await ring.next() == {
        "step": "Prune",
        "kid": first,
        "at": format_time(world.clock.now() + RETENTION),
    }

    await until(world, seconds=(RETENTION - SECOND).total_seconds())
    assert first in await published(world)
    await until(world, seconds=1)
    assert first not in await published(world)
    assert await ring.states() == ["active", "pending"]
    assert KeyForgotten("default", first) in world.seen(KeyForgotten)
    assert await query(world.database_url, f"SELECT 1 FROM signing_keys WHERE kid = '{first}'") == []  # noqa: S608

    await until(world, seconds=MONTH.total_seconds())
    assert await signed_by(client) == third
    assert world.clock.now() - begun < 2 * MONTH + timedelta(days=2)
    assert world.seen(KeysCrowded) == []


async def test_every_step_is_on_record_and_watchers_see_it(world: World) -> None:
    await until(world, days=31)
    records = (await world.admin.get(KEYSETS.replace("keysets", "auditrecords"), params={"kind": "KeySet"})).json()
    steps = [(item["verb"], item["subject"]["name"], item["principal"]["name"]) for item in records["items"]]
    assert ("activate key", "default", "system") in steps
    assert ("prepare key", "rs256", "system") in steps


async def test_a_token_signed_in_the_last_moment_verifies_until_it_expires(world: World) -> None:
    client, ring = await world.account(tokenSettings={"accessTokenTTL": "24h"}), Ring(world)
    first = await ring.kid("active")
    await until(world, seconds=(await ring.due_in(MONTH) - SECOND).total_seconds())
    assert (await client.token()).json()["expires_in"] == 86_400
    await until(world, seconds=2)
    for hours in (1, 22.9, 0.2):
        await until(world, hours=hours)
        assert first in await published(world)


async def test_rotation_switched_off_rotates_nothing_and_its_status_says_so(world: World) -> None:
    ring = Ring(world)
    first = await ring.kid("active")
    assert (await ring.change(rotation={"enabled": False})).status_code == 200
    await until(world, days=400)
    assert await ring.kid("active") == first
    status = (await ring.keyset())["status"]
    assert "next" not in status
    assert "nextRotation" not in status


async def test_another_algorithm_takes_over_after_its_lead_and_no_sooner(world: World) -> None:
    client, ring = await world.account(), Ring(world)
    first = await ring.kid("active")
    assert (await ring.change(algorithm="Ed25519")).status_code == 200
    await work(world)
    keys = await ring.keys()
    assert [(key["algorithm"], key["state"]) for key in keys] == [("ES256", "active"), ("Ed25519", "pending")]
    await until(world, seconds=(LEAD - SECOND).total_seconds())
    assert await signed_by(client) == first
    await until(world, seconds=1)
    assert await signed_by(client) == keys[1]["kid"]


async def test_a_lifetime_that_was_longer_once_is_kept_for(databases: Databases, database_url: str) -> None:
    clock = Clock()
    for most_s in (86_400, 600):
        async with started_world(
            database_url, databases.bootstrapped, clock, tokens={"default_ttl_s": 600, "max_ttl_s": most_s}
        ) as world:
            await work(world)
            clock.advance(hours=1)
            await world.renew_admin()
            ring = Ring(world)
            assert (await ring.rotate()).status_code == 200
            (*_, retiring) = [key for key in await ring.keys() if key["state"] == "retiring"]
            assert retiring["retiresAt"] == format_time(clock.now() + RETENTION)


async def test_an_interval_that_settings_have_made_too_short_is_an_event_and_rotation_comes_late(
    databases: Databases, database_url: str
) -> None:
    async with started_world(database_url, databases.bootstrapped, schedule={"day_s": 10}) as world:
        await work(world)
        await work(world)
        short = world.seen(KeyIntervalTooShort)
        assert [event.keyset for event in short] == ["default", "rs256"]
        assert short[0].why == (
            "30 days (5m) is shorter than the 25m a key must be published before it signs (twice keys.jwks_max_age_s 300 "
            "+ keys.verifier_refresh_s 600 + outage.max_s 300): at least 150"
        )
        ring = Ring(world)
        first = await ring.kid("active")
        world.clock.advance(seconds=600)
        await work(world)
        assert await ring.kid("active") == first
        world.clock.advance(seconds=900)
        await work(world)
        assert await ring.kid("active") != first


async def test_more_than_three_published_keys_are_an_event(world: World) -> None:
    for _ in range(2):
        await until(world, hours=1)
        assert (await Ring(world).rotate()).status_code == 200
        await work(world)
    assert KeysCrowded("default", 4) in world.seen(KeysCrowded)


@pytest.mark.parametrize("days", [-40, 400])
async def test_a_clock_that_jumps_leaves_a_key_that_signs(world: World, days: int) -> None:
    client, ring = await world.account(), Ring(world)
    world.clock.advance(days=days)
    await work(world)
    assert await signed_by(client) in await published(world)
    world.clock.advance(days=-days)
    await work(world)
    assert await signed_by(client) in await published(world)
    states = await ring.states()
    assert (states.count("active"), states.count("pending")) == (1, 1)
