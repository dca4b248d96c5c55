"""`/metrics`: what the whole server has counted, and how each of its processes is at this moment.

Open, as Prometheus expects it, and without a name that anybody chose: not of an account, a namespace, a key or a KeySet. The
labels are closed lists (`observe.metrics`) and the processes of this server.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from issuer.events import Work
from issuer.observe.metrics import families
from issuer.workers.readiness import Readiness, State

_OPENMETRICS = "application/openmetrics-text"


@dataclass(frozen=True, slots=True)
class Said:
    """What each process says of itself, under the label `process`; None: it does not know yet."""

    name: str
    meaning: str
    of: Callable[[State], float | None]
    family: type[GaugeMetricFamily | CounterMetricFamily] = GaugeMetricFamily


SAID = (
    Said("issuer_process_ready", "1 while the process does its part, else 0.", lambda state: not state.why_not_ready),
    Said(
        "issuer_process_degraded",
        "1 while something costs freshness or is late, else 0.",
        lambda state: bool(state.degraded),
    ),
    Said("issuer_snapshot_revision", "How far the process follows the database.", lambda state: state.revision),
    Said(
        "issuer_snapshot_age_seconds", "How long ago the process saw the database last.", lambda state: state.followed_s
    ),
    Said(
        "issuer_clock_skew_seconds",
        "How far the process's clock is ahead of the database's (negative: behind).",
        lambda state: state.clock_ahead_s,
    ),
    Said("issuer_directory_accounts", "Accounts in memory.", lambda state: state.accounts),
    Said("issuer_directory_hits_total", "Accounts found in memory.", lambda state: state.hits, CounterMetricFamily),
    Said(
        "issuer_directory_misses_total",
        "Requests that had to wait until an account was read.",
        lambda state: state.misses,
        CounterMetricFamily,
    ),
    Said(
        "issuer_directory_queries_total",
        "Queries that read them, many by one.",
        lambda state: state.queries,
        CounterMetricFamily,
    ),
)


class Exposition(Collector):
    """Everything there is to be read at this moment."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._build = InfoMetricFamily("issuer_build", "The version that runs.", {"version": version("issuer")})

    def collect(self) -> Iterator[Family]:
        """One family for each metric, whether or not there is anything to say yet."""
        states = self._readiness.states()
        ready = not any(state.why_not_ready for state in states.values())
        yield self._build
        yield GaugeMetricFamily(
            "issuer_ready", "1 while this server can issue tokens, as /readyz says; else 0.", float(ready)
        )
        yield from families(_sums(states))
        for said in SAID:
            yield _labelled(said, states)
        yield _work(states)
        yield from _processes(states)


def metrics_route(readiness: Readiness) -> Route:
    """The route, in the format that is asked for: Prometheus' text or OpenMetrics."""
    exposition = Exposition(readiness)

    async def metrics(request: Request) -> Response:
        # Only the type: of a version that is no number the library makes an error, of any other a part of its answer.
        accepted = request.headers.get("accept", "")
        encode, content_type = choose_encoder(_OPENMETRICS if _OPENMETRICS in accepted else "")
        return Response(encode(exposition), headers={"content-type": content_type, "cache-control": "no-store"})

    return Route("/metrics", metrics)


def _sums(states: Mapping[str, State]) -> list[float]:
    """What all processes have counted together. They are forks of one program, so their lists are alike."""
    return [sum(column) for column in zip(*(s.counted for s in states.values() if s.counted), strict=True)]


def _labelled(said: Said, states: Mapping[str, State]) -> Family:
    family = said.family(said.name, said.meaning, labels=["process"])
    for name, state in states.items():
        value = said.of(state)
        if value is not None:
            family.add_metric([name], float(value))
    return family


def _work(states: Mapping[str, State]) -> Family:
    """The longest ago, where several processes do the same."""
    family = GaugeMetricFamily(
        "issuer_work_last_success_age_seconds", "How long ago background work last succeeded.", labels=["work"]
    )
    longest: dict[Work, float] = {}
    for state in states.values():
        for work, idle_s in state.idle_s.items():
            longest[work] = max(idle_s, longest.get(work, 0.0))
    for work, idle_s in longest.items():
        family.add_metric([work], idle_s)
    return family


def _processes(states: Mapping[str, State]) -> Iterator[Family]:
    """The standard metrics of each process, read from /proc where there is one."""
    whole: dict[str, Family] = {}
    for name, state in states.items():
        if state.pid is None:
            continue
        for family in ProcessCollector(pid=partial(int, state.pid), registry=None).collect():
            known = whole.setdefault(family.name, Family(family.name, family.documentation, family.type))
            known.samples += [sample._replace(labels={"process": name}) for sample in family.samples]
    yield from whole.values()
