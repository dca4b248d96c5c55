"""Where spans go is said by the standard environment alone; without it there are none."""

import os
import sys
from collections.abc import Mapping

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from issuer.observe.exporting import Tracing, spans_exported, tracing
from issuer.observe.spans import Spans
from issuer.settings import SettingsError

SOMEWHERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
WANTED: Mapping[str, tuple[Mapping[str, str], bool]] = {
    "nothing is said": ({}, False),
    "an endpoint": (SOMEWHERE, True),
    "an endpoint of traces": ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}, True),
    "an empty endpoint": ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
    "the exporter": ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
    "no exporter": ({**SOMEWHERE, "OTEL_TRACES_EXPORTER": "none"}, False),
    "an exporter that there is not": ({**SOMEWHERE, "OTEL_TRACES_EXPORTER": "zipkin"}, False),
    "disabled": ({**SOMEWHERE, "OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "True"}, False),
    "not disabled": ({**SOMEWHERE, "OTEL_SDK_DISABLED": "false"}, True),
}


@pytest.fixture(autouse=True)
def _nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def say(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(("environment", "wanted"), WANTED.values(), ids=WANTED)
def test_spans_are_exported_where_the_environment_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], *, wanted: bool
) -> None:
    say(environment, monkeypatch)
    assert tracing() is (Tracing.ON if wanted else Tracing.OFF)
    with spans_exported() as spans:
        assert (spans is not None) is wanted


def test_without_the_extra_there_are_no_spans_and_nothing_ends_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform may set these variables for everybody: no reason not to issue tokens. `issuer check` says it."""
    say(SOMEWHERE, monkeypatch)
    monkeypatch.setitem(sys.modules, "issuer.observe.spans", None)
    assert tracing() is Tracing.NOT_INSTALLED
    with spans_exported() as spans:
        assert spans is None


def test_an_environment_that_cannot_be_used_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    say({**SOMEWHERE, "OTEL_BSP_MAX_QUEUE_SIZE": "0"}, monkeypatch)
    with pytest.raises(SettingsError, match="OTEL_"), spans_exported():
        pass


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "tokens"},
        {"OTEL_RESOURCE_ATTRIBUTES": "service.name=tokens"},
    ],
)
def test_the_service_is_called_issuer_unless_the_environment_calls_it_otherwise(
    monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]
) -> None:
    say(environment, monkeypatch)
    exported = InMemorySpanExporter()
    with Spans(SimpleSpanProcessor(exported)).serving("GET", "http", None):
        pass
    (span,) = exported.get_finished_spans()
    assert span.resource.attributes["service.name"] == ("tokens" if environment else "issuer")
