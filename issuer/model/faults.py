"""What the admin API answers when it does not do what was asked: Kubernetes `Status` objects, as values.

`reason` and the HTTP code belong together (Kubernetes API conventions, "Response Status Kind"). Every fault of an input
becomes one cause, all of them in one answer.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pydantic import ValidationError

_ALMOST_A_NAME = re.compile(r"[A-Za-z0-9.-]{1,253}")


class Reason(Enum):
    """A reason of the Kubernetes API conventions with its HTTP status code."""

    BAD_REQUEST = ("BadRequest", 400)
    UNAUTHORIZED = ("Unauthorized", 401)
    FORBIDDEN = ("Forbidden", 403)
    NOT_FOUND = ("NotFound", 404)
    METHOD_NOT_ALLOWED = ("MethodNotAllowed", 405)
    ALREADY_EXISTS = ("AlreadyExists", 409)
    CONFLICT = ("Conflict", 409)
    EXPIRED = ("Expired", 410)
    TOO_LARGE = ("RequestEntityTooLarge", 413)
    UNSUPPORTED_MEDIA_TYPE = ("UnsupportedMediaType", 415)
    INVALID = ("Invalid", 422)
    TOO_MANY_REQUESTS = ("TooManyRequests", 429)
    INTERNAL_ERROR = ("InternalError", 500)
    SERVICE_UNAVAILABLE = ("ServiceUnavailable", 503)

    @property
    def code(self) -> int:
        """The HTTP status code."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Cause:
    """One bad field: its path (`spec.scopes[1]`), a `FieldValue…` reason and a sentence."""

    field: str
    reason: str
    message: str

    def to_json(self) -> dict[str, str]:
        """As in `details.causes[]`."""
        return {"field": self.field, "reason": self.reason, "message": self.message}


class Fault(Exception):
    """A request the admin API does not fulfil. `to_status` is exactly what the caller reads."""

    def __init__(
        self, reason: Reason, message: str, *, kind: str = "", name: str = "", causes: Sequence[Cause] = ()
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.kind = kind
        self.name = name
        self.causes = tuple(causes)

    def to_status(self) -> dict[str, Any]:
        """The `Status` object (Kubernetes API conventions)."""
        details = {"kind": self.kind, "name": self.name, "causes": [cause.to_json() for cause in self.causes]}
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason.value[0],
            "details": {key: value for key, value in details.items() if value},
            "code": self.reason.code,
        }


def invalid(kind: str, name: str, causes: Iterable[Cause]) -> Fault:
    """The 422 that names every bad field of an object."""
    listed, name = sorted(causes, key=lambda cause: cause.field), _repeatable(name)
    said = "; ".join(f"{cause.field}: {cause.message}" for cause in listed)
    return Fault(
        Reason.INVALID, f"{kind} {name or '(unnamed)'} is invalid: {said}", kind=kind, name=name, causes=listed
    )


def not_found(kind: str, name: str) -> Fault:
    """The 404 of one object."""
    if not _repeatable(name):
        return Fault(Reason.NOT_FOUND, f"no {kind} has such a name: it is no DNS-1123 name", kind=kind)
    return Fault(Reason.NOT_FOUND, f"{kind} {name!r} not found", kind=kind, name=name)


def _repeatable(name: str) -> str:
    """A name as it is, if it is almost one. What was pasted in its place may be a secret, and proxies and tickets keep answers.

    Our secrets have a `_`, and tokens are longer.
    """
    return name if _ALMOST_A_NAME.fullmatch(name) is not None else ""


def expired() -> Fault:
    """The 410 of a revision that is not known (any more): trimmed, or of a database that was replaced."""
    return Fault(
        Reason.EXPIRED, "the resourceVersion is too old, or of another database: list again and go on from there"
    )


def conflict(kind: str, name: str, message: str) -> Fault:
    """The 409 of a write that lost a race or broke a precondition; `message` says what to do."""
    return Fault(Reason.CONFLICT, message, kind=kind, name=name)


_REASONS = {
    "missing": "FieldValueRequired",
    "extra_forbidden": "FieldValueForbidden",
    "literal_error": "FieldValueNotSupported",
    "enum": "FieldValueNotSupported",
    "string_too_long": "FieldValueTooLong",
    "too_long": "FieldValueTooMany",
    "duplicate": "FieldValueDuplicate",
    "forbidden": "FieldValueForbidden",
}
_SENTENCES = {"missing": "is required", "extra_forbidden": "unknown field"}


def causes_of(error: ValidationError, prefix: str = "") -> list[Cause]:
    """One cause for every fault pydantic found, the path as its writer knows it. Never quotes the value."""
    return [
        Cause(
            field=_path((prefix, *fault["loc"])),
            reason=_REASONS.get(fault["type"], _by_family(fault["type"])),
            message=_SENTENCES.get(fault["type"], fault["msg"]),
        )
        for fault in error.errors(include_input=False, include_url=False)
    ]


def _by_family(kind: str) -> str:
    return "FieldValueTypeInvalid" if kind.endswith(("_type", "_parsing")) else "FieldValueInvalid"


def _path(parts: Iterable[int | str]) -> str:
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part and part != "[key]":
            path += f".{part}" if path else part
    return path
