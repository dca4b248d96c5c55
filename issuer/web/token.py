"""`POST /oauth2/token` as plain ASGI: the hot path does without a framework's Request and Response.

Bytes in, `issuance` decides, bytes out. The body is bounded while it is read, not after.
"""

from typing import Any

from starlette.types import Message, Receive, Scope, Send

from issuer.failures import Failure
from issuer.issuance import Issuance, answer_token_request
from issuer.protocol.request import MAX_BODY_BYTES, WireRequest
from issuer.protocol.response import Answer, refusal_answer
from issuer.web.failure import request_failed

_SERVER_ERROR = Answer(
    500, b'{"error":"server_error"}', ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
)


async def token_endpoint(issuance: Issuance, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers one token request."""
    try:
        body = await _read_body(receive)
        if body is None:
            answer = refusal_answer(Failure.BODY_TOO_LARGE)
        else:
            answer = await answer_token_request(issuance, _wire_request(scope, body))
    except Exception as error:  # noqa: BLE001 - the last line of defence: one request fails, no text of the error leaves
        issuance.emit(request_failed(scope["path"], error))
        answer = _SERVER_ERROR
    headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode())]
    start: Message = {"type": "http.response.start", "status": answer.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": answer.body})


def _wire_request(scope: Scope, body: bytes) -> WireRequest:
    content_type = ""
    authorization: tuple[bytes, ...] = ()
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_type = value.decode("latin-1")
        elif name == b"authorization":
            authorization = (*authorization, value)
    client: Any = scope.get("client")
    return WireRequest(
        method=scope["method"],
        content_type=content_type,
        query=scope["query_string"],
        authorization=authorization,
        body=body,
        source=client[0] if client else "",
    )


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body, None as soon as it is longer than a token request can be."""
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False) and len(body) <= MAX_BODY_BYTES:
        message = await receive()
        body += message.get("body", b"")
    return body if len(body) <= MAX_BODY_BYTES else None
