"""Several recorders that are one: while one waits for its commit, the next one fills its batch.

Each is a chain of its own, so that none ever has a hole; two keep a core busy that would wait for the disk.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import cycle

from issuer.events import TokenIssued, TokenRefused
from issuer.workers.recorder import Recorder


class Lanes:
    """One worker's record."""

    def __init__(self, recorders: Sequence[Recorder]) -> None:
        self.recorders = recorders
        self._next: Callable[[], Recorder] = cycle(recorders).__next__

    async def open(self) -> bool:
        """Begins every chain, once. Whether it could; else `why_not_durable` says what is missing."""
        return all(await asyncio.gather(*(each.open() for each in self.recorders)))

    @property
    def why_not_durable(self) -> str | None:
        """None while decisions become durable in every lane; else why no token can be issued."""
        return next((each.why_not_durable for each in self.recorders if each.why_not_durable), None)

    async def record(self, issued: TokenIssued) -> None:
        """Ends when the token is on record. Raises Refusal (503) when that cannot be, or not in time."""
        await self._lane().record(issued)

    def note(self, refused: TokenRefused) -> None:
        """Records the refusal of an account, without waiting."""
        self._lane().note(refused)

    def _lane(self) -> Recorder:
        """One that would write at once; else they take turns."""
        return next((each for each in self.recorders if each.idle), None) or self._next()

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Records for as long as the block lasts, and in it everything that came to it."""
        await self.open()
        running = asyncio.create_task(self.run())
        try:
            yield
            await self.finish()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def run(self) -> None:
        """Writes what waits, until the process ends."""
        async with asyncio.TaskGroup() as lanes:
            for each in self.recorders:
                lanes.create_task(each.run())

    async def finish(self) -> None:
        """Ends when nothing waits any more and the chains are known to have ended in order, the database willing."""
        await asyncio.gather(*(each.finish() for each in self.recorders))
