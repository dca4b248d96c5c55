"""Events that hold whatever a test wants."""

from dataclasses import fields
from typing import Any
from uuid import UUID

from issuer.events import Caller, Event


def filled(kind: type[Event], text: str) -> Event:
    """An event with the text in every field that takes one, and in those that take a few words only."""
    values: dict[str, Any] = {}
    for field in fields(kind):
        takes_text = any(word in str(field.type) for word in ("str", "Literal"))
        values[field.name] = text if takes_text else 1
        if "Caller" in str(field.type):
            values[field.name] = Caller(UUID(int=1), text, text, 1, text, text, text, text)
    return kind(**values)
