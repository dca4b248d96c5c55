"""Verifying chains: one pass over all records in the order of their ids, and a few numbers in memory for every chain.

A record fits when its MAC follows from the one before it in its chain. Where one does not, that place is told, and the chain is
followed on from what stands there: one change is one fault, and nothing behind it hides. In the end every chain must have come
as far as a checkpoint, or its own writer, once said it had.
"""

import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from issuer.record.administrative import ADMIN_CHAIN
from issuer.record.chain import Link, first_link, link_after
from issuer.record.faults import Broken, Fault, Report, Unfinished
from issuer.record.statements import Stated


class ToldChain(NamedTuple):
    """A row of `record_chains`. `stated`: the sequence that a checkpoint has stated, None: none has."""

    key_id: str
    head: Link
    ended: bool
    stated: int | None


@dataclass(slots=True)
class _Followed:
    """A chain as far as it has been seen. `starts`: where it may begin; `told`: what others say of its heads."""

    writer: UUID
    key: bytes | None
    starts: dict[int, bytes]
    told: list[tuple[Link, str]]
    known: bool = True
    ended: bool = False
    stated: int = 0
    last: Link | None = None
    taken_from: int | None = None
    records: int = 0
    faulty: bool = False

    @property
    def reached(self) -> int:
        """The last record of it that was seen, or dropped when its time was over."""
        return max(self.starts) if self.last is None else self.last.sequence


@dataclass(slots=True)
class Chains:
    """All chains. `partial`: only records from some instant on are shown, so a chain may begin anywhere.

    `heads_told` False: the newest records are not shown, so what writers told of themselves says nothing.
    """

    report: Report
    partial: bool = False
    heads_told: bool = True
    records: int = 0
    _chains: dict[UUID, _Followed] = field(default_factory=dict)

    def expect(self, told: Mapping[UUID, ToldChain], stated: Mapping[UUID, Stated], keys: Mapping[str, bytes]) -> None:
        """Which chains there are: by their own rows, and by checkpoints."""
        for writer in sorted(told.keys() | stated.keys()):
            chain, said = told.get(writer), stated.get(writer)
            self._chains[writer] = self._expected(writer, chain, said, keys)

    def take(self, link: Link, payload: bytes | None, record: UUID) -> None:
        """The next record, and the place it claims. `payload` None: the place is there, and the record is gone."""
        self.records += 1
        chain = self._chains.get(link.writer)
        if chain is None:
            chain = self._chains[link.writer] = _Followed(link.writer, None, {0: b""}, [], known=False)
            self._say(chain, Broken.CHAIN_UNKNOWN, "belongs to a chain that nobody began", link.sequence, record)
        chain.records += 1
        if chain.key is None:
            chain.last = link
            return
        wrong = self._wrong_with(chain, chain.key, link, payload)
        if wrong is not None and not chain.faulty:
            self._say(chain, *wrong, link.sequence, record)
        chain.faulty = wrong is not None
        if chain.last is None or link.sequence > chain.last.sequence:
            chain.last = link

    def end(self) -> Iterator[Unfinished]:
        """Nothing comes any more: what is missing at the ends, and what is not finished yet."""
        for chain in self._chains.values():
            self._require_end(chain)
            beyond = chain.reached - chain.stated
            if chain.known and not self.partial and self.heads_told and beyond > 0:
                yield Unfinished(chain.writer, beyond, chain.ended)

    @property
    def chains(self) -> int:
        """How many had a record to look at."""
        return sum(chain.records > 0 for chain in self._chains.values())

    @property
    def unproven(self) -> int:
        """Chains whose first record in view could not be held against the one before it."""
        return sum(chain.taken_from is not None for chain in self._chains.values())

    def _expected(
        self, writer: UUID, chain: ToldChain | None, said: Stated | None, keys: Mapping[str, bytes]
    ) -> _Followed:
        key_id = said.key_id if said is not None else chain.key_id if chain is not None else ""
        key = keys.get(key_id)
        followed = _Followed(writer, key, {0: first_link(key, writer).mac if key is not None else b""}, [])
        if said is not None:
            followed.starts.update(said.starts)
            followed.stated = said.head.sequence
            if said.required is not None:
                followed.told.append((said.required, f"checkpoint {said.number}"))
        if chain is not None:
            followed.ended = chain.ended
            if self.heads_told:
                followed.told.append((chain.head, "its own writer"))
        if key is None:
            self._say(followed, Broken.KEY_UNUSABLE, f"was made with the key {key_id!r}, which does not open")
        self._compare(followed, chain, said)
        return followed

    def _compare(self, followed: _Followed, chain: ToldChain | None, said: Stated | None) -> None:
        """What the chain's own row says, against what was signed."""
        stated = said.head.sequence if said is not None else 0
        if chain is None:
            if said is not None and stated > max(followed.starts):
                says = f"is not among the chains, and checkpoint {said.number} saw {stated} records of it"
                self._say(followed, Broken.CHAIN_REMOVED, says)
        elif said is not None and chain.key_id != said.key_id:
            says = f"claims the key {chain.key_id!r}, not {said.key_id!r}"
            self._say(followed, Broken.CHAIN_CHANGED, says)
        elif chain.head.sequence < stated:
            says = f"claims to end with {chain.head.sequence}, not with {stated}"
            self._say(followed, Broken.CHAIN_CHANGED, says)
        elif (chain.stated or 0) > stated:
            says = f"was stated as far as {chain.stated}, in a checkpoint that is not there"
            self._say(followed, Broken.CHECKPOINT_MISSING, says)

    def _wrong_with(self, chain: _Followed, key: bytes, link: Link, payload: bytes | None) -> tuple[Broken, str] | None:
        """Why a record does not fit where it stands; None: it does."""
        before = chain.last
        if before is None and (mac := chain.starts.get(link.sequence - 1)) is not None:
            before = Link(link.writer, link.sequence - 1, mac)
        if before is None and self.partial:
            chain.taken_from = link.sequence
        elif before is None or link.sequence > before.sequence + 1:
            seen = (
                max((start for start in chain.starts if start < link.sequence), default=0)
                if before is None
                else before.sequence
            )
            gone = f"{seen + 1}" if link.sequence == seen + 2 else f"{seen + 1} to {link.sequence - 1}"
            return Broken.RECORD_MISSING, f"follows where {gone} should be"
        elif link.sequence <= before.sequence:
            return Broken.RECORD_MISPLACED, f"comes after {before.sequence}"
        elif payload is None:
            return Broken.RECORD_MISSING, "is gone"
        elif not hmac.compare_digest(link_after(key, before, payload).mac, link.mac):
            return Broken.RECORD_CHANGED, "is not what was recorded"
        for head, by in chain.told:
            if head.sequence == link.sequence and head.mac != link.mac:
                return Broken.RECORD_CHANGED, f"is not the one that {by} told of"
        return None

    def _require_end(self, chain: _Followed) -> None:
        if chain.last is None and self.partial:
            return  # all its records may lie before what is shown
        for head, by in chain.told:
            if head.sequence > chain.reached:
                says = f"ends with {chain.reached}: {head.sequence - chain.reached} more, as {by} told, are missing"
                self._say(chain, Broken.TAIL_MISSING, says, chain.reached + 1)
                return
            if chain.starts.get(head.sequence, head.mac) != head.mac:
                self._say(chain, Broken.CHAIN_CHANGED, f"has another head than {by} told of", head.sequence)

    def _say(
        self, chain: _Followed, broken: Broken, says: str, sequence: int | None = None, record: UUID | None = None
    ) -> None:
        name = "the chain of administrative records" if chain.writer == ADMIN_CHAIN else f"chain {chain.writer}"
        place = f"record {record}, at {sequence} of {name}," if record is not None else name
        self.report(Fault(broken, f"{place} {says}", chain.writer, sequence, record))
