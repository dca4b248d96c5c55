"""Whether the whole server can issue tokens: every worker says so of itself, the admin process listens.

A worker that is not heard of any more is not ready, whatever it said last.
"""

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

SAY_S = 0.25
SILENT_S = 3.0
_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class State:
    """What one process says of itself. `why_not_ready` None: ready; `revision` is how far it follows the database.

    `clock_ahead_s`: how far its clock is ahead of the database's, None before that was measured.
    """

    why_not_ready: str | None
    degraded: str | None
    revision: int
    clock_ahead_s: float | None = None

    def to_json(self) -> Mapping[str, object]:
        """As said over the socket."""
        return {
            "whyNotReady": self.why_not_ready,
            "degraded": self.degraded,
            "revision": self.revision,
            "clockAheadS": self.clock_ahead_s,
        }


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
                states[name] = State("a worker does not answer", None, said.revision)
            else:
                states[name] = said
        return states

    async def listen(self, channel: socket.socket) -> None:
        """Hears the workers, for ever."""
        channel.settimeout(0)
        loop = asyncio.get_running_loop()
        while True:
            said = json.loads(await loop.sock_recv(channel, _MAX_BYTES))
            state = State(said["whyNotReady"], said["degraded"], said["revision"], said["clockAheadS"])
            self._heard[said["name"]] = (self._clock(), state)


async def report(channel: socket.socket, name: str, own: Callable[[], State]) -> None:
    """Says how this worker is, for ever. A full channel is the listener's trouble, and will be noticed as silence."""
    channel.settimeout(0)
    while True:
        with suppress(OSError):
            channel.send(json.dumps({"name": name, **own().to_json()}).encode())
        await asyncio.sleep(SAY_S)
