"""The first use of a pending secret: the one thing the token path writes, handed over so that no token waits for it."""

import asyncio
from uuid import UUID

from issuer.administration.secrets import SecretKeeper
from issuer.events import Emit, FirstUseNotRecorded, WorkFailed, place_of
from issuer.model.resource import client_id_of, parse_client_id
from issuer.store.database import DatabaseUnavailable

MAX_WAITING = 10_000
_RETRY_S = 1.0


class FirstUses:
    """A bounded set of first uses not written yet. One that does not fit is noted again at the secret's next use."""

    def __init__(self, keeper: SecretKeeper, emit: Emit) -> None:
        self._keeper = keeper
        self._emit = emit
        self._waiting: dict[tuple[UUID, int], None] = {}
        self._wake = asyncio.Event()

    def note(self, client_id: str, version: int) -> None:
        """Called by the token path; never waits."""
        uid = parse_client_id(client_id)
        if uid is not None and len(self._waiting) < MAX_WAITING:
            self._waiting[uid, version] = None
            self._wake.set()

    async def run(self) -> None:
        """Writes what was noted, one after the other, until the process ends."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()

    async def flush(self) -> None:
        """Writes what is waiting now. While the database is away nothing is lost but time."""
        while self._waiting:
            uid, version = next(iter(self._waiting))
            try:
                await self._keeper.record_first_use(uid, version)
            except DatabaseUnavailable as error:
                self._emit(FirstUseNotRecorded(client_id_of(uid), version, str(error)))
                # To the end of the line: one account that is locked must not hold up the others.
                self._waiting[uid, version] = self._waiting.pop((uid, version), None)
                await asyncio.sleep(_RETRY_S)
                continue
            except Exception as error:  # noqa: BLE001 - noted again at its next use; the worker goes on
                self._emit(WorkFailed("first uses", client_id_of(uid), type(error).__name__, place_of(error)))
            self._waiting.pop((uid, version), None)
