"""Patterns of policies: exact text, or a prefix written with one trailing `*`. Nothing else is a wildcard.

A `*` anywhere else, or alone, is refused when written: patterns anchored by hand are how allow-lists leak
(octo-sts GHSA-mwqh-2vg8-rhj3). Matching is comparison, there is no expression to get wrong.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

from issuer.model.shapes import shaped


def _pattern(text: str) -> str:
    if "*" in text[:-1] or text == "*":
        raise PydanticCustomError("pattern", "the only wildcard is one trailing * after at least one more character")
    return text


Pattern = Annotated[
    str,
    StringConstraints(min_length=1, max_length=512),
    AfterValidator(_pattern),
    shaped(r"^[^*]+\*?$", shortest=1, longest=512),
]


@dataclass(frozen=True, slots=True)
class Patterns:
    """A compiled list of patterns. An empty one matches nothing."""

    exact: frozenset[str]
    prefixes: tuple[str, ...]

    def match(self, text: str) -> bool:
        """Whether one of them matches."""
        return text in self.exact or text.startswith(self.prefixes)


def compile_patterns(patterns: Iterable[str]) -> Patterns:
    """The patterns, ready to match."""
    written = tuple(patterns)
    return Patterns(
        frozenset(each for each in written if not each.endswith("*")),
        tuple(sorted({each[:-1] for each in written if each.endswith("*")})),
    )
