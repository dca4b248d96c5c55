"""Accounts by client_id: in memory, or one query; bounded; never older than the last invalidation.

Key: client_id. Value: the compiled account, or the fact that there was none when asked. Least recently used go first. A
load is thrown away and repeated when its account was invalidated meanwhile, so that a slow read cannot bring back what was
just replaced.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias, TypeVar
from uuid import UUID

from issuer.model.resource import client_id_of, parse_client_id
from issuer.snapshot import Account

LoadAccount: TypeAlias = Callable[[UUID], Awaitable[Account | None]]

REREAD_INTERVAL_S = 1.0

_Value = TypeVar("_Value")


class Directory:
    """What the token path asks for accounts. One per process, used from one event loop."""

    def __init__(self, load: LoadAccount, max_accounts: int, clock: Callable[[], float]) -> None:
        self._load = load
        self._max_accounts = max_accounts
        self._clock = clock
        self._accounts: OrderedDict[str, Account] = OrderedDict()
        self._read_at: OrderedDict[str, float] = OrderedDict()
        self._loads: dict[str, asyncio.Task[Account | None]] = {}
        self._outdated: set[str] = set()

    def __len__(self) -> int:
        return len(self._accounts)

    async def account(self, client_id: str) -> Account | None:
        """The account: from memory, else by one query. None for an id of another shape, without a query."""
        account = self._accounts.get(client_id)
        if account is not None:
            self._accounts.move_to_end(client_id)
            return account
        return await self.reread(client_id)

    async def reread(self, client_id: str) -> Account | None:
        """The account as the database has it now, read at most once a second for any id; in between, from memory.

        Asked when a credential matched nothing: it may have been made on another replica a moment ago. Unknown ids follow
        the same rule, so that the number of queries says nothing about which ids exist.
        """
        uid = parse_client_id(client_id)
        if uid is None:
            return None
        read_at = self._read_at.get(client_id)
        if read_at is not None and self._clock() - read_at < REREAD_INTERVAL_S:
            return self._accounts.get(client_id)
        load = self._loads.get(client_id)
        if load is None:
            load = self._loads[client_id] = asyncio.create_task(self._fill(client_id, uid))
        return await asyncio.shield(load)

    def invalidate(self, uids: Iterable[UUID]) -> None:
        """Forgets these accounts, and whatever is being read at this moment."""
        for uid in uids:
            client_id = client_id_of(uid)
            if client_id in self._loads:
                self._outdated.add(client_id)
            self._accounts.pop(client_id, None)
            self._read_at.pop(client_id, None)

    def clear(self) -> None:
        """Forgets everything: the database is another one than before."""
        self._outdated.update(self._loads)
        self._accounts.clear()
        self._read_at.clear()

    async def _fill(self, client_id: str, uid: UUID) -> Account | None:
        try:
            while True:
                self._outdated.discard(client_id)
                account = await self._load(uid)
                if client_id not in self._outdated:
                    break
        finally:
            # Here and not in a callback, which runs a tick later: nobody may join a read that has ended.
            self._loads.pop(client_id, None)
            self._outdated.discard(client_id)
        _keep(self._read_at, client_id, self._clock(), self._max_accounts)
        if account is None:
            self._accounts.pop(client_id, None)
            return None
        evicted = _keep(self._accounts, client_id, account, self._max_accounts)
        if evicted is not None:
            # Read a moment ago and not in memory would mean that there is none.
            self._read_at.pop(evicted, None)
        return account


def _keep(kept: "OrderedDict[str, _Value]", client_id: str, value: _Value, most: int) -> str | None:
    """Puts the value last; the key that had to go for it, if any."""
    kept[client_id] = value
    kept.move_to_end(client_id)
    return kept.popitem(last=False)[0] if len(kept) > most else None
