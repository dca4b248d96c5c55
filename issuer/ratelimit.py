"""`maxTokensPerMinute`: the generic cell rate algorithm, one instant per account (per process; see the README).

Clock in, verdict out: `admit` decides and remembers in one step, with bounded memory. A minute's allowance may be taken at
once, after which it fills again evenly; that is what a fleet starting up needs, and what a runaway loop does not get around.
"""

import math
from collections import OrderedDict

_MINUTE_S = 60


class TokenRates:
    """Theoretical arrival times by client_id. Least recently used go first: an evicted account begins with a full minute."""

    def __init__(self, max_accounts: int) -> None:
        self._max_accounts = max_accounts
        self._arrivals: OrderedDict[str, float] = OrderedDict()

    def admit(self, client_id: str, per_minute: int, now: float) -> int | None:
        """None when one more token is within the limit, else the whole seconds to wait. `now`: any monotonic seconds."""
        interval = _MINUTE_S / per_minute
        arrival = max(self._arrivals.get(client_id, 0.0), now)
        # Half an interval of slack: sums of intervals are not exact, and the last token of a full minute is one of them.
        if arrival + interval - now > _MINUTE_S + interval / 2:
            return max(1, math.ceil(arrival + interval - now - _MINUTE_S))
        self._arrivals[client_id] = arrival + interval
        self._arrivals.move_to_end(client_id)
        if len(self._arrivals) > self._max_accounts:
            self._arrivals.popitem(last=False)
        return None
