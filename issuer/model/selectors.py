"""Label selectors (Kubernetes `metav1.LabelSelector`): what they may hold, and what they match.

An absent or empty selector matches everything in reach. Requirements add up. `NotIn` and `DoesNotExist` match objects
without the label, as in Kubernetes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from issuer.model.metadata import LabelKey, LabelValue, Written


class MatchExpression(Written):
    """One requirement on one label."""

    key: LabelKey
    """The label's key."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """What is required of it. `NotIn` and `DoesNotExist` also match objects without the label."""
    values: Annotated[list[LabelValue], Field(max_length=256)] = []
    """The values that `In` and `NotIn` mean; the others take none."""

    @field_validator("values")
    @classmethod
    def _as_the_operator_wants(cls, values: list[str], info: ValidationInfo) -> list[str]:
        operator = info.data.get("operator")
        if operator in {"In", "NotIn"} and not values:
            raise PydanticCustomError("missing", "In and NotIn need values")
        if operator in {"Exists", "DoesNotExist"} and values:
            raise PydanticCustomError("forbidden", "Exists and DoesNotExist take no values")
        return values


class LabelSelector(Written):
    """What `matchLabels` and `matchExpressions` say together."""

    match_labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=64)] = {}
    """Labels that must have exactly these values."""
    match_expressions: Annotated[list[MatchExpression], Field(max_length=64)] = []
    """Requirements that must hold as well."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One label and the values it may have. `negated`: the values it may not have; `values` None: any value."""

    key: str
    values: frozenset[str] | None
    negated: bool

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet it."""
        value = labels.get(self.key)
        found = value is not None and (self.values is None or value in self.values)
        return found is not self.negated


@dataclass(frozen=True, slots=True)
class Selector:
    """A compiled selector; without requirements it matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet every requirement."""
        return all(requirement.holds(labels) for requirement in self.requirements)


def compile_selector(spec: Mapping[str, Any] | None) -> Selector:
    """The selector of a checked spec; absent means everything."""
    if not spec:
        return Selector()
    equal = [Requirement(key, frozenset({value}), negated=False) for key, value in spec["matchLabels"].items()]
    rest = [_requirement(expression) for expression in spec["matchExpressions"]]
    return Selector((*equal, *rest))


def _requirement(expression: Mapping[str, Any]) -> Requirement:
    operator = expression["operator"]
    any_value = operator in {"Exists", "DoesNotExist"}
    return Requirement(
        expression["key"],
        None if any_value else frozenset(expression["values"]),
        negated=operator in {"NotIn", "DoesNotExist"},
    )
