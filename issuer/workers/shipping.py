"""Decisions on their way into the database: one connection, made anew as often as it takes.

A batch is written once, by COPY. When nobody knows what became of it, it is written again, with the same ids, until the
database has said that it has it: exactly once, and in the order of its chain.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from issuer.events import Emit, WorkFailed, place_of
from issuer.record.chain import ChainedRecord, Link
from issuer.store.database import DatabaseUnavailable, RightMissing
from issuer.store.decisions import DecisionWriter

RETRY_S = 0.25


@dataclass(frozen=True, slots=True)
class Access:
    """What a recorder reaches the outside by. Both calls raise DatabaseUnavailable.

    `chain_key`: the id and the key that chains are made with. `host`: how records name this machine.
    """

    connect: Callable[[], Awaitable[DecisionWriter]]
    chain_key: Callable[[], Awaitable[tuple[str, bytes]]]
    host: str


class Shipping:
    """The one connection of a recorder. `trouble`: why the last attempt failed, in a few words."""

    def __init__(self, access: Access, emit: Emit) -> None:
        self._access = access
        self._emit = emit
        self._writer: DecisionWriter | None = None
        self.trouble = ""

    async def begin_chain(self, first: Link, key_id: str) -> None:
        """Makes a chain known. Raises DatabaseUnavailable."""
        await self._once(lambda writer: writer.begin_chain(first, key_id, self._access.host))

    async def tell_head(self, head: Link, *, ended: bool = False) -> None:
        """Says how far the chain has come. Raises DatabaseUnavailable."""
        await self._once(lambda writer: writer.tell_head(head, ended=ended))

    async def write(self, batch: Sequence[ChainedRecord]) -> None:
        """Ends when the batch is committed, however long that takes.

        Raises what the database says of a batch it will never take, which is then not in it.
        """
        try:
            await self._once(lambda writer: writer.write(batch))
        except DatabaseUnavailable:
            await asyncio.sleep(RETRY_S)
            await self.replay(batch)

    async def replay(self, batch: Sequence[ChainedRecord]) -> None:
        """Ends when the batch is committed, which it may have been already."""
        reported = False
        while True:
            try:
                return await self._once(lambda writer: writer.replay(batch))
            except DatabaseUnavailable:
                pass
            except Exception as error:  # noqa: BLE001 - part of it may be committed: it is never given up
                self.trouble = type(error).__name__
                if not reported:
                    self._emit(WorkFailed("record", "", type(error).__name__, place_of(error)))
                    reported = True
            await asyncio.sleep(RETRY_S)

    def close(self) -> None:
        """Ends the connection."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def _once(self, work: Callable[[DecisionWriter], Awaitable[None]]) -> None:
        try:
            if self._writer is None:
                self._writer = await self._access.connect()
            await work(self._writer)
        except DatabaseUnavailable as error:
            self.trouble = str(error)
            self.close()
            raise
        except RightMissing as error:
            # No batch can help it, and it may be given back: as much an outage of the record as any other.
            self.trouble = str(error)
            self.close()
            raise DatabaseUnavailable(self.trouble) from error
        except asyncio.CancelledError:
            # In the middle of something: what comes next must not find it there.
            self.close()
            raise
