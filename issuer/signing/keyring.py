"""The states of a signing key, pure (DESIGN section 7).

    pending ──activated──▶ active ──a newer one activated──▶ retiring ──retires_at──▶ retired
       └──────────────────────── compromised: leaves the JWKS at once ───────────────────┘

As with secrets, instants are stored and states computed. A ring always has one published pending key beside the active one;
the schedule that moves them is a worker's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class KeyState(StrEnum):
    """Where a key stands in its life."""

    PENDING = "pending"
    ACTIVE = "active"
    RETIRING = "retiring"
    RETIRED = "retired"
    COMPROMISED = "compromised"


PUBLISHED_STATES = frozenset({KeyState.PENDING, KeyState.ACTIVE, KeyState.RETIRING})


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One signing key without its private half. `kid` is the RFC 7638 thumbprint of `public_jwk`."""

    kid: str
    keyset: str
    algorithm: str
    public_jwk: Mapping[str, Any]
    created_at: datetime
    published_at: datetime | None = None
    activated_at: datetime | None = None
    retires_at: datetime | None = None
    compromised_at: datetime | None = None
    signed_ttl_s: float = 0
    """The longest lifetime tokens could have while it signed, as far as it is longer than today's."""

    def state_at(self, now: datetime) -> KeyState:
        """The state at an instant."""
        if self.compromised_at is not None:
            return KeyState.COMPROMISED
        if self.activated_at is None:
            return KeyState.PENDING
        if self.retires_at is None:
            return KeyState.ACTIVE
        return KeyState.RETIRING if now < self.retires_at else KeyState.RETIRED


def active_key(keys: Iterable[KeyRecord], now: datetime) -> KeyRecord | None:
    """The one that signs: active, and published. None when there is none: then nothing is signed."""
    candidates = [key for key in keys if key.state_at(now) is KeyState.ACTIVE and key.published_at is not None]
    return max(candidates, key=lambda key: (key.activated_at or key.created_at, key.kid), default=None)


def published_keys(keys: Iterable[KeyRecord], now: datetime) -> tuple[KeyRecord, ...]:
    """What the JWKS shows, oldest first."""
    shown = (key for key in keys if key.published_at is not None and key.state_at(now) in PUBLISHED_STATES)
    return tuple(sorted(shown, key=lambda key: (key.keyset, key.created_at, key.kid)))
