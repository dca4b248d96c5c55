"""What is done again and again beside the requests, in bounded batches. Any replica may do it, several at once included."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from issuer.administration.resources import Resources
from issuer.events import Emit, Work, WorkFailed, place_of
from issuer.snapshot import Snapshot
from issuer.store.changelog import trim_log
from issuer.store.database import Database, DatabaseUnavailable
from issuer.store.refusals import trim_refusals
from issuer.store.usage import trim_positions, trim_usage

KEEP_CHANGES_S = 86_400
AFTER_FAILURE_S = 5
LATE_S = 60
"""So long without success is worth a word, whatever the pause."""


class WorkUndone(Exception):
    """A step did not do all of its work, and has reported why."""


class Housekeeping:
    """The workers that take a step again and again, and when each last succeeded. `clock` only ever grows."""

    def __init__(self, emit: Emit, clock: Callable[[], float]) -> None:
        self._emit = emit
        self._clock = clock
        self._succeeded_at: dict[Work, float] = {}
        self._late_after_s: dict[Work, float] = {}

    def every(
        self, pause_s: float, name: Work, step: Callable[[], Awaitable[object]]
    ) -> Callable[[], Coroutine[Any, Any, None]]:
        """A worker that takes the step again and again. An error of ours ends a step, never the worker."""

        async def run() -> None:
            self._late_after_s[name] = max(LATE_S, 2 * pause_s)
            self._succeeded_at[name] = self._clock()
            while True:
                await asyncio.sleep(pause_s)
                try:
                    await step()
                    self._succeeded_at[name] = self._clock()
                except DatabaseUnavailable:
                    continue
                except WorkUndone:
                    await asyncio.sleep(AFTER_FAILURE_S)
                except Exception as error:  # noqa: BLE001 - reported, and tried again
                    self._emit(WorkFailed(name, "", type(error).__name__, place_of(error)))
                    await asyncio.sleep(AFTER_FAILURE_S)

        return run

    @property
    def late(self) -> str | None:
        """Which work has not succeeded for too long, in words for administrators; None: all of it goes on.

        Tokens do not depend on it today: it makes a server degraded, never not ready.
        """
        late = [name for name, idle_s in self.idle_s.items() if idle_s > self._late_after_s[name]]
        return f"without success for a minute or longer: {', '.join(late)}" if late else None

    @property
    def idle_s(self) -> Mapping[Work, float]:
        """How long ago each work that goes on here last succeeded, or was begun."""
        now = self._clock()
        return {name: now - at for name, at in self._succeeded_at.items()}


def empty_terminating_namespaces(
    snapshot: Callable[[], Snapshot | None], resources: Resources, emit: Emit
) -> Callable[[], Awaitable[None]]:
    """Removes a batch of the contents of every deleted namespace; their tokens ended when they were deleted."""

    async def step() -> None:
        current = snapshot()
        for namespace in sorted(current.terminating) if current is not None else ():
            try:
                await resources.empty_namespace(namespace)
            except DatabaseUnavailable:
                return
            except Exception as error:  # noqa: BLE001 - one namespace must not stop the others
                emit(WorkFailed("namespaces", namespace, type(error).__name__, place_of(error)))
                await asyncio.sleep(AFTER_FAILURE_S)

    return step


async def trim_change_log(database: Database) -> None:
    """Forgets what was written more than a day ago, a batch a transaction."""
    more = True
    while more:
        async with database.transaction() as connection:
            more = await trim_log(connection, KEEP_CHANGES_S)


async def forget_usage(database: Database, keep_days: int) -> None:
    """Forgets usage that is older than that, and what strangers were refused long ago, a batch a transaction."""
    for trim in (lambda connection: trim_usage(connection, keep_days), trim_refusals):
        more = True
        while more:
            async with database.transaction() as connection:
                more = await trim(connection)
    async with database.transaction() as connection:
        await trim_positions(connection)
