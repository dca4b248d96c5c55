"""Workers that take a step again and again: what ends a step does not end them, and lateness is noticed."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from issuer.events import Event, WorkFailed
from issuer.store.database import DatabaseUnavailable
from issuer.workers import housekeeping
from issuer.workers.housekeeping import LATE_S, Housekeeping, WorkUndone


async def run_until(chores: Housekeeping, step: Callable[[], Awaitable[None]], happened: Callable[[], bool]) -> None:
    task = asyncio.create_task(chores.every(0.001, "expiry", step)())
    try:
        async with asyncio.timeout(10):
            while not happened():  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_neither_an_outage_nor_an_error_of_ours_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "AFTER_FAILURE_S", 0.001)
    events: list[Event] = []
    outcomes = [DatabaseUnavailable("away"), ValueError("a secret"), None, None]
    taken: list[object] = []

    async def step() -> None:
        taken.append(None)
        outcome = outcomes[len(taken) - 1] if len(taken) <= len(outcomes) else None
        if outcome is not None:
            raise outcome

    await run_until(Housekeeping(events.append, lambda: 0.0), step, lambda: len(taken) > len(outcomes))
    (failed,) = events
    assert isinstance(failed, WorkFailed)
    assert (failed.worker, failed.error) == ("expiry", "ValueError")
    assert "a secret" not in str(failed)


async def test_work_that_has_said_itself_why_it_is_undone_is_not_said_again_and_is_late_all_the_same() -> None:
    events: list[Event] = []
    now, taken = [0.0], [0]

    async def step() -> None:
        taken[0] += 1
        raise WorkUndone

    chores = Housekeeping(events.append, lambda: now[0])
    await run_until(chores, step, lambda: taken[0] > 0)
    now[0] = LATE_S + 1
    assert (events, chores.late) == ([], "without success for a minute or longer: expiry")


async def test_work_that_does_not_succeed_for_a_minute_is_late_until_it_does() -> None:
    now, works, taken = [0.0], [False], [0]

    async def step() -> None:
        taken[0] += 1
        if not works[0]:
            raise DatabaseUnavailable("away")

    chores = Housekeeping(lambda _: None, lambda: now[0])
    await run_until(chores, step, lambda: taken[0] > 1)
    said = [chores.late for now[0] in (LATE_S, LATE_S + 1)]
    assert said == [None, "without success for a minute or longer: expiry"]
    works[0], taken[0] = True, 0
    await run_until(chores, step, lambda: taken[0] > 1)
    assert chores.late is None
