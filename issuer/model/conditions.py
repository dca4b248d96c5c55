"""Status conditions (Kubernetes API conventions): a map keyed by `type`, written as a list."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic.main import BaseModel

from issuer.model.times import Time, format_time


class Condition(BaseModel):
    """One aspect of an object's state. Conditions are merged by type."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, alias_generator=to_camel, use_attribute_docstrings=True
    )

    type: Annotated[str, StringConstraints(min_length=1, max_length=316)]
    """Which aspect. The type decides who may write it."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", max_length=1024)]
    """Why, in one word for machines."""
    message: Annotated[str, StringConstraints(max_length=32_768)] | None = None
    """Why, in a sentence for people."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The generation it was worked out for."""
    last_transition_time: Time | None = None
    """When `status` last changed; the issuer's clock when left out."""


def merge_conditions(
    current: Iterable[Mapping[str, Any]], wanted: Iterable[Mapping[str, Any]], now: datetime
) -> list[dict[str, Any]]:
    """`current` with every condition of `wanted` in place of its type's; `lastTransitionTime` moves with `status` only."""
    merged = {condition["type"]: dict(condition) for condition in current}
    for condition in wanted:
        before = merged.get(condition["type"])
        after = {key: value for key, value in condition.items() if value is not None}
        if before is not None and before["status"] == after["status"]:
            after["lastTransitionTime"] = before["lastTransitionTime"]
        else:
            after.setdefault("lastTransitionTime", format_time(now))
        merged[condition["type"]] = after
    return list(merged.values())
