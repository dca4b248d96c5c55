"""Bodies of the admin port: bounded while they are read, JSON or YAML, one document; answers in the same two writings."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from issuer.manifests import MAX_BODY_BYTES, MAX_YAML_BYTES, ManifestError, parse_documents, parse_json, to_yaml
from issuer.model.faults import Fault, Reason

BODY_DEADLINE_S = 10
MERGE_PATCH = "application/merge-patch+json"

_YAML_TYPES = frozenset({"application/yaml", "application/x-yaml", "text/yaml"})
_DOCUMENT_TYPES = frozenset({"application/json", *_YAML_TYPES})


async def read_document(request: Request, accepted: frozenset[str] = _DOCUMENT_TYPES) -> Any:
    """The body's one document, None for an empty body. Raises Fault (400, 413, 415)."""
    data = await _read(request)
    if not data.strip():
        return None
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type not in accepted:
        raise Fault(Reason.UNSUPPORTED_MEDIA_TYPE, f"send Content-Type: {' or '.join(sorted(accepted))}")
    try:
        if media_type not in _YAML_TYPES:
            return parse_json(data)
        if len(data) > MAX_YAML_BYTES:
            raise Fault(Reason.TOO_LARGE, f"YAML is limited to {MAX_YAML_BYTES} bytes; send it as JSON")
        documents = parse_documents(data.decode("utf-8"))
    except (ManifestError, UnicodeDecodeError) as error:
        raise Fault(Reason.BAD_REQUEST, f"the body cannot be read: {error}") from None
    if len(documents) != 1:
        raise Fault(Reason.BAD_REQUEST, "the body must hold one document")
    return documents[0]


async def _read(request: Request) -> bytes:
    """The bytes, soon: whoever was allowed to send them may not be any more in an hour."""
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for chunk in request.stream():
                data += chunk
                if len(data) > MAX_BODY_BYTES:
                    raise Fault(Reason.TOO_LARGE, f"the body is limited to {MAX_BODY_BYTES} bytes")
    except TimeoutError:
        raise Fault(Reason.BAD_REQUEST, f"the body did not arrive within {BODY_DEADLINE_S} s") from None
    return bytes(data)


async def read_merge_patch(request: Request) -> Any:
    """The body of a PATCH. Raises Fault (400, 413, 415)."""
    return await read_document(request, frozenset({MERGE_PATCH}))


def answer(
    request: Request, value: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """The value as the caller wants to read it. Administrative answers are never cached."""
    all_headers = {"cache-control": "no-store", **(headers or {})}
    if any(media_type in request.headers.get("accept", "") for media_type in _YAML_TYPES):
        return Response(to_yaml(dict(value)), status, all_headers, media_type="application/yaml")
    return Response(json.dumps(value, ensure_ascii=False), status, all_headers, media_type="application/json")
