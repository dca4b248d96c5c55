"""Whatever bytes arrive at the token endpoint, the answer is OAuth JSON and never an error of ours."""

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from issuer.events import RequestFailed, TokenIssued
from issuer.issuance import answer_token_request
from issuer.protocol.request import WireRequest
from issuer.protocol.response import Answer
from issuer.ratelimit import FailureRates
from tests.conformance.endpoint import FORM, SECRET, Endpoint, basic, generated_ring, wire_request

ENDPOINT = Endpoint(generated_ring())
GOOD = basic(ENDPOINT.client_id, SECRET).encode()

STATUSES = {200, 400, 401, 405, 413}

# Bytes that mean something here, so that the search leaves the first refusal behind.
fragments = st.sampled_from(
    [
        *(b"grant_type=client_credentials", b"scope=", b"resource=", b"audience=", b"client_id=", b"client_secret="),
        *(
            b"client_assertion=",
            b"&",
            b"=",
            b"+",
            b"%00",
            b"%FF",
            b"%ED%A0%80",
            b"%",
            b";",
            b"\xff",
            b"\0",
            b"api:read",
        ),
        *(b"https://api.example", b"openid", ENDPOINT.client_id.encode(), SECRET.encode(), "ü".encode(), b"#", b"[::1"),
    ]
)
bodies = st.binary(max_size=80) | st.lists(fragments | st.binary(max_size=4), max_size=12).map(b"".join)
credentials = st.lists(fragments | st.sampled_from([b":", b"%3A"]) | st.binary(max_size=4), max_size=6).map(b"".join)
authorizations = st.one_of(
    st.just(GOOD),
    st.binary(max_size=60),
    st.binary(max_size=60).map(lambda data: b"Basic " + data),
    credentials.map(lambda data: b"Basic " + base64.b64encode(data)),
)
wires = st.builds(
    WireRequest,
    method=st.sampled_from(["POST", "POST", "POST", "POST", "GET", "", "ü"]),
    content_type=st.sampled_from([FORM, FORM, FORM, f"{FORM}; charset=x", ""]) | st.text(max_size=20),
    query=st.sampled_from([b"", b"", b"", b"?"]) | st.binary(max_size=10),
    authorization=st.lists(authorizations, max_size=2).map(tuple),
    body=bodies,
    source=st.just("192.0.2.1"),
)


@pytest.fixture(scope="module")
def answered() -> Iterator[Callable[[WireRequest], Answer]]:
    with asyncio.Runner() as runner:
        # Nobody is throttled here: how often it failed before must not decide about an example.
        yield lambda wire: runner.run(answer_token_request(replace(ENDPOINT.issuance, failures=FailureRates()), wire))


def check(answer: Answer) -> None:
    """Every promise of RFC 6749 section 5 that needs no knowledge of the request."""
    body = json.loads(answer.body)
    headers = dict(answer.headers)
    assert answer.status in STATUSES
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"cache-control"] == b"no-store"
    assert (b"www-authenticate" in headers) == (answer.status == 401)
    if answer.status == 200:
        assert {"access_token", "token_type", "expires_in", "scope"} <= body.keys()
    else:
        assert body.keys() == {"error", "error_description"}


@settings(max_examples=400, deadline=None)
@given(wire=wires)
def test_arbitrary_requests(answered: Callable[[WireRequest], Answer], wire: WireRequest) -> None:
    check(answered(wire))


@settings(max_examples=250, deadline=None)
@given(body=bodies)
def test_arbitrary_bodies_of_an_authenticated_client(answered: Callable[[WireRequest], Answer], body: bytes) -> None:
    check(answered(wire_request(b"grant_type=client_credentials&" + body, authorization=(GOOD,))))


@settings(max_examples=250, deadline=None)
@given(header=authorizations)
def test_arbitrary_credentials(answered: Callable[[WireRequest], Answer], header: bytes) -> None:
    answer = answered(wire_request(b"grant_type=client_credentials", authorization=(header,)))
    check(answer)
    assert answer.status in {200, 401}


@settings(max_examples=60, deadline=None)
@given(name=st.text(min_size=1, max_size=10), value=st.text(min_size=1, max_size=10))
async def test_arbitrary_bytes_through_the_whole_port(name: str, value: str) -> None:
    body = f"{name}={value}&grant_type=client_credentials".encode("utf-8", "surrogatepass")
    reply = await ENDPOINT.ask(body)
    assert reply.status in STATUSES
    assert not any(isinstance(event, RequestFailed) for event in ENDPOINT.events)


def test_the_search_does_reach_tokens(answered: Callable[[WireRequest], Answer]) -> None:
    """Otherwise the properties above would say little."""
    issued = sum(isinstance(event, TokenIssued) for event in ENDPOINT.events)
    answered(wire_request(b"grant_type=client_credentials", authorization=(GOOD,)))
    assert sum(isinstance(event, TokenIssued) for event in ENDPOINT.events) == issued + 1
