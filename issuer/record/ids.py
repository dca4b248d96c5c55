"""Ids of records: UUIDv7, and of one writer each greater than the one before, whatever the clock does."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

_MOST_OF_A_MILLISECOND = (1 << 12) - 1
_RANDOM_BITS = 62


class RecordIds:
    """One writer's ids: millisecond, a counter within it (RFC 9562 section 6.2, method 1), 62 random bits."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._millisecond = 0
        self._count = 0

    def next(self, at: datetime) -> UUID:
        """An id for what happened at that instant; a clock that goes back, or stands, only makes the counter grow."""
        millisecond = int(at.timestamp() * 1000)
        if millisecond > self._millisecond:
            self._millisecond, self._count = millisecond, 0
        elif self._count < _MOST_OF_A_MILLISECOND:
            self._count += 1
        else:
            self._millisecond, self._count = self._millisecond + 1, 0
        chance = int.from_bytes(self._random_bytes(8), "big") >> 64 - _RANDOM_BITS
        return UUID(int=self._millisecond << 80 | 0x7 << 76 | self._count << 64 | 0b10 << 62 | chance)
