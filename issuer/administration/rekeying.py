"""Another master key: everything sealed is wrapped anew under the current one, while servers run.

A blob names the key that wraps it, so there is nothing to remember: whoever runs this again, after a crash or at the same
time, goes on with what is not under the current key yet. Only the wrapping changes. Every server must be able to open what
the current key wraps before this begins. Each transaction records what it did: who replaced which master keys, of how much.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from issuer.administration.auditkeys import AUDIT_KEY_PURPOSE
from issuer.administration.authorize import Principal
from issuer.administration.bootstrap import KEY_PURPOSE, PEPPER_PURPOSE, NotBootstrapped
from issuer.administration.secrets import SEAL_PURPOSE
from issuer.administration.writing import WritePath
from issuer.model.kinds import MASTER_KEY
from issuer.signing.sealing import CHECK_PURPOSE, MasterKey, SealError, kek_id_of
from issuer.store.database import Connection
from issuer.store.installation import read_master_key_check
from issuer.store.resources import Subject, record_audit
from issuer.store.sealed import (
    AUDIT_KEYS,
    CHECK_VALUE,
    PEPPERS,
    SEALED_COLUMNS,
    SIGNING_KEYS,
    UNDELIVERED_SECRETS,
    Key,
    SealedColumn,
    count_sealed,
    find_sealed,
    lock_sealed,
    write_sealed,
)

PURPOSES: Mapping[SealedColumn, str] = {
    UNDELIVERED_SECRETS: SEAL_PURPOSE,
    SIGNING_KEYS: KEY_PURPOSE,
    PEPPERS: PEPPER_PURPOSE,
    AUDIT_KEYS: AUDIT_KEY_PURPOSE,
    CHECK_VALUE: CHECK_PURPOSE,
}
_PAGE = 20_000
"""Rows that one look at a table finds: finding them reads it all, however few they are."""
_BATCH = 100
_PASSES = 5
"""How often what others had locked is come back to."""
_PAUSE_S = 0.2

Counts: TypeAlias = Mapping[SealedColumn, int]
Progress: TypeAlias = Callable[[int, int], None]
"""Told how many are done of how many there were to do."""


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """What came of it. `left`: what other master keys still seal, by their ids; `unreadable`: blobs no given key opens."""

    rewrapped: Counts
    left: Mapping[str, Counts]
    unreadable: tuple[str, ...]


async def require_master_key(connection: Connection, master_key: MasterKey) -> Mapping[str, Counts]:
    """What each master key seals in this database, all of them known here.

    Raises MasterKeyError, which names those that are missing; NotBootstrapped: there is nothing sealed yet.
    """
    check = await read_master_key_check(connection)
    if check is None:
        raise NotBootstrapped
    sealed = await count_sealed(connection)
    master_key.require(sealed)
    master_key.check(check)
    return sealed


async def rekey(path: WritePath, local: Principal, master_key: MasterKey, progressed: Progress) -> Rekeyed:
    """Wraps everything under the current key. Raises MasterKeyError and NotBootstrapped before anything is changed."""
    async with path.database.transaction() as connection:
        sealed = await require_master_key(connection, master_key)
    run = _Run(path, local, master_key, _total(_others(sealed, master_key)), progressed)
    left = await run.once()
    for _ in range(_PASSES - 1):
        if _total(left) <= len(run.unreadable):
            break
        await asyncio.sleep(_PAUSE_S)
        left = await run.once()
    return Rekeyed(run.rewrapped, left, tuple(sorted(run.unreadable)))


class _Run:
    """Counts what it does."""

    def __init__(
        self, path: WritePath, local: Principal, master_key: MasterKey, total: int, progressed: Progress
    ) -> None:
        self.rewrapped: dict[SealedColumn, int] = {}
        self.unreadable: set[str] = set()
        self._path = path
        self._local = local
        self._master_key = master_key
        self._total = total
        self._progressed = progressed

    @property
    def done(self) -> int:
        """Blobs that are under the current key now."""
        return sum(self.rewrapped.values())

    async def once(self) -> Mapping[str, Counts]:
        """One pass over everything; what other keys seal after it."""
        for column in SEALED_COLUMNS:
            while await self._page(column):
                pass
        async with self._path.database.transaction() as connection:
            return _others(await count_sealed(connection), self._master_key)

    async def _page(self, column: SealedColumn) -> bool:
        """Works through one look at the table; whether another one will find more to do."""
        async with self._path.database.transaction() as connection:
            keys = await find_sealed(connection, column, other_than=self._master_key.current, most=_PAGE)
        before = self.done
        for start in range(0, len(keys), _BATCH):
            await self._batch(column, keys[start : start + _BATCH])
            self._progressed(self.done, max(self.done, self._total))
        return len(keys) == _PAGE and self.done > before

    async def _batch(self, column: SealedColumn, keys: Sequence[Key]) -> None:
        async with self._path.write(self._local, "rekey") as write:
            blobs = await lock_sealed(write.connection, column, keys, other_than=self._master_key.current)
            anew = {
                key: made for key, blob in blobs.items() if (made := self._rewrapped(column, key, blob)) is not None
            }
            if anew:
                await write_sealed(write.connection, column, anew)
                replaced = sorted({kek_id_of(blobs[key]) for key in anew})
                note = {"rewrapped": column.plural, "count": len(anew), "replaced": replaced}
                subject = Subject(MASTER_KEY, self._master_key.current)
                await record_audit(write.connection, write.audit_entry(subject, note))
        if anew:
            self.rewrapped[column] = self.rewrapped.get(column, 0) + len(anew)

    def _rewrapped(self, column: SealedColumn, key: Key, blob: bytes) -> bytes | None:
        owner = "" if column is CHECK_VALUE else "/".join(str(part) for part in key)
        try:
            return self._master_key.rewrap(blob, purpose=PURPOSES[column], owner=owner)
        except SealError as error:
            # Damage, or a row from elsewhere: it was as lost before, and is no reason to leave the others behind.
            self.unreadable.add(f"{column.name} {owner} {error}".replace("  ", " "))
            return None


def _others(sealed: Mapping[str, Counts], master_key: MasterKey) -> Mapping[str, Counts]:
    return {kek_id: counts for kek_id, counts in sealed.items() if kek_id != master_key.current}


def _total(sealed: Mapping[str, Counts]) -> int:
    return sum(sum(counts.values()) for counts in sealed.values())
