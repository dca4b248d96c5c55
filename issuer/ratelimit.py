"""How much anybody may ask of one process: rates, and room to wait. Clock in, verdict out, memory bounded.

Rates follow the generic cell rate algorithm, one instant per key: a minute's allowance may be taken at once, after which it
fills again evenly; that is what a fleet starting up needs, and what a runaway loop does not get around.

    rate                key → value                        bound            evicted                   stale
    tokens              client_id → instant                max_accounts     least recently counted    never: this process's own
    failures            client_id and source → instant     100,000          least recently counted    never
    failures            source → instant                   100,000          least recently counted    never
    failures            client_id → instant                100,000          least recently counted    never
    expected            key of a rate → how many           those who wait   their look                never

Whoever is evicted begins anew, with a full minute. All of it is per process (see the README).
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

_MINUTE_S = 60


class NoPlace(Exception):
    """As many wait as may."""


class Rates:
    """Theoretical arrival times by key. `now` is any monotonic seconds."""

    def __init__(self, max_keys: int) -> None:
        self._max_keys = max_keys
        self._arrivals: OrderedDict[str, float] = OrderedDict()
        self._expected: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._arrivals)

    def wait_s(self, key: str, per_minute: int, now: float, *, beside_expected: bool = False) -> int | None:
        """None when one more is within the limit, else the whole seconds to wait.

        `beside_expected`: as if those who are expected were counted already, unless nothing was counted lately. The wait that
        is named is without them: they find out soon, and most may not fail.
        """
        interval = _MINUTE_S / per_minute
        ahead, expected = interval, 0.0
        arrival = self._arrivals.get(key, 0.0)
        if arrival > now:
            ahead += arrival - now
            if beside_expected:
                expected = self._expected[key] * interval
        # Half an interval of slack: sums of intervals are not exact, and the last of a full minute is one of them.
        return max(1, math.ceil(ahead - _MINUTE_S)) if ahead + expected > _MINUTE_S + interval / 2 else None

    def count(self, key: str, per_minute: int, now: float) -> None:
        """One more, within the limit or not."""
        self._arrivals[key] = max(self._arrivals.get(key, 0.0), now) + _MINUTE_S / per_minute
        self._arrivals.move_to_end(key)
        if len(self._arrivals) > self._max_keys:
            self._arrivals.popitem(last=False)

    def admit(self, key: str, per_minute: int, now: float) -> int | None:
        """`wait_s`; one that is within the limit is counted."""
        wait_s = self.wait_s(key, per_minute, now)
        if wait_s is None:
            self.count(key, per_minute, now)
        return wait_s

    def expect(self, key: str) -> None:
        """One more may have to be counted soon."""
        self._expected[key] += 1

    def expect_no_more(self, key: str) -> None:
        """One of those who were expected is not any more, counted or not."""
        self._expected[key] -= 1
        if not self._expected[key]:
            del self._expected[key]


class FailureRates:
    """How often authentication may fail: for a client from a source, for a source, and for a client from wherever.

    A source counts whatever it names, a client wherever the guesses come from. Known and unknown clients count alike, so that
    the moment a 429 comes says nothing about which ids exist. `source` is a network (`protocol.source.network_of`).
    """

    PER_MINUTE = 30
    PER_MINUTE_OF_A_SOURCE = 600
    PER_MINUTE_OF_A_CLIENT = 600

    def __init__(self, max_keys: int = 100_000) -> None:
        self._of_pairs = Rates(max_keys)
        self._of_sources = Rates(max_keys)
        self._of_clients = Rates(max_keys)

    def wait_s(self, client_id: str, source: str, now: float) -> int | None:
        """None when a failure is within all rates beside those that are expected, else the whole seconds to wait."""
        return (
            self._of_pairs.wait_s(f"{client_id} {source}", self.PER_MINUTE, now, beside_expected=True)
            or self._of_sources.wait_s(source, self.PER_MINUTE_OF_A_SOURCE, now, beside_expected=True)
            or self._of_clients.wait_s(client_id, self.PER_MINUTE_OF_A_CLIENT, now, beside_expected=True)
        )

    def admit(self, client_id: str, source: str, now: float) -> int | None:
        """A failure that is within all rates is counted: None; else the whole seconds to wait."""
        counted = self._rates(client_id, source)
        waits = (rates.wait_s(key, per_minute, now) for rates, key, per_minute in counted)
        wait_s = next((wait_s for wait_s in waits if wait_s is not None), None)
        if wait_s is None:
            for rates, key, per_minute in counted:
                rates.count(key, per_minute, now)
        return wait_s

    @contextmanager
    def expected(self, client_id: str, source: str, now: float) -> Iterator[None]:
        """Who finds out within the block whether it failed. Raises NoPlace where `wait_s` is not None.

        Without this all of an attack would wait to hear whether it failed as soon as a single failure more was within the
        rates, and then be told all the same that they are too many. A fleet with a secret that is new here may wait as a
        whole: it has not failed.
        """
        if self.wait_s(client_id, source, now) is not None:
            raise NoPlace
        counted = self._rates(client_id, source)
        for rates, key, _ in counted:
            rates.expect(key)
        try:
            yield
        finally:
            for rates, key, _ in counted:
                rates.expect_no_more(key)

    def _rates(self, client_id: str, source: str) -> tuple[tuple[Rates, str, int], ...]:
        """Where a failure counts, under which key, and how often it may in a minute."""
        return (
            (self._of_pairs, f"{client_id} {source}", self.PER_MINUTE),
            (self._of_sources, source, self.PER_MINUTE_OF_A_SOURCE),
            (self._of_clients, client_id, self.PER_MINUTE_OF_A_CLIENT),
        )


class Places:
    """Room to wait for something: so many in all, so many of them for one source."""

    def __init__(self, most: int, most_of_a_source: int) -> None:
        self._most = most
        self._most_of_a_source = most_of_a_source
        self._taken: Counter[str] = Counter()
        self._all = 0

    def __len__(self) -> int:
        return self._all

    @contextmanager
    def place(self, source: str) -> Iterator[None]:
        """A place for as long as the block lasts. Raises NoPlace."""
        if self._all >= self._most or self._taken[source] >= self._most_of_a_source:
            raise NoPlace
        self._all += 1
        self._taken[source] += 1
        try:
            yield
        finally:
            self._all -= 1
            self._taken[source] -= 1
            if not self._taken[source]:
                del self._taken[source]
