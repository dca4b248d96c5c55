"""Events become numbers: each event has one reading, and nobody can make a series."""

from typing import get_args

import pytest
from prometheus_client.core import Metric as Family

from issuer.events import (
    EVENT_TYPES,
    Event,
    KeyActivatedEarly,
    KeyPublished,
    ResourceWritten,
    RetiredSecretPresented,
    TokenAnswered,
    TokenIssued,
    TokenRefused,
    Work,
    WorkFailed,
)
from issuer.failures import Failure
from issuer.model.kinds import KINDS
from issuer.observe.metrics import METRICS, OTHER, READINGS, Counts, families
from issuer.protocol.response import refusal_answer
from tests.observe.exposed import exposed
from tests.observe.happened import filled

ISSUED = filled(TokenIssued, "x")


def counted(*happened: Event) -> dict[str, float]:
    """What is not zero after these events, by series."""
    counts = Counts()
    for event in happened:
        counts.read(event)
    return {series: value for series, value in lines(list(families(counts.numbers))).items() if value}


def lines(metrics: list[Family]) -> dict[str, float]:
    return {
        sample.name + "".join(f"{{{label}={value}}}" for label, value in sample.labels.items()): sample.value
        for metric in metrics
        for sample in metric.samples
    }


def test_every_event_has_a_reading_or_is_said_to_have_none() -> None:
    assert READINGS.keys() == EVENT_TYPES


def test_no_two_metrics_have_one_name() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)


EXAMPLES: dict[str, tuple[Event, str]] = {
    "a token": (ISSUED, "issuer_tokens_issued_total"),
    "a refusal, by cause": (
        TokenRefused("secret_wrong", "", "sa-1", "192.0.2.1"),
        "issuer_token_refusals_total{failure=secret_wrong}",
    ),
    "a retired secret": (RetiredSecretPresented("sa-1", 1, "192.0.2.1"), "issuer_retired_secrets_presented_total"),
    "a write, by kind": (
        ResourceWritten("admin", "patch", "ServiceAccount", "payments", "api", 7),
        "issuer_writes_total{kind=ServiceAccount}",
    ),
    "a key that is published": (
        KeyPublished("default", "kid", "ES256"),
        "issuer_signing_key_steps_total{step=published}",
    ),
    "a key that signs too early": (
        KeyActivatedEarly("default", "kid", "old", 1, 2),
        "issuer_signing_key_steps_total{step=activated_early}",
    ),
    "work that failed": (
        WorkFailed("signing keys", "default", "KeyError", "x.py:1"),
        "issuer_work_failures_total{work=signing keys}",
    ),
}


@pytest.mark.parametrize(("event", "series"), EXAMPLES.values(), ids=EXAMPLES.keys())
def test_an_event_is_one_more_of_one_series(event: Event, series: str) -> None:
    assert counted(event, event) == {series: 2}


def test_a_duration_is_in_every_bucket_it_fits_in_and_in_the_sum() -> None:
    duration = "issuer_token_request_duration_seconds"
    of = counted(TokenAnswered(200, 0.3), TokenAnswered(200, 0.5), TokenAnswered(200, 60.0), TokenAnswered(401, 0.0))
    granted = {name.partition("{le=")[2][:-1]: value for name, value in of.items() if "_bucket{status=200}" in name}
    assert granted == {"0.5": 2, "1.0": 2, "2.5": 2, "5.0": 2, "10.0": 2, "+Inf": 3}
    assert (of[f"{duration}_count{{status=200}}"], of[f"{duration}_sum{{status=200}}"]) == (3, 60.8)
    assert of[f"{duration}_bucket{{status=401}}{{le=0.0005}}"] == 1


def test_every_value_that_can_be_met_has_a_series_of_its_own_from_the_start() -> None:
    """A counter that appears when it is first needed has no increase at that moment: alerts would miss it."""
    series = lines(list(families(Counts().numbers)))
    expected = {
        *(f"issuer_token_refusals_total{{failure={failure.name.lower()}}}" for failure in Failure),
        *(f"issuer_work_failures_total{{work={work}}}" for work in get_args(Work)),
        *(f"issuer_writes_total{{kind={kind.kind}}}" for kind in KINDS),
        *(
            f"issuer_token_request_duration_seconds_count{{status={status}}}"
            for status in {200, 500, *(refusal_answer(failure).status for failure in Failure)}
        ),
    }
    assert expected <= series.keys()
    assert not any(series.values())


def test_whatever_is_in_no_list_is_other_and_no_event_whatever_it_holds_makes_a_series_or_fails() -> None:
    counts = Counts()
    before = lines(list(families(counts.numbers))).keys()
    for kind in EVENT_TYPES:
        for value in ("sa-1", "payments/api", "", 'quote"\n', "x" * 10_000):
            counts.read(filled(kind, value))
    after = lines(list(families(counts.numbers)))
    assert after.keys() == before
    for metric in METRICS:
        if metric.label not in {"", "step"}:  # a step is no field of an event, but which event it is
            of_other = [value for name, value in after.items() if f"{{{metric.label}={OTHER}}}" in name]
            assert any(of_other), metric.name


def test_what_several_processes_counted_is_added_up_series_by_series() -> None:
    first, second = Counts(), Counts()
    first.read(ISSUED)
    second.read(ISSUED)
    second.read(TokenAnswered(200, 0.02))
    summed = [sum(pair) for pair in zip(first.numbers, second.numbers, strict=True)]
    series = lines(list(families(summed)))
    assert series["issuer_tokens_issued_total"] == 2
    assert series["issuer_token_request_duration_seconds_sum{status=200}"] == 0.02


@pytest.mark.parametrize("metric", exposed(), ids=lambda metric: metric.name)
def test_names_and_meanings_follow_the_conventions_of_prometheus(metric: Family) -> None:
    """https://prometheus.io/docs/practices/naming/: one prefix, base units, and no plural of a unit is forgotten."""
    assert metric.name.startswith("issuer_")
    assert metric.documentation.endswith(".")
    assert not any(unit in metric.name for unit in ("_ms", "_milli", "_minutes", "_kb", "_percent"))
    if metric.type == "histogram" or "age" in metric.name.split("_"):
        assert metric.name.endswith("_seconds")


FORBIDDEN = {"client_id", "namespace", "name", "account", "audience", "source", "kid", "keyset", "scope", "path", "uid"}


def test_no_label_is_a_name_that_somebody_chose() -> None:
    labels = {label for metric in exposed() for sample in metric.samples for label in sample.labels}
    assert labels == {"failure", "status", "kind", "step", "work", "kept", "process", "le", "version"}
    assert not labels & FORBIDDEN
