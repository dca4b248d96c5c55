"""Spans of a real server, at a collector that takes them, that hangs, or that nobody asked for."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.blackbox.processes import ROOT, Started, serving
from tests.databases import Databases

WORKERS = 2
REQUESTS = 40
PROCESSES = 2
"""Of a server with one worker."""
PATIENCE_S = 60
"""How long the exporter waits for a collector that hangs."""
SOON_S = 10.0


class Collector:
    """OTLP over HTTP on a port of its own. While it hangs it takes requests and does not answer."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.received: list[bytes] = []
        self.answers = Event()
        if not hangs:
            self.answers.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                collector.received.append(self.rfile.read(int(self.headers["content-length"])))
                collector.answers.wait()
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def environment(self) -> dict[str, str]:
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.server.server_port}"}

    def spans(self) -> Counter[tuple[str, str]]:
        """How many spans arrived, by process and name."""
        return Counter(
            (
                next(each.value.string_value for each in of.resource.attributes if each.key == "service.instance.id"),
                span.name,
            )
            for body in self.received
            for of in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in of.scope_spans
            for span in scope.spans
        )


@contextmanager
def collecting(*, hangs: bool = False) -> Iterator[Collector]:
    collector = Collector(hangs=hangs)
    thread = Thread(target=collector.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield collector
    finally:
        collector.answers.set()
        collector.server.shutdown()
        thread.join()
        collector.server.server_close()


def ask(server: Started, databases: Databases) -> list[float]:
    """How long each of many tokens took, each on a connection of its own: the kernel gives them to the workers in turn."""
    server.wait_for(lambda: server.readiness().status_code == 200)
    admin = databases.bootstrapped.admin
    took = []
    for _ in range(REQUESTS):
        began = time.monotonic()
        answer = httpx.post(
            f"{server.public}/oauth2/token",
            data={"grant_type": "client_credentials"},
            auth=(admin.client_id, admin.client_secret),
        )
        took.append(time.monotonic() - began)
        assert answer.status_code == 200
    return took


def test_spans_of_all_processes_arrive_and_a_stop_flushes(
    environment: dict[str, str], databases: Databases, tmp_path: Path
) -> None:
    with collecting() as collector:
        patient = {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
        with serving(tmp_path, environment | collector.environment | patient, "--workers", str(WORKERS)) as server:
            ask(server, databases)
            assert collector.received == []
            assert server.stop() == 0
        spans = collector.spans()
    tokens = {process: count for (process, name), count in spans.items() if name == "POST /oauth2/token"}
    assert sum(tokens.values()) == REQUESTS
    assert len(tokens) == WORKERS, "both workers had their share, or this test proves nothing"
    assert {process for process, name in spans if name == "GET /readyz"}.isdisjoint(tokens)
    assert server.events("LibraryWarning") == []


def test_a_collector_that_hangs_delays_no_token_and_no_stop(
    environment: dict[str, str], databases: Databases, tmp_path: Path
) -> None:
    small = {"OTEL_BSP_SCHEDULE_DELAY": "1", "OTEL_BSP_MAX_QUEUE_SIZE": "4", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1"}
    patient = {"OTEL_EXPORTER_OTLP_TIMEOUT": str(PATIENCE_S)}
    with (
        collecting(hangs=True) as collector,
        serving(tmp_path, environment | collector.environment | small | patient) as server,
    ):
        took = ask(server, databases)
        assert collector.received
        assert max(took) < SOON_S
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < SOON_S
        said = Counter(line["message"] for line in server.events("LibraryWarning"))
        assert said["Queue full, dropping Span."], "a queue was full, or this test proves nothing"
        assert max(said.values()) <= PROCESSES


SPY = """
import sys
from pathlib import Path


class Spy:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            with Path({noticed!r}).open("a") as file:
                file.write(name + "\\n")
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, Spy())
"""


@pytest.mark.parametrize("asked_for", [False, True], ids=["nobody asked for spans", "the extra is missing"])
def test_without_the_environment_or_the_extra_it_serves_as_ever(
    environment: dict[str, str], databases: Databases, tmp_path: Path, *, asked_for: bool
) -> None:
    noticed = tmp_path / "noticed"
    (tmp_path / "sitecustomize.py").write_text(SPY.format(noticed=str(noticed)))
    environment = {**environment, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    if asked_for:
        environment["OTEL_TRACES_EXPORTER"] = "otlp"
    with serving(tmp_path, environment) as server:
        ask(server, databases)
        assert server.stop() == 0
    assert noticed.exists() is asked_for
