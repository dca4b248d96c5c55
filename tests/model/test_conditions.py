"""Conditions: a map by type; `lastTransitionTime` moves with `status` only."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from issuer.model.conditions import Condition, merge_conditions

NOW = datetime(2026, 1, 15, 3, tzinfo=UTC)
THEN = "2026-01-01T00:00:00Z"


def condition(kind: str, status: str, reason: str = "R", **rest: Any) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, **rest}


def test_a_new_type_is_appended_with_the_instant() -> None:
    merged = merge_conditions([condition("A", "True", lastTransitionTime=THEN)], [condition("B", "False")], NOW)
    assert merged == [
        condition("A", "True", lastTransitionTime=THEN),
        condition("B", "False", lastTransitionTime="2026-01-15T03:00:00Z"),
    ]


def test_another_reason_with_the_same_status_moves_no_time() -> None:
    before = [condition("A", "True", lastTransitionTime=THEN)]
    sent = condition("A", "True", "Other", lastTransitionTime="2026-01-10T00:00:00Z")
    assert merge_conditions(before, [sent], NOW) == [condition("A", "True", "Other", lastTransitionTime=THEN)]


def test_another_status_moves_the_time_in_its_place() -> None:
    before = [condition("A", "True", lastTransitionTime=THEN), condition("B", "True", lastTransitionTime=THEN)]
    merged = merge_conditions(before, [condition("A", "False")], NOW)
    assert [each["type"] for each in merged] == ["A", "B"]
    assert merged[0]["lastTransitionTime"] == "2026-01-15T03:00:00Z"
    assert before[0]["lastTransitionTime"] == THEN


def test_a_field_left_out_is_gone_afterwards() -> None:
    before = [condition("A", "True", message="old", lastTransitionTime=THEN)]
    assert merge_conditions(before, [condition("A", "True")], NOW) == [condition("A", "True", lastTransitionTime=THEN)]


@pytest.mark.parametrize(
    "bad",
    [
        {"status": "true"},
        {"status": True},
        {"reason": ""},
        {"reason": "no spaces"},
        {"reason": "R\n"},
        {"observedGeneration": -1},
        {"observedGeneration": "1"},
        {"observed_generation": 1},
        {"lastTransitionTime": "yesterday"},
        {"message": "x" * 32_769},
        {"type": ""},
        {"colour": "red"},
    ],
    ids=str,
)
def test_a_condition_is_checked_as_kubernetes_checks_it(bad: dict[str, Any]) -> None:
    Condition.model_validate(condition("A", "True", observedGeneration=1, message="m", lastTransitionTime=THEN))
    with pytest.raises(ValidationError):
        Condition.model_validate({**condition("A", "True"), **bad})
