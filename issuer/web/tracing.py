"""Every request of a port is one span. What a span may say is decided in `observe.spans`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:  # an extra that need not be installed
    from issuer.observe.spans import Spans

RouteOf: TypeAlias = Callable[[Scope], str]
"""The template of a request's path once it was answered; empty for a path that there is not."""


def traced(app: ASGIApp, route_of: RouteOf, spans: "Spans | None") -> ASGIApp:
    """The app with a span around each request; without spans, the app itself.

    Inside, `traceparent` is that of a sampled span, as it would be behind a proxy that traces: so the record names the trace in
    which the request is found, also when its caller began none.
    """
    if spans is None:
        return app

    async def in_span(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        status = 0

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method, headers = scope["method"], scope["headers"]
        with spans.serving(method, scope["scheme"], dict(headers).get(b"traceparent")) as span:
            own = spans.traceparent(span)
            if own is not None:
                others = [header for header in headers if header[0] != b"traceparent"]
                scope["headers"] = [*others, (b"traceparent", own)]
            try:
                await app(scope, receive, seen)
            finally:
                spans.answered(span, method, route_of(scope), status)

    return in_span
