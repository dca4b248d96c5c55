"""Reads accounts for the directory, and only from the history of writes that the reloader follows.

A pooled connection may lead elsewhere than the reloader's: to the old primary after a failover, to a standby behind a proxy.
An account read there could be of a past that is over, and would stay in memory until its next change.
"""

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from issuer.snapshot import Account
from issuer.store.database import Database, DatabaseUnavailable
from issuer.store.world import Position, read_accounts


class AccountLoader:
    """Loads accounts by one query. `position`: how far the reloader has come; `wake` asks it to look soon."""

    def __init__(self, database: Database, position: Callable[[], Position | None], wake: Callable[[], None]) -> None:
        self._database = database
        self._position = position
        self._wake = wake

    async def load(self, uids: Sequence[UUID]) -> Mapping[UUID, Account]:
        """Those of the accounts that exist. Raises DatabaseUnavailable."""
        position = self._position()
        known = position.revision if position is not None else -1
        async with self._database.single_statements() as connection:
            pulse, found = await read_accounts(connection, uids, known)
        if position is None or position.departure(pulse) is not None:
            # Failover at work: the reloader finds out which is the one to follow, new connections lead there.
            self._wake()
            await self._database.renew()
            raise DatabaseUnavailable("it is not the database that is followed, or behind it")
        return {each.account.uid: Account(each.account, each.secrets) for each in found}
