"""Many wait for one thing, and when it has come they go on one after another.

A task that wakes everybody who waits for it lets hundreds run in one turn of the event loop, before anything that has just
arrived is even read: with 2,000 wrong secrets a second, four times a second for a tenth of one. Here each gets a turn of its
own, so that whoever comes meanwhile waits for one of them and not for all.
"""

import asyncio


class Turnstile:
    """In front of tasks that say whether they went well. Used from one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Task[bool], list[asyncio.Future[bool]]] = {}
        self._one_by_one = asyncio.Lock()
        self._openings: set[asyncio.Task[None]] = set()

    async def wait_for(self, task: "asyncio.Task[bool]", timeout_s: float) -> bool:
        """Whether the task went well, and within `timeout_s` of the first who waits for it. The task is not cancelled."""
        waiting = self._waiting.get(task)
        if waiting is None:
            waiting = self._waiting[task] = []
            opening = asyncio.create_task(self._open(task, timeout_s))
            self._openings.add(opening)
            opening.add_done_callback(self._openings.discard)
        place: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiting.append(place)
        return await place

    async def _open(self, task: "asyncio.Task[bool]", timeout_s: float) -> None:
        await asyncio.wait({task}, timeout=timeout_s)
        good = task.done() and not task.cancelled() and task.exception() is None and task.result()
        waiting = self._waiting.pop(task)
        async with self._one_by_one:
            for place in waiting:
                if not place.done():  # nobody waits there any more
                    place.set_result(good)
                    await asyncio.sleep(0)
