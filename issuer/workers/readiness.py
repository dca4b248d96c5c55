"""Whether the whole server can issue tokens, and what it has done: every worker says so of itself, the admin process listens.

A worker that is not heard of any more is not ready, whatever it said last; what it has counted by then stays counted.
"""

import asyncio
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter

from issuer.events import Work

SAY_S = 0.25
SILENT_S = 3.0
_MAX_BYTES = 65_536
"""Several times what a State takes."""


@dataclass(frozen=True, slots=True)
class State:
    """What one process says of itself. `why_not_ready` None: ready; `revision` is how far it follows the database.

    `clock_ahead_s`: how far its clock is ahead of the database's, None before that was measured. `followed_s`: how long ago
    it saw the database last. `accounts` are in memory; `hits`, `misses` and `queries`: how often one was found there, had to
    be read, and what reading cost. `idle_s`: how long ago each piece of background work last succeeded. `counted`: the
    numbers of `observe.metrics`.
    """

    why_not_ready: str | None
    degraded: str | None
    revision: int
    clock_ahead_s: float | None = None
    pid: int | None = None
    followed_s: float | None = None
    accounts: int = 0
    hits: int = 0
    misses: int = 0
    queries: int = 0
    idle_s: Mapping[Work, float] = field(default_factory=dict)
    counted: Sequence[float] = ()


_PARTS = attrgetter(*(part.name for part in fields(State)))
"""Not `astuple`, which copies every number."""


class Readiness:
    """The admin process's view: its own state and that of `workers`, each of which reports into `channel`."""

    def __init__(self, own: Callable[[], State], clock: Callable[[], float], workers: int = 0) -> None:
        self.own = own
        self._clock = clock
        self._since = clock()
        self._heard: dict[str, tuple[float, State | None]] = {
            f"worker-{number}": (self._since, None) for number in range(1, workers + 1)
        }

    @property
    def why_not_ready(self) -> str | None:
        """None when every process is ready, else what is missing, in plain words."""
        return next((state.why_not_ready for state in self.states().values() if state.why_not_ready), None)

    def states(self) -> Mapping[str, State]:
        """What every process says of itself, by name."""
        now = self._clock()
        states = {"admin": self.own()} if self._heard else {"server": self.own()}
        for name, (at, said) in self._heard.items():
            if said is None:
                states[name] = State("a worker has not started yet", None, 0)
            elif now - at > SILENT_S:
                states[name] = replace(said, why_not_ready="a worker does not answer")
            else:
                states[name] = said
        return states

    async def listen(self, channel: socket.socket) -> None:
        """Hears the workers, for ever."""
        channel.settimeout(0)
        loop = asyncio.get_running_loop()
        while True:
            name, *said = json.loads(await loop.sock_recv(channel, _MAX_BYTES))
            self._heard[name] = (self._clock(), State(*said))


async def report(channel: socket.socket, name: str, own: Callable[[], State]) -> None:
    """Says how this worker is, for ever. A full channel is the listener's trouble, and will be noticed as silence."""
    channel.settimeout(0)
    while True:
        with suppress(OSError):
            channel.send(json.dumps([name, *_PARTS(own())]).encode())
        await asyncio.sleep(SAY_S)
