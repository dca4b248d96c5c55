"""Usage is folded from the record a few seconds behind it: by one process at a time, whichever comes first.

A walk goes through the record in the order of ids, from the earliest place where a writer may have something new. For a writer
that is up to date this is a little before the last walk; only where that was wrong, because something became visible late, a
next walk begins at the writer's position. What is folded is decided in `store.folding`, and never depends on where a walk
begins: that is only a matter of cost.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from issuer.store.database import Database, DatabaseUnavailable
from issuer.store.folding import Chain, finish_chains, fold_piece, load_chains, try_lock_usage
from issuer.store.partitions import first_id_at

PIECE = 2_000
"""Records a transaction looks at; fewer after one that could not be done in its time."""
_LEAST = 100
_MARGIN = timedelta(seconds=10)
"""How long after its id a record is usually visible at last: clocks a little apart, a batch that waits, a commit."""


class UsageFolder:
    """Folds what the record holds by now. What it remembers between two walks only saves work."""

    def __init__(self, database: Database, piece: int = PIECE) -> None:
        self._database = database
        self._most = self._piece = piece
        self._looked_at: dict[UUID, datetime] = {}
        self._seen: dict[UUID, int] = {}

    async def fold(self) -> int:
        """One walk. How many records it folded; none when somebody else is at it. Raises DatabaseUnavailable."""
        try:
            folded = await self._walk()
        except DatabaseUnavailable:
            # A database that is merely slow is given less to do, so that there is progress.
            self._piece = min(self._piece, max(_LEAST, self._piece // 2))
            raise
        self._piece = min(self._most, 2 * self._piece)
        return folded

    async def _walk(self) -> int:
        async with self._database.transaction() as connection:
            chains, began_at = await load_chains(connection)
        if began_at is None:
            return 0
        searches = [self._search(each) for each in chains]
        known = {each.chain.writer: each.known for each in searches}
        self._seen, folded, after = {}, 0, min(each.after for each in searches)
        while True:
            async with self._database.transaction() as connection:
                if not await try_lock_usage(connection):
                    return folded
                piece = await fold_piece(connection, after, known, self._piece)
                self._seen |= piece.held
                if piece.upto is None:
                    await finish_chains(connection, self._finished(searches))
            folded += piece.folded
            if piece.upto is None:
                break
            after = piece.upto
        self._looked_at = {writer: began_at for writer in known if writer not in self._seen}
        return folded

    def _search(self, chain: Chain) -> "_Search":
        known = max(chain.told, self._seen.get(chain.writer, 0))
        if known > chain.sequence:
            return _Search(chain, chain.id, known)
        if chain.silent and not chain.ended and not chain.complete:
            return _Search(chain, chain.id)
        looked_at = self._looked_at.get(chain.writer, chain.told_at)
        return _Search(chain, max(chain.id, first_id_at(looked_at - _MARGIN)))

    def _finished(self, searches: Sequence["_Search"]) -> list[Chain]:
        """Chains after a whole walk. What was known to be visible and was not found does not exist: it is passed over."""
        return [
            replace(
                each.chain,
                sequence=max(each.chain.sequence, each.known),
                complete=(each.chain.ended or each.chain.silent) and each.chain.writer not in self._seen,
            )
            for each in searches
            if each.known or (not each.chain.complete and (each.chain.ended or each.chain.silent))
        ]


class _Search(NamedTuple):
    """From where a writer's records are looked for; `known`: up to which sequence they are visible, if that is its position."""

    chain: Chain
    after: UUID
    known: int = 0
