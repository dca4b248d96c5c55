"""What schemas say of texts is what the validators hold: no more and no less than a pattern can say."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from issuer.model.durations import Duration, parse_duration_s
from issuer.model.metadata import LabelKey, LabelValue
from issuer.model.patterns import Pattern
from issuer.model.scopes import Audience, ScopeToken

ALIKE: dict[str, Any] = {
    "label key": LabelKey,
    "label value": LabelValue,
    "scope token": ScopeToken,
    "audience": Audience,
    "pattern": Pattern,
}


def is_valid(adapter: TypeAdapter[Any], text: str) -> bool:
    try:
        adapter.validate_python(text)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("kind", ALIKE.values(), ids=list(ALIKE))
def test_every_text_of_the_schemas_shape_is_accepted(kind: Any) -> None:
    adapter = TypeAdapter[Any](kind)
    schema = adapter.json_schema()

    @settings(max_examples=50)
    @given(st.from_regex(schema["pattern"].removesuffix("$") + r"\Z"))
    def holds(text: str) -> None:
        short = len(text) <= schema["maxLength"] and len(text.partition("/")[0]) <= 253
        assert is_valid(adapter, text) or not short

    holds()


@pytest.mark.parametrize("kind", ALIKE.values(), ids=list(ALIKE))
def test_no_other_text_is(kind: Any) -> None:
    adapter = TypeAdapter[Any](kind)
    schema = adapter.json_schema()
    pattern = re.compile(schema["pattern"].removesuffix("$") + r"\Z")

    @settings(max_examples=50)
    @given(st.text(st.characters(max_codepoint=0x100), max_size=8))
    def holds(text: str) -> None:
        assert is_valid(adapter, text) is (pattern.search(text) is not None)

    holds()


def test_a_duration_of_the_schemas_shape_can_be_read() -> None:
    pattern = TypeAdapter[Any](Duration).json_schema()["pattern"].removesuffix("$") + r"\Z"

    @settings(max_examples=50)
    @given(st.from_regex(pattern))
    def holds(text: str) -> None:
        assert parse_duration_s(text) >= 0

    holds()
