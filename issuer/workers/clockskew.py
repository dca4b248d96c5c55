"""How far this machine's clock is from the database's, which schedules follow; tokens carry the times of this one.

Measured with every poll. What the answer's way took is uncertain: it is assumed to have taken half of it in each direction,
and only what is beyond doubt counts, so that a slow network or a paused process is never taken for a wrong clock.
"""

from dataclasses import dataclass

from issuer.events import ClockInStep, ClockSkewed, Emit
from issuer.sources import Sources
from issuer.store.clock import Clock
from issuer.store.database import Connection

NOTICED_S = 2.0
REFUSED_S = 30.0
"""Beyond it, verifiers with a usual leeway refuse what is issued here."""
OVER_S = 1.0
"""Back within it, a skew that was said is over: one that lingers around a limit is said once."""


@dataclass(frozen=True, slots=True)
class Skew:
    """Seconds by which this machine's clock is ahead of the database's (negative: behind), give or take `uncertain_s`."""

    ahead_s: float
    uncertain_s: float

    @property
    def at_least_s(self) -> float:
        """How far the clocks are apart beyond doubt."""
        return max(0.0, abs(self.ahead_s) - self.uncertain_s)

    def __str__(self) -> str:
        """In words."""
        return f"{abs(self.ahead_s):.1f} s {'ahead of' if self.ahead_s >= 0 else 'behind'} the database's"


class SkewWatch:
    """Keeps the last measurement, and says once when it passes a limit and once when that is over."""

    def __init__(self, clock: Clock, sources: Sources, emit: Emit) -> None:
        self._clock = clock
        self._sources = sources
        self._emit = emit
        self._said_s = 0.0
        self.skew: Skew | None = None
        """None before the first measurement."""

    async def measure(self, connection: Connection) -> None:
        """Reads both clocks; the transaction's first statement, so that its instant lies between question and answer."""
        asked_at = self._sources.now()
        there = await self._clock(connection)
        # By the same clock: one that is set meanwhile, or a machine that slept, makes it uncertain and not wrong.
        half = (self._sources.now() - asked_at) / 2
        self.skew = Skew((asked_at + half - there).total_seconds(), abs(half.total_seconds()))
        self._say(self.skew)

    @property
    def why_not_ready(self) -> str | None:
        """None while what is issued here can be believed elsewhere."""
        if self.skew is None or self.skew.at_least_s <= REFUSED_S:
            return None
        return f"this machine's clock is {self.skew}, more than {REFUSED_S:g} s"

    @property
    def degraded(self) -> str | None:
        """None while nobody would notice."""
        if self.skew is None or self.skew.at_least_s <= NOTICED_S:
            return None
        return f"this machine's clock is {self.skew}"

    def _say(self, skew: Skew) -> None:
        passed_s = max((limit_s for limit_s in (NOTICED_S, REFUSED_S) if skew.at_least_s > limit_s), default=0.0)
        if passed_s > self._said_s:
            self._said_s = passed_s
            self._emit(ClockSkewed(round(skew.ahead_s, 3), round(skew.uncertain_s, 3), passed_s))
        elif self._said_s and abs(skew.ahead_s) + skew.uncertain_s <= OVER_S:
            self._said_s = 0.0
            self._emit(ClockInStep(round(skew.ahead_s, 3)))
