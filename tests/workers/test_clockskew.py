"""This machine's clock against the database's: measured with every poll, said once, and beyond 30 s nobody is served."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.events import ClockInStep, ClockSkewed, Event
from issuer.sources import Sources, system_sources
from issuer.store.clock import database_clock
from issuer.workers.clockskew import NOTICED_S, OVER_S, REFUSED_S, SkewWatch
from tests.world import World

START = datetime(2026, 1, 1, tzinfo=UTC)
NOBODY = cast("AsyncConnection", None)


@dataclass
class Clocks:
    """Two clocks, and how long the way to the other one takes."""

    ahead_s: float = 0.0
    there_s: float = 0.0
    back_s: float = 0.0
    passed_s: float = 0.0
    sets_to_s: float | None = None
    events: list[Event] = field(default_factory=list)

    def watch(self) -> SkewWatch:
        return SkewWatch(self.ask, self.sources(), self.events.append)

    def sources(self) -> Sources:
        def here() -> datetime:
            return START + timedelta(seconds=self.passed_s + self.ahead_s)

        return replace(system_sources(), now=here)

    async def ask(self, _: AsyncConnection) -> datetime:
        self.passed_s += self.there_s
        answer = START + timedelta(seconds=self.passed_s)
        self.passed_s += self.back_s
        if self.sets_to_s is not None:
            self.ahead_s = self.sets_to_s
        return answer

    async def measured(self, watch: SkewWatch, *ahead_s: float) -> list[Event]:
        """What is said of one measurement after the other."""
        said = len(self.events)
        for each_s in ahead_s:
            self.ahead_s = each_s
            await watch.measure(NOBODY)
        return self.events[said:]


async def test_half_the_round_trip_is_taken_into_account() -> None:
    clocks = Clocks(ahead_s=0.5, there_s=0.1, back_s=0.1)
    watch = clocks.watch()
    assert (watch.skew, watch.degraded, watch.why_not_ready) == (None, None, None)
    await watch.measure(NOBODY)
    assert watch.skew is not None
    assert watch.skew.ahead_s == pytest.approx(0.5)
    assert watch.skew.uncertain_s == pytest.approx(0.1)


@pytest.mark.parametrize(("there_s", "back_s"), [(60.0, 0.0), (0.0, 60.0), (10.0, 50.0)])
async def test_an_answer_that_was_long_on_its_way_is_no_skew(there_s: float, back_s: float) -> None:
    """As after a pause of this process or of the network: the measurement is wrong by at most half of it."""
    clocks = Clocks(there_s=there_s, back_s=back_s)
    watch = clocks.watch()
    assert await clocks.measured(watch, 0.0) == []
    assert (watch.degraded, watch.why_not_ready) == (None, None)


@pytest.mark.parametrize("set_by_s", [-3600.0, 3600.0])
async def test_a_clock_that_is_set_while_the_answer_is_on_its_way_is_no_skew(set_by_s: float) -> None:
    """Or a machine that slept in between: the next poll knows."""
    clocks = Clocks(sets_to_s=0.0)
    watch = clocks.watch()
    assert await clocks.measured(watch, -set_by_s) == []
    assert (watch.degraded, watch.why_not_ready) == (None, None)


@pytest.mark.parametrize("sign", [1, -1], ids=["ahead", "behind"])
async def test_more_than_two_seconds_is_said_once_and_ready_and_more_than_thirty_once_more_and_not_ready(
    sign: int,
) -> None:
    clocks = Clocks()
    watch = clocks.watch()
    word = "ahead of" if sign > 0 else "behind"
    assert (await clocks.measured(watch, 0.0, sign * NOTICED_S), watch.degraded) == ([], None)
    said = await clocks.measured(watch, *(sign * each for each in (2.1, 2.2, 29.0, REFUSED_S)))
    assert said == [ClockSkewed(sign * 2.1, 0.0, NOTICED_S)]
    assert watch.degraded == f"this machine's clock is 30.0 s {word} the database's"
    assert watch.why_not_ready is None
    said = await clocks.measured(watch, *(sign * each for each in (30.5, 31.0, 3600.0)))
    assert said == [ClockSkewed(sign * 30.5, 0.0, REFUSED_S)]
    assert watch.why_not_ready == f"this machine's clock is 3600.0 s {word} the database's, more than 30 s"


async def test_it_is_ready_again_within_thirty_seconds_and_the_end_is_said_once() -> None:
    clocks = Clocks()
    watch = clocks.watch()
    await clocks.measured(watch, 40.0)
    assert await clocks.measured(watch, 29.0) == []
    assert (watch.why_not_ready, watch.degraded is None) == (None, False)
    assert await clocks.measured(watch, OVER_S, 0.0, -OVER_S) == [ClockInStep(OVER_S)]
    assert watch.degraded is None
    assert len(await clocks.measured(watch, 40.0)) == 1


async def test_a_skew_that_lingers_around_a_limit_is_said_once() -> None:
    clocks = Clocks()
    assert len(await clocks.measured(clocks.watch(), *(1.9, 2.1) * 20)) == 1


async def test_the_database_says_when_the_transaction_began(world: World) -> None:
    """Why the question must be the transaction's first statement."""
    async with world.issuer.databases[0].transaction() as connection:
        first = await database_clock(connection)
        assert await database_clock(connection) == first


# --- in a whole server ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def skewed(world: World, seconds: float) -> AsyncIterator[None]:
    """The database's clock as if this machine's were so far ahead."""

    async def behind(_: AsyncConnection) -> datetime:
        return world.clock.now() - timedelta(seconds=seconds)

    watch = world.issuer.reloader._skew
    before, watch._clock = watch._clock, behind
    try:
        yield
    finally:
        watch._clock = before


async def test_a_poll_measures_and_a_write_does_not_wait_for_it(world: World) -> None:
    async with skewed(world, 3):
        await world.namespace("a")
        assert world.seen(ClockSkewed) == []
        await world.issuer.reloader.catch_up()
    assert world.seen(ClockSkewed) == [ClockSkewed(3.0, 0.0, NOTICED_S)]


@pytest.mark.parametrize(
    ("seconds", "sign", "said"),
    [
        (0.25, "+", "ok"),
        (-3, "+", "this machine's clock is 3.0 s behind the database's"),
        (31, "-", "this machine's clock is 31.0 s ahead of the database's, more than 30 s"),
    ],
)
async def test_readiness_says_how_far_the_clocks_are_apart(world: World, seconds: float, sign: str, said: str) -> None:
    async with skewed(world, seconds):
        await world.issuer.reloader.catch_up()
    snapshot = world.issuer.reloader.snapshot()
    assert snapshot is not None
    answer = await world.admin.get("/readyz?verbose")
    line = f"[{sign}]server {said} (revision {snapshot.revision}, clock {seconds:+.3f} s)"
    assert answer.text.splitlines()[0] == line
    assert answer.status_code == (503 if seconds > REFUSED_S else 200)
    await world.issuer.reloader.catch_up()
    assert (await world.admin.get("/readyz")).status_code == 200


async def test_a_replica_that_is_not_ready_for_its_clock_still_answers_whom_its_balancer_sends(world: World) -> None:
    client = await world.account()
    async with skewed(world, 31):
        await world.issuer.reloader.catch_up()
    assert (await client.token()).status_code == 200
