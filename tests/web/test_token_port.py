"""The token endpoint as an ASGI application: how bytes arrive, and what surrounds the answer."""

from typing import Any

import pytest
from starlette.types import Message

from issuer.events import RequestFailed
from issuer.protocol.request import MAX_BODY_BYTES
from tests.conformance.endpoint import FORM, SECRET, TOKEN_PATH, Endpoint, Ring, basic, generated_ring

BODY = b"grant_type=client_credentials"


@pytest.fixture(scope="module")
def ring() -> Ring:
    return generated_ring()


@pytest.fixture
def endpoint(ring: Ring) -> Endpoint:
    return Endpoint(ring)


async def said(endpoint: Endpoint, messages: list[Message], **changed: Any) -> tuple[list[Message], int]:
    """What was sent back, and how many messages were read."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": TOKEN_PATH,
        "query_string": b"",
        "headers": [
            (b"content-type", FORM.encode()),
            (b"authorization", basic(endpoint.client_id, SECRET).encode()),
        ],
        "client": ("192.0.2.1", 4711),
        **changed,
    }
    waiting: list[Message] = list(messages)
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await endpoint.app(scope, receive, send)
    return sent, len(messages) - len(waiting)


async def spoken(endpoint: Endpoint, messages: list[Message], **changed: Any) -> tuple[Message, bytes, int]:
    """The start of the answer, its body, and how many messages were read."""
    (start, body), read = await said(endpoint, messages, **changed)
    return start, body["body"], read


def part(data: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


CHUNKED: dict[str, list[Message]] = {
    "in one piece": [part(BODY, more=False)],
    "byte by byte": [*(part(bytes([byte]), more=True) for byte in BODY), part(b"", more=False)],
    "with empty pieces": [part(b"", more=True), part(BODY, more=True), part(b"", more=False)],
    "without the optional fields of ASGI": [part(BODY, more=True), {"type": "http.request"}],
}


@pytest.mark.parametrize("messages", CHUNKED.values(), ids=CHUNKED.keys())
async def test_a_body_may_arrive(endpoint: Endpoint, messages: list[Message]) -> None:
    start, _, read = await spoken(endpoint, messages)
    assert (start["status"], read) == (200, len(messages))


async def test_a_body_is_bounded_while_it_is_read_not_after(endpoint: Endpoint) -> None:
    piece = part(b"x" * 16_384, more=True)
    start, body, read = await spoken(endpoint, [piece] * 1000)
    assert (start["status"], b"invalid_request" in body) == (413, True)
    assert read == MAX_BODY_BYTES // 16_384 + 1


async def test_a_client_that_goes_away_in_the_middle_is_no_error_of_ours(endpoint: Endpoint) -> None:
    """Half a request is none: nothing is answered, and no token is issued for what happened to arrive."""
    sent, _ = await said(endpoint, [part(BODY, more=True), {"type": "http.disconnect"}])
    assert sent == []
    assert endpoint.events == []


@pytest.mark.parametrize("client", [None, ("192.0.2.1", 4711), ("2001:db8::1", 0)])
async def test_the_peer_address_is_in_the_record_and_may_be_missing(endpoint: Endpoint, client: Any) -> None:
    await spoken(endpoint, [part(b"", more=False)], client=client)
    refused, _ = endpoint.events
    assert getattr(refused, "source", None) == (client[0] if client else "")


@pytest.mark.parametrize("name", ["x-forwarded-for", "forwarded", "x-real-ip"])
async def test_a_forwarded_address_is_not_believed(endpoint: Endpoint, name: str) -> None:
    headers = [(b"content-type", FORM.encode()), (name.encode(), b"203.0.113.9")]
    await spoken(endpoint, [part(b"", more=False)], headers=headers)
    refused, _ = endpoint.events
    assert getattr(refused, "source", None) == "192.0.2.1"


@pytest.mark.parametrize("wrong", [False, True])
async def test_content_length_is_the_bodys(endpoint: Endpoint, wrong: bool) -> None:
    start, body, _ = await spoken(endpoint, [part(b"" if wrong else BODY, more=False)])
    assert dict(start["headers"])[b"content-length"] == str(len(body)).encode()


@pytest.mark.parametrize("wrong", [False, True])
async def test_header_names_are_lower_case_and_each_stands_once(endpoint: Endpoint, wrong: bool) -> None:
    start, _, _ = await spoken(endpoint, [part(b"" if wrong else BODY, more=False)])
    names = [name for name, _ in start["headers"]]
    assert names == [name.lower() for name in names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("wrong", [False, True])
async def test_no_cors_here_a_web_page_has_no_business_with_client_secrets(endpoint: Endpoint, wrong: bool) -> None:
    """DESIGN section 13: CORS on JWKS and discovery only."""
    headers = [("origin", "https://app.example"), ("content-type", FORM)]
    if not wrong:
        headers.append(("authorization", basic(endpoint.client_id, SECRET)))
    answer = await endpoint.send("POST", TOKEN_PATH, headers, BODY)
    assert answer.status_code == (401 if wrong else 200)
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/oauth2/token/", "/oauth2//token", "/OAuth2/token", "/oauth2", "/token"])
async def test_the_token_endpoint_has_one_path(endpoint: Endpoint, path: str) -> None:
    answer = await endpoint.send("POST", path, [("content-type", FORM)], BODY)
    assert answer.status_code == 404


async def test_an_error_of_ours_is_one_event_with_the_place_and_without_its_text(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr("issuer.issuance.parse_token_request", broken)
    start, body, _ = await spoken(endpoint, [part(BODY, more=False)])
    event, _ = endpoint.events
    assert (start["status"], body) == (500, b'{"error":"server_error"}')
    assert isinstance(event, RequestFailed)
    assert (event.path, event.error) == (TOKEN_PATH, "RuntimeError")
    assert event.where.startswith("issuance.py:")
    assert "canary" not in repr(event)
