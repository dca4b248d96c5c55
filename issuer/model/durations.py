"""Durations as people write them: Go syntax (`5m`, `1h30m`), whole seconds.

Source of the syntax: Go's `time.ParseDuration`, which Kubernetes resources use; fractions and units below a second are
left out, since a token lives in whole seconds.
"""

import re
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from issuer.model.shapes import shaped

SHORTEST_S = 10
LONGEST_S = 86_400

_UNITS_S = {"h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:[0-9]{1,6}[hms])+", re.ASCII)
_PART = re.compile(r"([0-9]+)([hms])", re.ASCII)


def parse_duration_s(text: str) -> int:
    """The duration in seconds. Raises ValueError on anything but whole hours, minutes and seconds."""
    if not _DURATION.fullmatch(text):
        raise ValueError("must be a duration such as 30s, 5m or 1h30m")
    return sum(int(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))


def format_duration(seconds: int) -> str:
    """The shortest writing of whole seconds: `parse_duration_s` reads it back."""
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if number]
    return "".join(parts) or "0s"


def _bounded(text: str) -> str:
    try:
        seconds = parse_duration_s(text)
    except ValueError as error:
        raise PydanticCustomError("duration", "{why}", {"why": str(error)}) from None
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise PydanticCustomError("duration", "must be from 10s to 24h")
    return text


Duration = Annotated[str, AfterValidator(_bounded), shaped(f"^{_DURATION.pattern}$")]
"""A token lifetime as written in a resource: from 10 s to 24 h, kept as its writer wrote it."""
