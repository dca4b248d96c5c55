"""Time and randomness: the two inputs that no value can give. Made in `wiring`, replaced in tests, nowhere else called."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_urlsafe
from uuid import UUID, uuid4

from issuer.credentials import format_secret


@dataclass(frozen=True, slots=True)
class Sources:
    """What is taken from outside. `now` is aware and UTC; `elapsed_s` only ever grows."""

    now: Callable[[], datetime]
    elapsed_s: Callable[[], float]
    token_id: Callable[[], str]
    uid: Callable[[], UUID]
    client_secret: Callable[[], str]
    random_bytes: Callable[[int], bytes]

    def event_id(self) -> UUID:
        """A UUIDv7 (RFC 9562 section 5.7): event ids sort by time, so their index stays dense."""
        milliseconds = int(self.now().timestamp() * 1000)
        value = (milliseconds & (1 << 48) - 1) << 80 | int.from_bytes(self.random_bytes(10), "big")
        value = value & ~(0xF << 76) | 7 << 76
        return UUID(int=value & ~(0b11 << 62) | 0b10 << 62)


def system_sources() -> Sources:
    """The machine's clock and the kernel's randomness."""
    return Sources(
        now=lambda: datetime.now(UTC),  # noqa: TID251 - the one place the clock is read
        elapsed_s=time.monotonic,
        token_id=lambda: token_urlsafe(16),
        uid=uuid4,
        client_secret=lambda: format_secret(os.urandom(32)),
        random_bytes=os.urandom,
    )
