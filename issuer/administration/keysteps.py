"""The life of signing keys by schedule: one step at a time, taken by whichever replica comes first.

A key is made before any lock is taken, since an RSA key takes its time; the question what to do is asked again inside the
transaction, and only the same answer is acted upon. A crash anywhere leaves the ring as it was, for whoever looks next.
"""

import asyncio

from issuer.administration.authorize import SYSTEM
from issuer.administration.bootstrap import KEY_PURPOSE
from issuer.administration.keys import KeyKeeper
from issuer.administration.keysets import Ring, restated, ring_of, too_often
from issuer.administration.writing import Write
from issuer.events import KeyForgotten, KeyIntervalTooShort, KeyPublished, KeyRetiring
from issuer.model.keyset import MAX_KEYSETS
from issuer.model.kinds import KEY_SET
from issuer.model.times import format_time
from issuer.signing.keyring import KeyRecord
from issuer.signing.lifecycle import Activate, Prepare, Prune, Retire, Step, Wait, next_step, taken, with_lifetimes
from issuer.signing.sealing import MasterKey
from issuer.signing.signer import GeneratedKey, generate_key
from issuer.store.keys import StoredKey, insert_key, load_records, save_ring, try_lock_keys
from issuer.store.resources import Change, find, list_of_kind

MAX_STEPS = 12
"""Of one KeySet in one go: more than any ring needs to come to rest."""


class KeySteps:
    """Takes the steps that are due."""

    def __init__(self, keeper: KeyKeeper, master_key: MasterKey) -> None:
        self._keeper = keeper
        self._master_key = master_key
        self._looked_at: set[str] = set()

    async def due(self) -> list[str]:
        """The KeySets where something is to be done now. Raises DatabaseUnavailable."""
        async with self._keeper.path.database.transaction() as connection:
            now = await self._keeper.clock(connection)
            keysets = await list_of_kind(connection, KEY_SET, None, limit=MAX_KEYSETS)
            keys = await load_records(connection)
        rings = [ring_of(keyset, keys, now, self._keeper.timing) for keyset in keysets]
        return [ring.keyset.name for ring in rings if self._is_due(ring)]

    async def bring_forward(self, name: str) -> None:
        """Takes every step that is due of one KeySet, unless somebody else is at it. Raises DatabaseUnavailable."""
        for _ in range(MAX_STEPS):
            if not await self._take_one(name):
                return

    def _is_due(self, ring: Ring) -> bool:
        return (
            not isinstance(next_step(ring.keys, ring.now, ring.schedule), Wait)
            or self._lifetimes(ring) != ring.keys
            or _is_over(ring)
            or self._is_new_here(ring)
        )

    def _is_new_here(self, ring: Ring) -> bool:
        """Once a process: whether settings have changed what its status says, or what it may want."""
        if ring.keyset.name in self._looked_at:
            return False
        self._looked_at.add(ring.keyset.name)
        if (why := too_often(ring.keyset, self._keeper.timing)) is not None:
            self._keeper.path.emit(KeyIntervalTooShort(ring.keyset.name, why))
        return not restated(ring).says_the_same_as(ring.keyset)

    def _lifetimes(self, ring: Ring) -> tuple[KeyRecord, ...]:
        return with_lifetimes(ring.keys, ring.now, self._keeper.timing)

    async def _take_one(self, name: str) -> bool:
        """Whether there may be more to do."""
        ring = await self._look(name)
        if ring is None:
            return False
        step, algorithm = next_step(ring.keys, ring.now, ring.schedule), ring.schedule.algorithm
        made = await asyncio.to_thread(generate_key, algorithm) if isinstance(step, Prepare) else None
        async with self._keeper.path.write(SYSTEM, _verb(step)) as write:
            if not await try_lock_keys(write.connection):
                return False
            current = await self._current(write, name)
            if current is None:
                return False
            if (
                next_step(current.keys, current.now, current.schedule) != step
                or current.schedule.algorithm != algorithm
            ):
                return True  # somebody else was faster: look again
            keys = await self._do(write, current, step, made)
        self._say(current, step, keys, made)
        return not isinstance(step, Wait)

    async def _look(self, name: str) -> Ring | None:
        async with self._keeper.path.database.transaction() as connection:
            keyset = await find(connection, KEY_SET, "", name)
            if keyset is None:
                return None
            now = await self._keeper.clock(connection)
            return ring_of(keyset, await load_records(connection, name), now, self._keeper.timing)

    async def _current(self, write: Write, name: str) -> Ring | None:
        keyset = await find(write.connection, KEY_SET, "", name, lock="update")
        if keyset is None:
            return None
        now = await self._keeper.clock(write.connection)
        return ring_of(keyset, await load_records(write.connection, name), now, self._keeper.timing)

    async def _do(self, write: Write, ring: Ring, step: Step, made: GeneratedKey | None) -> tuple[KeyRecord, ...]:
        """The step in the database; the keys afterwards."""
        if isinstance(step, Wait) and _is_over(ring):
            await write.commit(Change(ring.keyset, None))
            return ()
        keys = taken(ring.keys, step, ring.now, ring.schedule)
        if made is not None:
            record = _published(made, ring)
            sealed = self._master_key.seal(made.private_pem, purpose=KEY_PURPOSE, owner=made.kid)
            await insert_key(write.connection, StoredKey(record, sealed))
            keys = (*keys, record)
        if not isinstance(step, Wait):
            await self._keeper.commit(write, ring, keys, {} if made is None else {"kid": made.kid})
        elif not restated(ring).says_the_same_as(ring.keyset):
            await self._keeper.commit(write, ring, keys, {})
        else:
            await save_ring(write.connection, ring.keys, self._lifetimes(ring))
        return keys

    def _say(self, ring: Ring, step: Step, keys: tuple[KeyRecord, ...], made: GeneratedKey | None) -> None:
        name, emit = ring.keyset.name, self._keeper.path.emit
        match step:
            case Prepare() if made is not None:
                emit(KeyPublished(name, made.kid, ring.schedule.algorithm))
                self._keeper.say_if_crowded(name, keys, ring.now)
            case Activate(kid):
                self._keeper.say_activated(ring, next(key for key in ring.keys if key.kid == kid), keys)
            case Retire(kid):
                ends = next(key.retires_at for key in keys if key.kid == kid)
                emit(KeyRetiring(name, kid, format_time(ends) if ends is not None else ""))
            case Prune(kid):
                emit(KeyForgotten(name, kid))
            case _:
                pass


def _is_over(ring: Ring) -> bool:
    """Whether a deleted KeySet has nothing left to wait for."""
    return ring.schedule.ending and not ring.keys and not ring.keyset.finalizers


def _published(made: GeneratedKey, ring: Ring) -> KeyRecord:
    """The record of a key that is in the JWKS from this commit on."""
    return KeyRecord(
        kid=made.kid,
        keyset=ring.keyset.name,
        algorithm=ring.schedule.algorithm,
        public_jwk=made.public_jwk,
        created_at=ring.now,
        published_at=ring.now,
    )


def _verb(step: Step) -> str:
    """As audit records name it."""
    return "restate" if isinstance(step, Wait) else f"{type(step).__name__.lower()} key"
