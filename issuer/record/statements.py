"""Verifying checkpoints: each signed, none missing between the first that must be there and the newest, each after its own.

One pass in the order of their numbers; what stays in memory is a few numbers for every chain. The newest checkpoint is taken
from the caller's hand: that one was taken away is noticed by what the chains themselves remember (`record.verifying`), or by
the log, where each checkpoint leaves its number and its digest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from joserfc.jwk import ECKey

from issuer.record.chain import Link
from issuer.record.checkpoint import Checkpoint, CheckpointRejected, Head, digest, read_checkpoint
from issuer.record.faults import Broken, Fault, Report


class StoredCheckpoint(NamedTuple):
    """A row of `checkpoints`. Its columns are for queries; what counts is in the text."""

    number: int
    at: datetime
    full: bool
    text: str


@dataclass(slots=True)
class Stated:
    """What all checkpoints together say of a chain. `number`: of the checkpoint with the farthest head.

    `required`: the farthest head stated early enough for the record to be looked for. `starts`: MACs of the records after
    which others may have been dropped, by sequence.
    """

    key_id: str
    head: Link
    number: int
    required: Link | None = None
    starts: dict[int, bytes] = field(default_factory=dict)


class Statements:
    """`newest`: the checkpoint with the greatest number. `until`: heads stated later are not required."""

    def __init__(
        self,
        keys: Mapping[str, ECKey],
        newest: StoredCheckpoint | None,
        report: Report,
        *,
        until: datetime | None = None,
    ) -> None:
        self.chains: dict[UUID, Stated] = {}
        self.exports: dict[str, bytes] = {}
        self.number = 0
        self._keys = keys
        self._report = report
        self._until = until
        self._first = self._first_wanted(newest)
        self._before: tuple[int, bytes | None] | None = None

    def take(self, row: StoredCheckpoint) -> None:
        """The next one in order; those before the first that must be there are leftovers, and passed over."""
        if self._first is not None and row.number < self._first:
            return
        self.number += 1
        try:
            checkpoint = read_checkpoint(row.text, self._keys)
        except CheckpointRejected as error:
            self._say(Broken.CHECKPOINT_CHANGED, row.number, f"checkpoint {row.number} is not what was signed: {error}")
            self._follows(row.number, None)
            # Its successor is not held against a text that was changed: one fault, one place.
            self._before = (row.number, None)
            return
        if (checkpoint.number, checkpoint.at, checkpoint.full) != (row.number, row.at, row.full):
            self._say(
                Broken.CHECKPOINT_CHANGED,
                row.number,
                f"checkpoint {row.number} is in the place of another: it was signed as {checkpoint.number}",
            )
        self._follows(row.number, checkpoint)
        self._before = (row.number, digest(row.text))
        self._learn(checkpoint)

    def _first_wanted(self, newest: StoredCheckpoint | None) -> int | None:
        if newest is None:
            return None
        try:
            return read_checkpoint(newest.text, self._keys).first
        except CheckpointRejected:
            return None  # said when its turn comes

    def _follows(self, number: int, checkpoint: Checkpoint | None) -> None:
        """Whether nothing is missing between this one and what was seen before it."""
        if self._before is None:
            first = self._first
            if first is not None and number != first:
                self._missing(first, number)
            elif checkpoint is not None and first is not None and not checkpoint.full:
                self._say(
                    Broken.CHECKPOINT_CHANGED, number, f"checkpoint {number} is the first one, and not a full one"
                )
            return
        before, wanted = self._before
        if number != before + 1:
            self._missing(before + 1, number)
        elif checkpoint is not None and wanted is not None and checkpoint.previous != wanted:
            self._say(
                Broken.CHECKPOINT_CHANGED,
                before,
                f"checkpoint {before} is not the one that checkpoint {number} was signed after",
            )

    def _missing(self, first: int, number: int) -> None:
        which = f"checkpoint {first} is" if number == first + 1 else f"checkpoints {first} to {number - 1} are"
        self._say(Broken.CHECKPOINT_MISSING, first, f"{which} missing")

    def _learn(self, checkpoint: Checkpoint) -> None:
        required = self._until is None or checkpoint.at <= self._until
        for head in checkpoint.heads:
            self._learn_head(head, checkpoint.number, required=required)
        self.exports.update({export.name: export.sha256 for export in checkpoint.exports})

    def _learn_head(self, head: Head, number: int, *, required: bool) -> None:
        known = self.chains.get(head.head.writer)
        if known is None:
            known = self.chains[head.head.writer] = Stated(head.key_id, head.head, number)
        elif head.key_id != known.key_id:
            self._say(Broken.CHAIN_CHANGED, number, f"checkpoint {number} names another key for {_chain(head)}")
        if head.head.sequence > known.head.sequence:
            known.head, known.number = head.head, number
        if required and (known.required is None or head.head.sequence > known.required.sequence):
            known.required = head.head
        if head.dropped.sequence:
            known.starts[head.dropped.sequence] = head.dropped.mac

    def _say(self, broken: Broken, number: int, says: str) -> None:
        self._report(Fault(broken, says, checkpoint=number))


def _chain(head: Head) -> str:
    return f"chain {head.head.writer}"
