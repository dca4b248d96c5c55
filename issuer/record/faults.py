"""What can be wrong with the record, and what is only not finished yet: values that name the place."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID


class Broken(StrEnum):
    """The closed list of faults."""

    RECORD_CHANGED = "record changed"
    RECORD_MISSING = "record missing"
    RECORD_MISPLACED = "record misplaced"
    RECORD_UNSEALED = "record never sealed"
    TAIL_MISSING = "end of a chain missing"
    CHAIN_REMOVED = "chain removed"
    CHAIN_UNKNOWN = "chain unknown"
    CHAIN_CHANGED = "chain changed"
    KEY_UNUSABLE = "key unusable"
    CHECKPOINT_CHANGED = "checkpoint changed"
    CHECKPOINT_MISSING = "checkpoint missing"
    FILE_CHANGED = "file changed"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault and its first place. `says`: a sentence for people; the other fields, as far as there are such."""

    broken: Broken
    says: str
    chain: UUID | None = None
    sequence: int | None = None
    record: UUID | None = None
    checkpoint: int | None = None


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The end of a chain that no checkpoint speaks of yet: its writer lives, or ended without a word."""

    chain: UUID
    records: int
    ended: bool


MOST_FAULTS = 100
"""Faults that are told one by one; of more only the number."""


@dataclass(slots=True)
class Faults:
    """The first faults, and how many there were."""

    told: list[Fault] = field(default_factory=list)
    number: int = 0

    def add(self, fault: Fault) -> None:
        """One more."""
        self.number += 1
        if len(self.told) < MOST_FAULTS:
            self.told.append(fault)


Report: TypeAlias = Callable[[Fault], None]
"""Where faults go as they are found."""
