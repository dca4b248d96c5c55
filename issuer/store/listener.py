"""A connection of its own that hears of writes the moment they are committed. Polling stays the truth: this only wakes it.

Whatever is said on the channel means "look now", its text included. A connection that ends is made anew; one that hangs
silently is found out by a heartbeat. Meanwhile nothing is lost but the head start over the next poll.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from issuer.events import Emit, ListenerLost
from issuer.settings import DatabaseSettings
from issuer.store.database import DatabaseUnavailable, connect, database_errors
from issuer.store.resources import CHANNEL

HEARTBEAT_S = 5.0
HEARTBEAT_TIMEOUT_S = 2.0
FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 5.0


class Listener:
    """Calls `heard` for every notice, and whenever it begins to listen, since what was said before that was missed."""

    def __init__(self, url: str, settings: DatabaseSettings, heard: Callable[[], None], emit: Emit) -> None:
        self._url = url
        self._settings = settings
        self._heard = heard
        self._emit = emit
        self._backoff_s = FIRST_BACKOFF_S
        self._reported = False

    async def run(self) -> None:
        """Listens for ever. One event each time it falls silent, however often it tries again."""
        while True:
            try:
                with database_errors():
                    await self._listen()
            except Exception as error:  # noqa: BLE001 - the driver's bugs included: a head start is worth no process
                if not self._reported:
                    # The words of errors that are not ours may quote what was sent.
                    self._emit(
                        ListenerLost(str(error) if isinstance(error, DatabaseUnavailable) else type(error).__name__)
                    )
                    self._reported = True
            await asyncio.sleep(self._backoff_s)
            self._backoff_s = min(2 * self._backoff_s, MAX_BACKOFF_S)

    async def _listen(self) -> None:
        """Until the connection is lost, which raises."""
        connection = await connect(self._url, self._settings, "issuer listener")
        lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(CHANNEL, lambda *_: self._heard())
            self._backoff_s, self._reported = FIRST_BACKOFF_S, False
            self._heard()
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT_S):
                        await lost.wait()
                if lost.is_set():
                    raise DatabaseUnavailable("the connection was closed")
                await connection.execute("SELECT 1", timeout=HEARTBEAT_TIMEOUT_S)
        finally:
            connection.terminate()
