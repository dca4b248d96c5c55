"""Representations with a validator: what is made once, sent often, and not sent again to whoever has it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from starlette.requests import Request
from starlette.responses import Response


@dataclass(frozen=True, slots=True)
class Document:
    """A representation and its validator."""

    body: bytes
    etag: str
    media_type: str


def document_of(value: Mapping[str, Any], media_type: str = "application/json") -> Document:
    """The document of a JSON object."""
    return document_of_text(json.dumps(value, separators=(",", ":")), media_type)


def document_of_text(text: str, media_type: str) -> Document:
    """The document of a text."""
    body = text.encode()
    return Document(body, f'"{sha256(body).hexdigest()[:32]}"', media_type)


def conditional(request: Request, document: Document, headers: Mapping[str, str]) -> Response:
    """The document, or 304 for who has it already (RFC 9110 section 13.1.2, weak comparison)."""
    headers = {**headers, "etag": document.etag}
    given = {each.strip().removeprefix("W/") for each in ",".join(request.headers.getlist("if-none-match")).split(",")}
    if document.etag in given or "*" in given:
        return Response(status_code=304, headers=headers)
    return Response(document.body, headers=headers, media_type=document.media_type)
