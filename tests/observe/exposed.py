"""What `/metrics` has to say of a server to which everything has happened, without one."""

from typing import get_args

from prometheus_client.core import Metric

from issuer.events import Work
from issuer.observe.metrics import Counts
from issuer.web.metrics import Exposition
from issuer.workers.readiness import Readiness, State


def whole_state() -> State:
    """Of a process that knows everything about itself."""
    idle_s = dict.fromkeys(get_args(Work), 0.5)
    return State(None, None, 7, clock_ahead_s=0.1, followed_s=0.2, idle_s=idle_s, counted=Counts().numbers)


def exposed() -> list[Metric]:
    """Every metric but those of /proc."""
    return list(Exposition(Readiness(whole_state, lambda: 0.0)).collect())


def names(metrics: list[Metric]) -> set[str]:
    """What may be asked for in a query."""
    return {sample.name for metric in metrics for sample in metric.samples}
