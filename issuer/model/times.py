"""Instants as the API writes them: RFC 3339, UTC, whole seconds (Kubernetes `metav1.Time`)."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

# RFC 3339 section 5.6. Python's own reader takes more: ISO weeks, no separators, no seconds.
_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})", re.ASCII | re.IGNORECASE
)
_WANTED = "must be an RFC 3339 time with an offset, such as 2027-01-31T12:00:00Z"


def format_time(instant: datetime) -> str:
    """`2026-01-15T03:00:00Z`."""
    # Not strftime: its %Y writes the year 1 (Go's zero time) without leading zeros, and nothing could read that back.
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def parse_time(text: str) -> datetime:
    """The aware instant. Raises ValueError unless it is RFC 3339 with an offset."""
    if not _RFC3339.fullmatch(text):
        raise ValueError(_WANTED)
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError(_WANTED) from None


def _normal(text: str) -> str:
    try:
        return format_time(parse_time(text))
    except (ValueError, OverflowError) as error:
        raise PydanticCustomError("time", "{why}", {"why": str(error)}) from None


Time = Annotated[
    str,
    AfterValidator(_normal),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""An instant in a resource, normalised to UTC seconds."""
