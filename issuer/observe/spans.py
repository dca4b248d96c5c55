"""Requests become spans of OpenTelemetry: the third reading. Imported only where somebody asks for it (`exporting`).

Nothing secret and nothing that a client chose reaches a span. What it may say is a closed list: method, scheme, the template
of the path, the status, the name of a failure or of an exception. Not the path, the query, a header or an address; nothing of
`tracestate` and `baggage` is read. The one thing taken from a caller is which trace it is in: two numbers and a flag.

Where spans go, and how many, says the environment alone (`OTEL_…`). Their queue is bounded and is emptied by a thread: a
collector that is slow, hangs or is gone costs spans and never a request.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from threading import Thread

from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from issuer.events import Emit, Event, RequestFailed, TokenRefused

FLUSH_S = 2
"""How long a stop waits for what is still in the queue."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_SERVER_ERRORS = 500
_PROPAGATOR = TraceContextTextMapPropagator()


class Spans:
    """Server spans of this process, by the semantic conventions for HTTP. Made after a fork: a thread does not survive one."""

    def __init__(self, processor: SpanProcessor) -> None:
        # The environment's name of this service wins over ours.
        ours = {"service.name": "issuer", "service.version": version("issuer")}
        resource = Resource.create(ours).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("issuer", version("issuer"))

    @contextmanager
    def serving(self, method: str, scheme: str, traceparent: bytes | None) -> Iterator[Span]:
        """The span of one request, a child of its caller's; what happens inside happens in it."""
        # Only this header, and so no `tracestate`: it would be exported with the span, and it is whatever the caller likes.
        carrier = {"traceparent": traceparent.decode("latin-1")} if traceparent is not None else {}
        span = self._tracer.start_span(
            _name(method),
            _PROPAGATOR.extract(carrier, Context()),
            SpanKind.SERVER,
            {"http.request.method": method if method in _METHODS else "_OTHER", "url.scheme": scheme},
        )
        token = attach(set_span_in_context(span, Context()))
        try:
            yield span
        except Exception as error:
            # The API's own way would put the message and the traceback into the span.
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(StatusCode.ERROR)
            raise
        finally:
            detach(token)
            span.end()

    @staticmethod
    def traceparent(span: Span) -> bytes | None:
        """The header that says one is inside this span; None when it goes nowhere, as it was not sampled."""
        context = span.get_span_context()
        if not context.trace_flags.sampled:
            return None
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}".encode()

    @staticmethod
    def answered(span: Span, method: str, route: str, status: int) -> None:
        """What became of the request. `route`: the template of its path, empty where there is none; `status`: 0, no answer."""
        if not span.is_recording():
            return
        if route:
            span.set_attribute("http.route", route)
            span.update_name(f"{_name(method)} {route}")
        if status:
            span.set_attribute("http.response.status_code", status)
        if status >= _SERVER_ERRORS:
            span.set_attribute("error.type", str(status))
            span.set_status(StatusCode.ERROR)

    @staticmethod
    def reading(emit: Emit) -> Emit:
        """Hands every event on, and says those that end a request on its span."""

        def read(event: Event) -> None:
            if isinstance(event, TokenRefused):
                get_current_span().set_attribute("issuer.failure", event.failure)
            elif isinstance(event, RequestFailed):
                get_current_span().set_attribute("exception.type", event.error)
            emit(event)

        return read

    def close(self) -> None:
        """Exports what waits, but not for longer than FLUSH_S: a thread that hangs is left to the end of the process."""
        closing = Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(FLUSH_S)


def exporting() -> Spans:
    """Spans that go where the environment says. Raises ValueError for an environment that cannot be used."""
    return Spans(BatchSpanProcessor(OTLPSpanExporter()))


def _name(method: str) -> str:
    return method if method in _METHODS else "HTTP"
