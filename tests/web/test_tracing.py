"""Every request is one server span, which says what it may and belongs to its caller's trace."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.types import Message, Receive, Scope, Send

from issuer.events import TokenIssued, TokenRefused
from issuer.observe.spans import Spans
from issuer.web.tracing import traced
from tests.databases import Databases
from tests.world import ACCOUNTS, TOKEN, Client, World, started_world

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
ACCOUNT = ACCOUNTS.format(namespace="payments")
TEMPLATE = "/apis/auth.nauthera.io/v1alpha1/namespaces/{namespace}/serviceaccounts"
FORM = {"grant_type": "client_credentials"}
MAY_SAY = {
    "http.request.method",
    "url.scheme",
    "http.route",
    "http.response.status_code",
    "error.type",
    "exception.type",
    "issuer.failure",
}


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def world(databases: Databases, database_url: str, exported: InMemorySpanExporter) -> AsyncIterator[World]:
    spans = Spans(SimpleSpanProcessor(exported))
    async with started_world(database_url, databases.bootstrapped, spans=spans) as started:
        exported.clear()
        yield started


@pytest.fixture
async def client(world: World, exported: InMemorySpanExporter) -> Client:
    made = await world.account()
    exported.clear()
    return made


def only(exported: InMemorySpanExporter) -> ReadableSpan:
    """The one span since the last time."""
    (span,) = exported.get_finished_spans()
    exported.clear()
    return span


def said(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def trace_of(span: ReadableSpan) -> str:
    return f"{span.context.trace_id:032x}"


NAMES = {
    "a token": ("public", "POST", TOKEN, f"POST {TOKEN}"),
    "a token, another method": ("public", "GET", f"{TOKEN}?client_secret=x", f"GET {TOKEN}"),
    "the JWKS": ("public", "GET", "/.well-known/jwks.json", "GET /.well-known/jwks.json"),
    "an unknown path": ("public", "GET", "/anything/at/all", "GET"),
    "below a known path": ("public", "GET", f"{TOKEN}/x", "GET"),
    "a method nobody knows": ("public", "BREW", TOKEN, f"HTTP {TOKEN}"),
    "an object": ("admin", "GET", f"{ACCOUNT}/x?watch=x", f"GET {TEMPLATE}/{{name}}"),
    "a list": ("admin", "HEAD", ACCOUNT, f"HEAD {TEMPLATE}"),
    "a sub-resource": ("admin", "POST", f"{ACCOUNT}/x/credentials", f"POST {TEMPLATE}/{{name}}/credentials"),
    "health": ("admin", "GET", "/livez", "GET /livez"),
    "health, another method": ("admin", "PUT", "/livez", "PUT /livez"),
    "an unknown path of the admin port": ("admin", "DELETE", "/apis/x", "DELETE"),
    "a method nobody knows on the admin port": ("admin", "BREW", "/x", "HTTP"),
}


@pytest.mark.parametrize(("port", "method", "path", "name"), NAMES.values(), ids=NAMES)
async def test_a_span_is_named_by_method_and_template(
    world: World, exported: InMemorySpanExporter, port: str, method: str, path: str, name: str
) -> None:
    answer = await getattr(world, port).request(method, path)
    span = only(exported)
    assert span.name == name
    assert span.kind is SpanKind.SERVER
    route = {"http.route": name.partition(" ")[2]} if " " in name else {}
    failure = {"issuer.failure": said(span)["issuer.failure"]} if TOKEN in name else {}
    assert said(span) == {
        "http.request.method": "_OTHER" if method == "BREW" else method,
        "url.scheme": "http",
        "http.response.status_code": answer.status_code,
        **route,
        **failure,
    }


async def test_attributes_are_a_closed_list_and_there_is_nothing_beside_them(
    client: Client, exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await client.token()).status_code == 200
    assert (await client.token(scope="api:none")).status_code == 400
    assert (await client.world.anonymous.get(client.path)).status_code == 401
    monkeypatch.setattr(client.world.issuer.directory, "recall", lambda _: 1 / 0)
    assert (await client.token()).status_code == 500
    spans = exported.get_finished_spans()
    assert len(spans) == 4
    assert {name for span in spans for name in said(span)} == MAY_SAY
    assert [(span.events, span.links, span.status.description) for span in spans] == [((), (), None)] * 4


async def test_a_refusal_is_named_and_is_no_error(client: Client, exported: InMemorySpanExporter) -> None:
    await client.world.token(client.client_id, "wrong")
    span = only(exported)
    assert said(span)["issuer.failure"] == "secret_wrong"
    assert "error.type" not in said(span)
    assert span.status.status_code is StatusCode.UNSET


async def test_an_error_of_ours_is_an_error(
    client: Client, exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.world.issuer.directory, "recall", lambda _: 1 / 0)
    for asked in (client.token(), client.world.admin.get(client.path)):
        assert (await asked).status_code == 500
        span = only(exported)
        assert span.status.status_code is StatusCode.ERROR
        assert said(span)["error.type"] == "500"
        assert said(span)["exception.type"] == "ZeroDivisionError"


async def test_what_happens_in_a_request_is_said_of_no_other(client: Client, exported: InMemorySpanExporter) -> None:
    await asyncio.gather(*(client.token(scope=scope) for scope in ["none", "api:read"] * 10))
    said_of_all = [said(span) for span in exported.get_finished_spans()]
    outcomes = [(each["http.response.status_code"], "issuer.failure" in each) for each in said_of_all]
    assert sorted(outcomes) == [(200, False)] * 10 + [(400, True)] * 10


async def test_a_span_is_a_child_of_its_callers(client: Client, exported: InMemorySpanExporter) -> None:
    auth = (client.client_id, client.secret)
    await client.world.public.post(TOKEN, data=FORM, auth=auth, headers=SAMPLED)
    span = only(exported)
    assert span.parent is not None
    assert (trace_of(span), f"{span.parent.span_id:016x}", span.parent.is_remote) == (TRACE, PARENT, True)


@pytest.mark.parametrize("traceparent", ["x", f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01"])
async def test_what_is_no_trace_context_is_not_there(
    world: World, exported: InMemorySpanExporter, traceparent: str
) -> None:
    await world.public.get("/", headers={"traceparent": traceparent})
    span = only(exported)
    assert span.parent is None
    assert trace_of(span) != TRACE


async def test_nothing_of_tracestate_and_baggage_is_taken_along(world: World, exported: InMemorySpanExporter) -> None:
    await world.public.get("/", headers={**SAMPLED, "tracestate": "a=b", "baggage": "c=d"})
    span = only(exported)
    assert trace_of(span) == TRACE
    assert not span.context.trace_state
    assert said(span).keys() <= MAY_SAY


TRACEPARENTS: dict[str, list[tuple[str, str]]] = {
    "none": [],
    "one": [("traceparent", SAMPLED["traceparent"])],
    "one that is none": [("traceparent", "x")],
    "two": [("traceparent", f"00-{PARENT * 2}-{PARENT}-01"), ("traceparent", SAMPLED["traceparent"])],
    "one, and one that is none": [("traceparent", SAMPLED["traceparent"]), ("traceparent", "x")],
}


@pytest.mark.parametrize("headers", TRACEPARENTS.values(), ids=TRACEPARENTS)
@pytest.mark.parametrize(("scope", "kind"), [("api:read", TokenIssued), ("none", TokenRefused)])
async def test_the_record_names_the_trace_of_the_span(
    client: Client, exported: InMemorySpanExporter, headers: list[tuple[str, str]], scope: str, kind: type[Any]
) -> None:
    auth = (client.client_id, client.secret)
    client.world.events.clear()
    await client.world.public.post(TOKEN, data={**FORM, "scope": scope}, auth=auth, headers=headers)
    (event,) = client.world.seen(kind)
    assert event.caller.trace_id == trace_of(only(exported))


@pytest.mark.parametrize(
    ("sampler", "headers", "trace_id"),
    [
        ("parentbased_always_on", {"traceparent": f"00-{TRACE}-{PARENT}-00"}, TRACE),
        ("always_off", SAMPLED, TRACE),
        ("always_off", {}, None),
    ],
)
async def test_without_a_sampled_span_the_record_names_the_trace_of_the_caller(
    databases: Databases,
    database_url: str,
    exported: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
    sampler: str,
    headers: dict[str, str],
    trace_id: str | None,
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    spans = Spans(SimpleSpanProcessor(exported))
    async with started_world(database_url, databases.bootstrapped, spans=spans) as world:
        client = await world.account()
        exported.clear()
        world.events.clear()
        auth = (client.client_id, client.secret)
        await world.public.post(TOKEN, data=FORM, auth=auth, headers=headers)
        (issued,) = world.seen(TokenIssued)
        assert issued.caller.trace_id == trace_id
        assert exported.get_finished_spans() == ()


async def test_an_app_that_fails_is_an_error_by_its_kind_alone(exported: InMemorySpanExporter) -> None:
    async def failing(_: Scope, __: Receive, ___: Send) -> None:
        raise RuntimeError("correct-horse")

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    async def nobody(_: Message) -> None: ...

    app = traced(failing, lambda _: "/x", Spans(SimpleSpanProcessor(exported)))
    scope = {"type": "http", "method": "GET", "scheme": "http", "headers": []}
    with pytest.raises(RuntimeError):
        await app(scope, nothing, nobody)
    span = only(exported)
    assert said(span) == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "http.route": "/x",
        "error.type": "RuntimeError",
    }
    assert "correct-horse" not in span.to_json()
