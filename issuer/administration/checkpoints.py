"""The maker of checkpoints: a signed statement of what is new in every chain, a minute after the one before.

Any number of replicas may run it, one after the other: what one has stated is nothing new to the next. The first of a
day names every chain and lets go of those checkpoints whose time is over.
"""

from datetime import timedelta

from joserfc.jwk import ECKey

from issuer.administration.auditkeys import AuditKeys
from issuer.events import CheckpointSigned, Emit
from issuer.record.checkpoint import Checkpoint, CheckpointRejected, digest, read_checkpoint, sign_checkpoint
from issuer.record.statements import StoredCheckpoint
from issuer.settings import AuditSettings
from issuer.store.checkpoints import (
    exports_to_state,
    forget_checkpoints,
    heads_to_state,
    insert_checkpoint,
    lock_checkpoints,
    newest_checkpoint,
    newest_full_checkpoint,
)
from issuer.store.clock import Clock
from issuer.store.database import Connection, Database

_SPARE = timedelta(days=2)
"""Checkpoints outlive what they speak of: days are dropped whole, and a while after their time."""


class Checkpoints:
    """Makes them, and forgets the oldest."""

    def __init__(self, database: Database, keys: AuditKeys, settings: AuditSettings, clock: Clock, emit: Emit) -> None:
        self._database = database
        self._keys = keys
        self._keep = timedelta(days=max(settings.keep_decisions_days, settings.keep_admin_days)) + _SPARE
        self._clock = clock
        self._emit = emit

    async def sign(self) -> None:
        """Makes the next one, unless nothing is new by the time it is our turn. Raises DatabaseUnavailable."""
        key = await self._keys.checkpoint_key()
        async with self._database.transaction() as connection:
            await lock_checkpoints(connection)
            checkpoint = await self._next(connection, key)
            if checkpoint is None:
                return
            text = sign_checkpoint(checkpoint, *key)
            row = StoredCheckpoint(checkpoint.number, checkpoint.at, checkpoint.full, text)
            await insert_checkpoint(connection, row, checkpoint.heads, checkpoint.exports)
        self._emit(CheckpointSigned(checkpoint.number, digest(text).hex(), len(checkpoint.heads)))

    async def forget(self) -> None:
        """Deletes those that need not be there any more, as the newest says. Raises DatabaseUnavailable."""
        key, more = await self._keys.checkpoint_key(), True
        while more:
            async with self._database.transaction() as connection:
                newest = await newest_checkpoint(connection)
                more = newest is not None and await forget_checkpoints(connection, _first(newest, key))

    async def _next(self, connection: Connection, key: tuple[str, ECKey]) -> Checkpoint | None:
        heads, exports = await heads_to_state(connection), await exports_to_state(connection)
        if not heads and not exports:
            return None
        now = await self._clock(connection)
        before = await newest_checkpoint(connection)
        if before is None:
            return Checkpoint(1, now, b"", 1, full=True, heads=tuple(heads), exports=tuple(exports))
        first, full = _first(before, key), False
        newest_full = await newest_full_checkpoint(connection)
        if newest_full is None or newest_full.at.date() < now.date():
            full = True
            heads = await heads_to_state(connection, everything=True)
            kept = await newest_full_checkpoint(connection, now - self._keep)
            first = max(first, kept.number) if kept is not None else first
        previous = digest(before.text)
        return Checkpoint(before.number + 1, now, previous, first, full, tuple(heads), tuple(exports))


def _first(newest: StoredCheckpoint, key: tuple[str, ECKey]) -> int:
    """The oldest that must be there, by the newest; all of them, once somebody has changed that one."""
    try:
        return read_checkpoint(newest.text, dict([key])).first
    except CheckpointRejected:
        return 1
