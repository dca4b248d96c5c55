"""`POST /oauth2/token` as plain ASGI: the hot path does without a framework's Request and Response.

Bytes in, `issuance` decides, bytes out. The body is bounded while it is read, not after.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from issuer.events import RequestFailed, TokenAnswered, place_of
from issuer.failures import Failure
from issuer.issuance import Issuance, answer_token_request
from issuer.protocol.metadata import TOKEN_PATH
from issuer.protocol.request import MAX_BODY_BYTES, WireRequest
from issuer.protocol.response import Answer, refusal_answer
from issuer.protocol.source import Network, source_of
from issuer.protocol.tracing import parse_trace_id

_SERVER_ERROR = Answer(
    500, b'{"error":"server_error"}', ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
)


BODY_DEADLINE_S = 10


class _ClientGone(Exception):
    """The client left before its request was whole."""


async def token_endpoint(
    issuance: Issuance, trusted: Sequence[Network], scope: Scope, receive: Receive, send: Send
) -> None:
    """Answers one token request. `trusted`: the networks of proxies, whose word on whom they speak for is taken."""
    try:
        body = await _read_body(receive)
    except (_ClientGone, TimeoutError):
        return  # half a request is none; uvicorn closes the connection
    began = issuance.sources.elapsed_s()
    try:
        if body is None:
            answer = refusal_answer(Failure.BODY_TOO_LARGE)
        else:
            answer = await answer_token_request(issuance, _wire_request(scope, body, trusted))
    except Exception as error:  # noqa: BLE001 - the last line of defence: one request fails, no text of the error leaves
        issuance.emit(RequestFailed(TOKEN_PATH, type(error).__name__, place_of(error)))
        answer = _SERVER_ERROR
    issuance.emit(TokenAnswered(answer.status, issuance.sources.elapsed_s() - began))
    headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode())]
    start: Message = {"type": "http.response.start", "status": answer.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": answer.body})


def _wire_request(scope: Scope, body: bytes, trusted: Sequence[Network]) -> WireRequest:
    content_type = ""
    authorization: tuple[bytes, ...] = ()
    trace_id: str | None = None
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_type = value.decode("latin-1")
        elif name == b"authorization":
            authorization = (*authorization, value)
        elif name == b"traceparent":
            trace_id = parse_trace_id(value)
    client: Any = scope.get("client")
    peer = client[0] if client else ""
    forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"] if trusted else ()
    return WireRequest(
        method=scope["method"],
        content_type=content_type,
        query=scope["query_string"],
        authorization=authorization,
        body=body,
        source=source_of(peer, forwarded, trusted) if trusted else peer,
        trace_id=trace_id,
    )


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body, None as soon as it is longer than a token request can be."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        async with asyncio.timeout(BODY_DEADLINE_S):
            while message.get("more_body", False) and len(body) <= MAX_BODY_BYTES:
                message = await receive()
                body += message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise _ClientGone
    return body if len(body) <= MAX_BODY_BYTES else None
