"""Events become numbers that only grow, for Prometheus. What is *now* is no event: `web.metrics` asks for it when it is read.

House rules:

- Which series there are is fixed when the program starts. Every label has a closed list of values, and whatever is not in it is
  `other`: no stranger and no account, however many, ever adds a series, and no label is a name that somebody chose.
- A process counts into one list of plain numbers. It is the same list in every process of a server, so what a worker reports
  of it is the list as it is, and the admin process adds the lists up. They are totals and not differences: a report that is
  lost is made good by the next one.
- One event loop a process emits events, so that counting is an addition, without a lock.

prometheus_client's own way for several processes was weighed and left: it maps a file of each process into memory. That wants a
directory to write to, an environment variable that is set before the library is imported, a lock and a look at the process id
for each number, and it knows no gauge that is computed when it is read. The channel on which workers report their readiness
is there anyway, and a server of which a worker ends starts anew as a whole. The library has what it is best at: the formats.
"""

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter
from typing import Any, get_args

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family

from issuer import events
from issuer.events import EVENT_TYPES, Event, Work
from issuer.failures import Failure
from issuer.model.kinds import KINDS
from issuer.protocol.response import refusal_answer

OTHER = "other"
"""The value of a label for whatever is in no list."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A counter, or with `buckets` (upper bounds) a histogram; with `label` one for each of `values`, and one for the rest."""

    name: str
    meaning: str
    label: str = ""
    values: tuple[Hashable, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def series(self) -> tuple[Hashable, ...]:
        """The values of the label; of a metric without one, a single value that nobody sees."""
        return (*self.values, OTHER) if self.label else (OTHER,)

    @property
    def width(self) -> int:
        """How many numbers a series takes: of a histogram a bucket each, the last without bound, and their sum."""
        return len(self.buckets) + 2 if self.buckets else 1


@dataclass(frozen=True, slots=True)
class Reading:
    """An event is one more of `metric`, or `amount` more; of a histogram, `amount` is observed.

    `label` finds the value in it.
    """

    metric: Metric
    label: Callable[[Any], Hashable] = lambda _: OTHER
    amount: Callable[[Any], float] | None = None


def _key_step(step: str) -> Reading:
    return Reading(_KEY_STEPS, lambda _: step)


_KEY_STEPS = Metric(
    "issuer_signing_key_steps_total",
    "Steps in the lives of signing keys that this server took.",
    "step",
    ("published", "activated", "activated_early", "retiring", "forgotten", "compromised"),
)
_STATUSES = tuple(sorted({200, 500} | {refusal_answer(failure).status for failure in Failure}))

READINGS: Mapping[type[Event], Reading | None] = {
    events.TokenIssued: Reading(Metric("issuer_tokens_issued_total", "Access tokens that were issued.")),
    events.TokenRefused: Reading(
        Metric(
            "issuer_token_refusals_total",
            "Token requests that were refused, by cause.",
            "failure",
            tuple(failure.name.lower() for failure in Failure),
        ),
        attrgetter("failure"),
    ),
    events.TokenAnswered: Reading(
        Metric(
            "issuer_token_request_duration_seconds",
            "From the last byte of a token request to its answer, by HTTP status.",
            "status",
            _STATUSES,
            (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
        ),
        attrgetter("status"),
        attrgetter("duration_s"),
    ),
    events.RetiredSecretPresented: Reading(
        Metric("issuer_retired_secrets_presented_total", "Secrets that were presented after their end.")
    ),
    events.SecretFirstUsed: Reading(
        Metric("issuer_secret_first_uses_total", "Pending secrets that became active because they were used.")
    ),
    events.SecretRotated: Reading(Metric("issuer_secret_rotations_total", "Secrets that rotation has made.")),
    events.SecretHoldEnded: Reading(
        Metric("issuer_secret_holds_ended_total", "Secrets whose time ended although nobody came for the next one.")
    ),
    events.DeliveryOverdue: Reading(
        Metric("issuer_secret_deliveries_overdue_total", "Secrets that began to wait for their driver for too long.")
    ),
    events.FirstUseNotRecorded: Reading(
        Metric("issuer_secret_first_uses_unrecorded_total", "Attempts to write a first use that failed.")
    ),
    events.ResourceWritten: Reading(
        Metric(
            "issuer_writes_total",
            "Objects that were written, by administrators, drivers and the server itself.",
            "kind",
            tuple(kind.kind for kind in KINDS),
        ),
        attrgetter("kind"),
    ),
    events.AdminRequestRefused: Reading(
        Metric("issuer_admin_requests_refused_total", "Requests to the admin API that were answered with 401 or 403.")
    ),
    events.SnapshotLoaded: Reading(
        Metric("issuer_snapshots_loaded_total", "Snapshots of the world that came into force, in all processes.")
    ),
    events.SnapshotStale: None,  # its age is a gauge
    events.SnapshotCurrent: None,  # the same
    events.ClockSkewed: None,  # the skew is a gauge
    events.ClockInStep: None,  # the same
    events.ListenerLost: Reading(
        Metric("issuer_listener_losses_total", "Times that the notices of the database were lost.")
    ),
    events.WorldReplaced: Reading(
        Metric("issuer_worlds_replaced_total", "Times that the database was another one than before.")
    ),
    events.ServerReady: None,  # there is nobody to be asked before it
    events.ServerStopping: None,  # nor after it
    events.ProcessEnded: None,  # the same: a process that ends takes the whole server along
    events.CertificateLoaded: Reading(
        Metric("issuer_certificates_loaded_total", "Renewed certificates that were taken up.")
    ),
    events.CertificateRefused: Reading(
        Metric("issuer_certificates_refused_total", "Looks at a renewed certificate that cannot be used.")
    ),
    events.DecisionsRecorded: Reading(
        Metric(
            "issuer_record_batch_duration_seconds",
            "How long a batch of decisions took to become durable, by where it is: database or spool.",
            "kept",
            ("database", "spool"),
            (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
        ),
        attrgetter("kept"),
        attrgetter("took_s"),
    ),
    events.RecordsNotDurable: Reading(
        Metric("issuer_record_outages_total", "Times that decisions could not be committed for a second.")
    ),
    events.RecordsDurable: None,  # the end of what was counted at its beginning
    events.SpoolFailed: Reading(
        Metric("issuer_spool_failures_total", "Batches of decisions that the spool did not take.")
    ),
    events.SpoolAdopted: Reading(
        Metric("issuer_spools_adopted_total", "Spools that a process that is gone had left behind.")
    ),
    events.DecisionsNotRecorded: Reading(
        Metric("issuer_decisions_unrecorded_total", "Refusals of accounts that could not be recorded."),
        amount=attrgetter("refusals"),
    ),
    events.CheckpointSigned: Reading(
        Metric("issuer_checkpoints_total", "Checkpoints over the record that were signed.")
    ),
    events.DayExported: None,  # once a day; `issuer check` finds a day that stays
    events.DayDropped: None,  # the same
    events.DayKept: Reading(
        Metric("issuer_retention_failures_total", "Days of decisions that stay although their time is over.")
    ),
    events.AdminRecordsDropped: None,  # as a day that is dropped
    events.RequestFailed: Reading(
        Metric("issuer_requests_failed_total", "Requests on either port that hit an error of ours.")
    ),
    events.WorkFailed: Reading(
        Metric(
            "issuer_work_failures_total",
            "Pieces of background work that hit an error of ours.",
            "work",
            get_args(Work),
        ),
        attrgetter("worker"),
    ),
    events.SchemaMigrated: None,  # commands beside the database, which nobody reads metrics of
    events.Bootstrapped: None,  # the same
    events.MasterKeyReplaced: None,  # the same
    events.KeyPublished: _key_step("published"),
    events.KeyActivated: _key_step("activated"),
    events.KeyActivatedEarly: _key_step("activated_early"),
    events.KeyRetiring: _key_step("retiring"),
    events.KeyForgotten: _key_step("forgotten"),
    events.KeyCompromised: _key_step("compromised"),
    events.KeysCrowded: Reading(
        Metric("issuer_signing_keys_crowded_total", "Times that more keys of a KeySet were published than should be.")
    ),
    events.KeyIntervalTooShort: None,  # said once, when it is written; `issuer check` finds it
    events.ScheduleScaled: None,  # a setting; `issuer check` finds it
    events.EmbeddedPostgresReady: None,  # development only
    events.EmbeddedPostgresDied: None,  # the same
}
if unread := EVENT_TYPES - READINGS.keys():  # pragma: no cover
    raise RuntimeError(f"no reading for {unread}")

METRICS: tuple[Metric, ...] = tuple(dict.fromkeys(each.metric for each in READINGS.values() if each is not None))


class Counts:
    """What was counted in this process. `numbers` is everything: a report to another process, or a part of a sum."""

    def __init__(self) -> None:
        self.numbers: list[float] = [0] * sum(len(metric.series) * metric.width for metric in METRICS)
        first = dict(zip(METRICS, accumulate((len(m.series) * m.width for m in METRICS), initial=0), strict=False))
        self._reads = {
            kind: self._reader(reading, first[reading.metric])
            for kind, reading in READINGS.items()
            if reading is not None
        }

    def read(self, event: Event) -> None:
        """Counts the event, if it is one that is counted. Never raises."""
        read = self._reads.get(type(event))
        if read is not None:
            read(event)

    def _reader(self, reading: Reading, first: int) -> Callable[[Any], None]:
        metric, numbers, label, amount = reading.metric, self.numbers, reading.label, reading.amount
        places = {value: first + place * metric.width for place, value in enumerate(metric.series)}
        other = places[OTHER]
        bounds, total = metric.buckets, len(metric.buckets) + 1

        def count(event: Any) -> None:
            numbers[places.get(label(event), other)] += 1

        if amount is None:
            return count

        def add(event: Any) -> None:
            numbers[places.get(label(event), other)] += amount(event)

        def observe(event: Any) -> None:
            start, observed = places.get(label(event), other), amount(event)
            numbers[start + bisect_left(bounds, observed)] += 1
            numbers[start + total] += observed

        return observe if bounds else add


def families(numbers: Sequence[float]) -> Iterator[Family]:
    """The metrics as the library writes them. `numbers`: those of one process, or the sum over several."""
    rest = iter(numbers)
    for metric in METRICS:
        labels = [metric.label] if metric.label else []
        made: CounterMetricFamily | HistogramMetricFamily = (
            HistogramMetricFamily(metric.name, metric.meaning, labels=labels)
            if metric.buckets
            else CounterMetricFamily(metric.name, metric.meaning, labels=labels)
        )
        for value in metric.series:
            of = [str(value)] if metric.label else []
            if isinstance(made, CounterMetricFamily):
                made.add_metric(of, next(rest))
            else:
                bounds = [*map(str, metric.buckets), "+Inf"]
                reached = accumulate(next(rest) for _ in bounds)
                made.add_metric(of, list(zip(bounds, reached, strict=True)), next(rest))
        yield made
