"""Those who wait for the same thing go on one after another; what arrives meanwhile is not held up by all of them."""

import asyncio
import itertools

from issuer.workers.turnstile import Turnstile


async def good() -> bool:
    return True


async def test_between_two_who_waited_others_have_their_turn() -> None:
    turnstile, looked = Turnstile(), asyncio.Event()
    order: list[str] = []

    async def look() -> bool:
        await looked.wait()
        return True

    async def waiter(number: int) -> None:
        assert await turnstile.wait_for(task, 5)
        order.append(f"waited {number}")

    async def passer_by() -> None:
        while not all(each.done() for each in waiters):
            order.append("other")
            await asyncio.sleep(0)

    task = asyncio.create_task(look())
    waiters = [asyncio.create_task(waiter(number)) for number in range(10)]
    await asyncio.sleep(0)
    looked.set()
    await asyncio.gather(passer_by(), *waiters)
    assert [each for each in order if each != "other"] == [f"waited {number}" for number in range(10)]
    went = [place for place, each in enumerate(order) if each != "other"]
    assert all(second - first > 1 for first, second in itertools.pairwise(went))


async def test_a_task_that_fails_or_is_cancelled_did_not_go_well() -> None:
    turnstile = Turnstile()

    async def fail() -> bool:
        raise RuntimeError

    async def bad() -> bool:
        return False

    cancelled = asyncio.create_task(good())
    cancelled.cancel()
    tasks = [asyncio.create_task(fail()), asyncio.create_task(bad()), cancelled, asyncio.create_task(good())]
    assert await asyncio.gather(*(turnstile.wait_for(task, 5) for task in tasks)) == [False, False, False, True]


async def test_nobody_waits_longer_than_the_timeout_and_the_task_goes_on() -> None:
    turnstile, looked = Turnstile(), asyncio.Event()
    task = asyncio.create_task(looked.wait())
    assert not await turnstile.wait_for(task, 0.01)
    assert not task.done()
    looked.set()
    assert await turnstile.wait_for(task, 5)


async def test_who_left_holds_up_nobody_behind() -> None:
    turnstile, looked = Turnstile(), asyncio.Event()
    task = asyncio.create_task(looked.wait())
    first, second = (asyncio.create_task(turnstile.wait_for(task, 5)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    looked.set()
    assert await second
