"""How many connections a port holds, and which of too many has to go."""

from collections import OrderedDict
from typing import Protocol


class Guest(Protocol):
    """A connection of a room."""

    def give_way(self) -> None:
        """Makes a place at once."""


class Room:
    """Who has to go when a port holds as many connections as it may: whoever has waited longest with nothing to answer.

    Strangers that hold connections keep nobody out that way, and clients that use theirs keep them (as nginx does with its
    idle connections). Nothing is there to answer while a handshake is not done, and while a client does not read.
    """

    def __init__(self, max_connections: int | None = None) -> None:
        self._max_connections = max_connections
        self._guests: set[Guest] = set()
        self._resting: OrderedDict[Guest, None] = OrderedDict()

    def enter(self, guest: Guest) -> bool:
        """Whether there is a place for it, which somebody may have had to give up. It counts until it leaves, either way."""
        self._guests.add(guest)
        if self._max_connections is None or len(self._guests) <= self._max_connections:
            return True
        if not self._resting:
            return False
        oldest, _ = self._resting.popitem(last=False)
        self._guests.discard(oldest)
        oldest.give_way()
        return True

    def rest(self, guest: Guest) -> None:
        """It has nothing to be answered from now on."""
        if guest in self._guests:
            self._resting[guest] = None

    def work(self, guest: Guest) -> None:
        """It is being answered."""
        self._resting.pop(guest, None)

    def leave(self, guest: Guest) -> None:
        """It is gone."""
        self._guests.discard(guest)
        self._resting.pop(guest, None)
