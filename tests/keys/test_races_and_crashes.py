"""Several rotators at once, and one that dies anywhere in a step: one rotation only, and never a ring that cannot sign."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.administration import keysteps
from issuer.events import KeyActivated, KeyPublished, WorkFailed
from issuer.signing.signer import GeneratedKey, generate_key
from issuer.workers.housekeeping import WorkUndone
from tests.databases import Databases
from tests.keys.ring import LEAD, RETENTION, Ring, published, signed_by, work
from tests.world import Clock, World, started_world


@pytest.fixture
async def pair(databases: Databases, database_url: str) -> AsyncIterator[tuple[World, World]]:
    """Two replicas in one process, on one database, by one clock."""
    clock = Clock()
    async with (
        started_world(database_url, databases.bootstrapped, clock) as one,
        started_world(database_url, databases.bootstrapped, clock) as other,
    ):
        yield one, other


async def test_two_rotators_at_once_rotate_once(pair: tuple[World, World]) -> None:
    one, other = pair
    ring = Ring(one)
    for number in range(1, 4):
        one.clock.advance(days=30)
        await asyncio.gather(*(work(world) for world in (one, other) * 4))
        await asyncio.gather(work(one), work(other))
        for kind in (KeyActivated, KeyPublished):
            happened = [event for world in pair for event in world.seen(kind) if event.keyset == "default"]
            assert len(happened) == number, kind
        states = await ring.states()
        assert (states.count("active"), states.count("pending")) == (1, 1)


async def test_a_rotator_and_people_at_once_leave_one_key_that_signs(pair: tuple[World, World]) -> None:
    one, other = pair
    ring = Ring(one)
    one.clock.advance(days=30)
    await one.renew_admin()
    answers = await asyncio.gather(ring.rotate(), work(other), ring.rotate(emergency="true"), work(one))
    assert {answer.status_code for answer in answers if answer is not None} <= {200, 409}
    await work(one)
    states = await ring.states()
    assert (states.count("active"), states.count("pending")) == (1, 1)


class Died(BaseException):
    """What a process that ends at once looks like to its own code."""


@contextmanager
def dying(after: int) -> Iterator[None]:
    """Ends what is inside once so many statements ran; that they were never committed is the database's part."""
    execute, ran = AsyncConnection.execute, count(1)

    async def run(connection: AsyncConnection, *args: Any, **kwargs: Any) -> Any:
        result = await execute(connection, *args, **kwargs)
        if next(ran) == after:
            raise Died
        return result

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(AsyncConnection, "execute", run)
        yield


async def ready_for(world: World, step: str) -> Ring:
    """A ring whose next step is this one, due now."""
    ring = Ring(world)
    if step == "Prune":
        world.clock.advance(seconds=LEAD.total_seconds())
        await world.renew_admin()
        await ring.rotate()
        await work(world)
        world.clock.advance(seconds=RETENTION.total_seconds())
    elif step == "Prepare":
        await ring.rotate(emergency="true")
    else:
        world.clock.advance(days=30)
    await world.renew_admin()
    return ring


@pytest.mark.parametrize(
    ("step", "passes_through"),
    [
        ("Prepare", [["retiring", "active"], ["retiring", "active", "pending"]]),
        ("Activate", [["active", "pending"], ["retiring", "active"], ["retiring", "active", "pending"]]),
        ("Prune", [["retiring", "active", "pending"], ["active", "pending"]]),
    ],
)
async def test_a_rotator_that_dies_after_any_statement_leaves_a_ring_that_signs_and_the_next_one_finishes(
    world: World, step: str, passes_through: list[list[str]]
) -> None:
    client, ring = await world.account(), await ready_for(world, step)
    seen = [await ring.states()]
    for statements in count(1):
        try:
            with dying(statements):
                await world.issuer.key_steps.bring_forward("default")
            break
        except Died:
            if (states := await ring.states()) != seen[-1]:
                seen.append(states)
            await world.issuer.reloader.hasten()
            assert await signed_by(client) in await published(world)
    await work(world)
    assert [*seen, await ring.states()][-1] == passes_through[-1]
    assert [states for states in seen if states not in passes_through] == []
    # Three reads, and in the transaction of the step: lock, KeySet, clock, keys, what the step writes, and the commit.
    assert statements > 8


async def test_a_rotator_that_dies_making_a_key_leaves_everything_as_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = await ready_for(world, "Prepare")
    before = await ring.keyset()

    def die(_: str) -> None:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(keysteps, "generate_key", die)
        with pytest.raises(Died):
            await world.issuer.key_steps.bring_forward("default")
    assert await ring.keyset() == before
    await work(world)
    assert await ring.states() == ["retiring", "active", "pending"]


class Jammed(Exception):
    """What an error of ours looks like."""


async def test_a_key_set_that_cannot_be_brought_forward_is_named_and_does_not_hold_up_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    default, id_tokens = Ring(world), Ring(world, "rs256")
    world.clock.advance(days=30)

    def fail(algorithm: str) -> GeneratedKey:
        if algorithm == "ES256":
            raise Jammed
        return generate_key(algorithm)

    with monkeypatch.context() as patched:
        patched.setattr(keysteps, "generate_key", fail)
        with pytest.raises(WorkUndone, match=r"^default$"):
            await work(world)
    (failed,) = world.seen(WorkFailed)
    assert (failed.worker, failed.subject, failed.error) == ("signing keys", "default", "Jammed")
    assert failed.where.startswith("administration/keysteps.py:")
    assert await id_tokens.states() == ["retiring", "active", "pending"]
    assert await default.states() == ["retiring", "active"]
    await work(world)
    assert await default.states() == ["retiring", "active", "pending"]
