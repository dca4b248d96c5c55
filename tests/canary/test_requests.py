"""A secret put into any place of a request stays out of logs, events, metrics, spans and answers.

Two canaries: one of our own secrets, which redaction would take out of a log line, and a word without any shape, which
only not being there keeps out. What a sender may read again in its own error are names (of an object, of a field); never a
value.
"""

import io
import logging
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from itertools import product
from typing import Any

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import generate_latest

from issuer.credentials import format_secret
from issuer.events import AdminRequestRefused, RequestFailed, TokenRefused
from issuer.observe.log import log_events
from issuer.observe.spans import Spans
from issuer.settings import LogSettings
from issuer.web.metrics import Exposition
from tests.canary.leaks import leaks
from tests.databases import Databases
from tests.world import ACCOUNTS, NAMESPACES, SCOPES, TOKEN, Client, World, basic, started_world

SHAPED = format_secret(b"\x07" * 32)
SHAPELESS = "correct-horse-battery-staple"
CANARIES = {"shaped": SHAPED.encode(), "shapeless": SHAPELESS.encode()}
FORM = {"content-type": "application/x-www-form-urlencoded"}
ACCOUNT = ACCOUNTS.format(namespace="payments")
TRACEPARENT = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"  # of a later version, so that more may follow


class Ears:
    """Hears everything an operator could read: log lines of both renderings at debug, metrics, spans, the events themselves."""

    def __init__(self, world: World, exported: InMemorySpanExporter) -> None:
        self.world = world
        self.exported = exported
        self.heard = len(world.events)
        self.metrics = Exposition(world.issuer.readiness)
        self.streams = [io.StringIO(), io.StringIO()]
        self.emits = []
        handlers: list[logging.Handler] = []
        for stream, form in zip(self.streams, ("json", "console"), strict=True):
            self.emits.append(log_events(LogSettings(format=form, level="debug"), stream))  # type: ignore[arg-type]
            handlers += logging.root.handlers
        logging.root.handlers = handlers
        logging.root.setLevel(logging.DEBUG)

    def news(self) -> tuple[str, str]:
        """Events since the last time; log lines and spans since then, and metrics."""
        events, self.heard = self.world.events[self.heard :], len(self.world.events)
        for event in events:
            for emit in self.emits:
                emit(event)
        lines = "".join(stream.getvalue() for stream in self.streams)
        for stream in self.streams:
            stream.seek(0)
            stream.truncate()
        spans = encode_spans(self.exported.get_finished_spans()).SerializeToString().decode("latin-1")
        self.exported.clear()
        return repr(events), lines + spans + generate_latest(self.metrics).decode()


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def world(databases: Databases, database_url: str, exported: InMemorySpanExporter) -> AsyncIterator[World]:
    """As everywhere, with every request traced."""
    spans = Spans(SimpleSpanProcessor(exported))
    async with started_world(database_url, databases.bootstrapped, spans=spans) as started:
        yield started


@pytest.fixture
def ears(world: World, exported: InMemorySpanExporter) -> Iterator[Ears]:
    handlers, level = logging.root.handlers, logging.root.level
    exported.clear()
    yield Ears(world, exported)
    logging.root.handlers = handlers
    logging.root.setLevel(level)


@pytest.fixture
async def client(world: World) -> Client:
    return await world.account()


def heap(answer: httpx.Response, ears: Ears) -> bytes:
    return f"{answer.headers!r} {answer.text} {ears.news()}".encode()


def token_requests(client_id: str, secret: str, canary: str) -> dict[str, dict[str, Any]]:
    """Requests at the token endpoint, by the place the canary is in."""
    good = {"authorization": basic(client_id, secret)}
    form = {"grant_type": "client_credentials"}
    raw = b64encode(canary.encode()).decode()
    return {
        "basic secret": {"data": form, "headers": {"authorization": basic(client_id, canary)}},
        "basic id": {"data": form, "headers": {"authorization": basic(canary, secret)}},
        "basic without colon": {"data": form, "headers": {"authorization": f"Basic {raw}"}},
        "basic not base64": {"data": form, "headers": {"authorization": f"Basic {canary}"}},
        "another scheme": {"data": form, "headers": {"authorization": f"{canary} x"}},
        "bearer": {"data": form, "headers": {"authorization": f"Bearer {canary}"}},
        "two Authorization headers": {
            "data": form,
            "headers": [("authorization", good["authorization"]), ("authorization", f"Basic {canary}")],
        },
        "body secret": {"data": {**form, "client_id": client_id, "client_secret": canary}},
        "body id": {"data": {**form, "client_id": canary, "client_secret": secret}},
        "body secret without id": {"data": {**form, "client_secret": canary}},
        "both mechanisms": {"data": {**form, "client_id": client_id, "client_secret": canary}, "headers": good},
        "another client_id": {"data": {**form, "client_id": canary}, "headers": good},
        "assertion": {"data": {**form, "client_assertion": canary, "client_assertion_type": canary}},
        "grant_type": {"data": {"grant_type": canary}, "headers": good},
        "scope": {"data": {**form, "scope": canary}, "headers": good},
        "malformed scope": {"data": {**form, "scope": f'"{canary}"'}, "headers": good},
        "resource": {"data": {**form, "resource": f"https://{canary}"}, "headers": good},
        "malformed resource": {"data": {**form, "resource": canary}, "headers": good},
        "repeated": {"content": f"grant_type=x&grant_type={canary}", "headers": {**good, **FORM}},
        "unknown parameter": {"data": {**form, canary: canary}, "headers": good},
        "NUL": {"data": {**form, "x": canary + "\0"}, "headers": good},
        "not UTF-8": {"content": b"client_secret=\xff" + canary.encode(), "headers": {**good, **FORM}},
        "too many": {"data": {f"{canary}{number}": canary for number in range(100)}, "headers": good},
        "too long": {"content": canary * 5000, "headers": {**good, **FORM}},
        "query": {"params": {"client_secret": canary}, "data": form, "headers": good},
        "content type": {"content": canary, "headers": {**good, "content-type": canary}},
        "JSON": {"json": {"client_id": client_id, "client_secret": canary}},
        "trace context": {"data": form, "headers": {**good, **trace_context(canary, canary)}},
        "trace context of a trace": {"data": form, "headers": {**good, **trace_context(TRACEPARENT, canary)}},
        "behind a trace": {"data": form, "headers": {**good, **trace_context(f"{TRACEPARENT}-{canary}", canary)}},
        "any header": {"data": form, "headers": {**good, "x-secret": canary, "user-agent": canary}},
    }


def trace_context(traceparent: str, canary: str) -> dict[str, str]:
    """The headers of W3C Trace Context and Baggage."""
    return {"traceparent": traceparent, "tracestate": f"a={canary},{canary}=b", "baggage": f"{canary}={canary}"}


PLACES = list(token_requests("", "", ""))


@pytest.mark.parametrize("canary", CANARIES)
async def test_whatever_a_token_request_carries_is_never_repeated(ears: Ears, client: Client, canary: str) -> None:
    text = CANARIES[canary].decode()
    answered = set()
    for place, request in token_requests(client.client_id, client.secret, text).items():
        answer = await client.world.public.post(TOKEN, **request)
        answered.add(answer.status_code)
        assert leaks(heap(answer, ears), CANARIES) == set(), place
    assert answered == {200, 400, 401, 413}
    assert len(client.world.seen(TokenRefused)) >= len(PLACES) - 7
    assert client.world.seen(RequestFailed) == []


async def test_nor_with_another_method_or_path(ears: Ears, world: World) -> None:
    paths = (TOKEN, f"{TOKEN}/{SHAPED}", f"/{SHAPELESS}", f"/.well-known/{SHAPED}")
    for method, path in product(("GET", "PUT", "DELETE", "OPTIONS", "PATCH", SHAPELESS.upper()), paths):
        url = f"{path}?client_secret={SHAPELESS}"
        answer = await world.public.request(method, url, headers={"authorization": basic(SHAPELESS, SHAPED)})
        assert answer.status_code in {404, 405}
        assert leaks(heap(answer, ears), CANARIES) == set(), path


async def test_a_token_that_is_issued_is_in_its_answer_alone(ears: Ears, client: Client) -> None:
    answer = await client.token()
    token = answer.json()["access_token"].encode()
    secrets = {"token": token, "signature": token.rpartition(b".")[2], "secret": client.secret.encode()}
    assert leaks(answer.content, secrets) == {"token", "signature"}
    assert leaks(str(ears.news()).encode(), secrets) == set()


async def test_a_secret_that_is_handed_out_is_in_its_answer_alone(ears: Ears, client: Client) -> None:
    answer = await client.world.admin.post(f"{client.path}/credentials", json={"compromised": True})
    secrets = {"secret": answer.json()["clientSecret"].encode(), "bearer": _bearer(client.world)}
    assert leaks(answer.content, secrets) == {"secret"}
    await client.world.admin.get(f"{client.path}/credentials/current")
    await client.world.admin.post(f"{client.path}/credentials/2/acknowledge")
    assert leaks(str(ears.news()).encode(), secrets) == set()


async def test_the_ears_hear(ears: Ears, client: Client) -> None:
    """These tests can fail: what is put into an event, a log line or an answer is found."""
    client.world.events.append(TokenRefused("x", SHAPELESS, None, SHAPED))
    events, lines = ears.news()
    assert leaks(events.encode(), CANARIES) == {"shaped", "shapeless"}
    assert leaks(lines.encode(), CANARIES) == {"shapeless"}
    with Spans(SimpleSpanProcessor(ears.exported)).serving("GET", "http", None) as span:
        span.set_attribute("http.route", SHAPELESS + "!")
    assert SHAPELESS + "!" in ears.news()[1]
    logging.getLogger("library").warning("careless: %s", SHAPELESS + "!")  # noqa: TID251 - plays the library
    assert SHAPELESS + "!" in ears.news()[1]
    client.world.events.clear()  # the whole suite looks, too, when the world ends


def bodies(canary: str) -> dict[str, dict[str, Any]]:
    """Documents of the admin API with the canary as a value, by the place it is in."""
    typed = {"content-type": "application/json"}
    spec = {"scopes": ["a"]}
    named = {"metadata": {"name": "api2"}}
    wrong: dict[str, Any] = {
        "displayName": {canary: canary},
        "owner": [canary],
        "reviewBy": canary,
        "usage": canary,
        "type": canary,
        "disabled": canary,
        "expiresAt": canary,
        "scopes": canary,
        "audiences": [f"{canary} {canary}"],
        "tokenSettings": {"accessTokenTTL": canary, "maxTokensPerMinute": canary},
        "claims": {"x": [canary]},
        "credentialRotation": {"enabled": canary, "intervalDays": canary},
        "managedBy": canary,
    }
    return {
        "every field of the wrong type": {"json": {**named, "spec": wrong}},
        "labels": {"json": {"metadata": {"name": "api2", "labels": {"a": f"{canary}!"}}, "spec": spec}},
        "uid": {"json": {"metadata": {"name": "api2", "resourceVersion": canary}, "spec": spec}},
        "apiVersion": {"json": {**named, "apiVersion": canary, "kind": canary, "spec": spec}},
        "a bare value": {"json": canary},
        "a list": {"json": [canary]},
        "not JSON": {"content": f'{{"clientSecret": {canary}', "headers": typed},
        "JSON constant": {"content": f'{{"a": NaN, "b": "{canary}"}}', "headers": typed},
        "YAML as JSON": {"content": f"clientSecret: {canary}", "headers": typed},
        "not YAML": {"content": f"a: [{canary}", "headers": {"content-type": "application/yaml"}},
        "YAML alias": {"content": f"a: &x {canary}\nb: *x", "headers": {"content-type": "application/yaml"}},
        "two YAML documents": {"content": f"{canary}\n---\n{canary}", "headers": {"content-type": "application/yaml"}},
        "not UTF-8": {"content": b"\xff" + canary.encode(), "headers": {"content-type": "application/yaml"}},
        "content type": {"content": canary, "headers": {"content-type": f"text/{canary}"}},
        "form": {"data": {"client_secret": canary}},
    }


@pytest.mark.parametrize("canary", CANARIES)
async def test_whatever_value_an_admin_request_carries_is_never_repeated(
    ears: Ears, client: Client, canary: str
) -> None:
    world, text = client.world, CANARIES[canary].decode()
    paths = (ACCOUNT, f"{client.path}/credentials", NAMESPACES, SCOPES)
    for place, request in bodies(text).items():
        for path in paths:
            answer = await world.admin.post(path, **request)
            assert answer.status_code in {400, 409, 415, 422}, (place, path, answer.text)
            assert leaks(heap(answer, ears), CANARIES) == set(), (place, path)
    for path in (client.path, f"{client.path}/status"):
        answer = await world.admin.put(path, json={"metadata": {"name": "api"}, "status": {"phase": text}})
        assert answer.status_code == 422
        assert leaks(heap(answer, ears), CANARIES) == set(), path
    assert world.seen(RequestFailed) == []


async def test_nor_what_its_query_carries(ears: Ears, client: Client) -> None:
    queries = ("limit", "continue", "labelSelector", "watch", "dryRun", "managedBy", "force", "x")
    targets = (("GET", ACCOUNT), ("POST", f"{client.path}/credentials"), ("DELETE", client.path))
    for query, (method, path) in product(queries, targets):
        for canary in (SHAPED, SHAPELESS):
            answer = await client.world.admin.request(method, path, params={query: canary})
            given = {"clientSecret": ""} if answer.status_code != 201 else answer.json()
            assert given["clientSecret"] != canary
            assert leaks(heap(answer, ears), CANARIES) == set(), (method, path)


async def test_nor_what_a_stranger_sends_as_its_token(ears: Ears, world: World) -> None:
    sent = (
        f"Bearer {SHAPED}",
        f"Bearer {SHAPELESS}",
        f"Bearer eyJhbGciOiJub25lIn0.{b64encode(SHAPED.encode()).decode().rstrip('=')}.x",
        basic("admin", SHAPELESS),
        SHAPELESS,
        f"{SHAPED} {SHAPELESS}",
    )
    for number, authorization in enumerate(sent, 1):
        answer = await world.anonymous.get(ACCOUNT, headers={"authorization": authorization, "cookie": SHAPED})
        assert answer.status_code == 401
        assert leaks(heap(answer, ears), CANARIES) == set(), authorization
        assert len(world.seen(AdminRequestRefused)) == number


async def test_a_secret_in_a_path_is_in_no_log_line_and_no_answer(ears: Ears, world: World) -> None:
    """A secret of ours is never a name: `_` and upper case are not in DNS-1123."""
    for client in (world.admin, world.anonymous):
        for path in (f"{ACCOUNT}/{SHAPED}", f"{ACCOUNTS.format(namespace=SHAPED)}/api", f"{NAMESPACES}/{SHAPED}"):
            for suffix in ("", "/credentials/current", f"?x={SHAPED}"):
                answer = await client.get(path + suffix)
                assert answer.status_code in {401, 404}
                assert leaks(heap(answer, ears), CANARIES) == set(), path
    named = await world.admin.post(ACCOUNT, json={"metadata": {"name": SHAPED}, "spec": {"scopes": [SHAPED]}})
    assert named.status_code in {404, 422}
    assert leaks(heap(named, ears), CANARIES) == set()


async def test_an_error_of_ours_says_where_and_not_what(
    ears: Ears, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(f"quotes {SHAPELESS} and {SHAPED}")

    monkeypatch.setattr(client.world.issuer.directory, "recall", broken)
    public = await client.token()
    admin = await client.world.admin.get(client.path)
    assert (public.status_code, admin.status_code) == (500, 500)
    assert public.json() == {"error": "server_error"}
    for answer in (public, admin):
        assert leaks(heap(answer, ears), CANARIES) == set()
    first, second = client.world.seen(RequestFailed)
    assert first.error == second.error == "RuntimeError"
    assert first.path == TOKEN
    assert first.where


def _bearer(world: World) -> bytes:
    return str(world.admin.headers["authorization"]).removeprefix("Bearer ").encode()
