"""What a check finds, and how a table of checks becomes a report."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

Case = TypeVar("Case", contravariant=True)  # noqa: PLC0105 - it is what a judge takes


class Level(StrEnum):
    """How bad it is. A warning works today; an error does not, or puts secrets or tokens at risk."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence, its details one a line, and what to do. Never holds a secret."""

    level: Level
    message: str
    next_step: str = ""
    details: tuple[str, ...] = ()


def ok(message: str) -> Finding:
    """Nothing to do."""
    return Finding(Level.OK, message)


def warning(message: str, next_step: str, details: Iterable[str] = ()) -> Finding:
    """It works; somebody should see to it."""
    return Finding(Level.WARNING, message, next_step, tuple(details))


def error(message: str, next_step: str, details: Iterable[str] = ()) -> Finding:
    """It does not work, or is not safe."""
    return Finding(Level.ERROR, message, next_step, tuple(details))


@dataclass(frozen=True, slots=True)
class Check(Generic[Case]):
    """One row: its name, the case it wants to know, and the judgement."""

    name: str
    needs: type[Case]
    judge: Callable[[Case], Finding]


@dataclass(frozen=True, slots=True)
class Report:
    """Findings by name of the check, in the order of the table; `not_made` had no facts to judge."""

    findings: Mapping[str, Finding]
    not_made: tuple[str, ...]

    def count(self, level: Level) -> int:
        """How many findings of this level there are."""
        return sum(finding.level is level for finding in self.findings.values())


def judge_all(checks: Sequence[Check[Any]], cases: Iterable[object]) -> Report:
    """Every check whose case is known is made."""
    known = {type(case): case for case in cases}
    return Report(
        {check.name: check.judge(known[check.needs]) for check in checks if check.needs in known},
        tuple(check.name for check in checks if check.needs not in known),
    )
