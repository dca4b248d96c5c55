"""Instants as the API writes them: RFC 3339, UTC, whole seconds (Kubernetes `metav1.Time`)."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError


def format_time(instant: datetime) -> str:
    """`2026-01-15T03:00:00Z`."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """The aware instant. Raises ValueError unless it is RFC 3339 with an offset."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be an RFC 3339 time such as 2027-01-31T12:00:00Z") from None
    if instant.tzinfo is None or "T" not in text.upper():
        raise ValueError("must be an RFC 3339 time with an offset, such as 2027-01-31T12:00:00Z")
    return instant


def _normal(text: str) -> str:
    try:
        return format_time(parse_time(text))
    except (ValueError, OverflowError) as error:
        raise PydanticCustomError("time", "{why}", {"why": str(error)}) from None


Time = Annotated[str, AfterValidator(_normal)]
"""An instant in a resource, normalised to UTC seconds."""
