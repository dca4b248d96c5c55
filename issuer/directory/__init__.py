"""Accounts by client_id: in memory, or by one query for many; bounded; never older than the last invalidation.

    kept      key → value                        bound            lifetime             who ends it          when stale
    known     client_id → account, when read     max_accounts     least recently used  a write of it, seen  a poll old
    absent    client_id → when there was none    10,000           1 s; oldest first    its creation, seen   no token for 1 s
    waiting   requests for either, by source     4,096, of one    their query          its answer           never
                                                 source 1,024

The three are apart, so that no number of strangers evicts or delays an account that is known: it costs neither a query nor a
place. Who finds no place is told to come back (503). A read is thrown away and repeated when its account was invalidated
meanwhile, so that a slow read cannot bring back what was just replaced.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple
from uuid import UUID

from issuer.directory.lookups import LoadAccounts, Lookups
from issuer.model.resource import client_id_of, parse_client_id
from issuer.ratelimit import NoPlace, Places
from issuer.snapshot import Account
from issuer.store.database import DatabaseUnavailable

REREAD_INTERVAL_S = 1.0
MAX_ABSENT = 10_000
MAX_WAITING = 4_096
MAX_WAITING_OF_A_SOURCE = 1_024
"""A fleet behind one address that starts at once must fit; it waits for milliseconds."""

__all__ = ["REREAD_INTERVAL_S", "Directory", "LoadAccounts", "Seen"]


class Seen(NamedTuple):
    """What the directory says of an id. `fresh`: the database was asked after the question, so nothing newer can be had."""

    account: Account | None
    fresh: bool


class _Known:
    """An account in memory."""

    __slots__ = ("account", "read_at")

    def __init__(self, account: Account, read_at: float) -> None:
        self.account = account
        self.read_at = read_at


class Directory:
    """What the token path asks for accounts. One per process, used from one event loop."""

    def __init__(self, load: LoadAccounts, max_accounts: int, clock: Callable[[], float]) -> None:
        self._lookups = Lookups(load, self._learn, clock)
        self._max_accounts = max_accounts
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._absent: OrderedDict[str, float] = OrderedDict()
        self._places = Places(MAX_WAITING, MAX_WAITING_OF_A_SOURCE)
        self.hits = 0
        """How often an account was found in memory."""
        self.misses = 0
        """How often somebody had to wait for a query."""

    def __len__(self) -> int:
        return len(self._known)

    @property
    def queries(self) -> int:
        """How many queries all of that cost."""
        return self._lookups.queries

    def recall(self, client_id: str) -> Account | None:
        """The account if it is in memory: the hot path, no query and nothing to wait for."""
        known = self._known.get(client_id)
        if known is None:
            return None
        self._known.move_to_end(client_id)
        self.hits += 1
        return known.account

    async def account(self, client_id: str, source: str = "") -> Account | None:
        """The account: from memory, else read. Raises DatabaseUnavailable."""
        return self.recall(client_id) or (await self.reread(client_id, source)).account

    async def look_up(self, client_id: str, source: str) -> Seen:
        """The account: from memory, else read; `source` is who waits for it. Raises DatabaseUnavailable."""
        account = self.recall(client_id)
        return Seen(account, fresh=False) if account is not None else await self.reread(client_id, source)

    async def reread(self, client_id: str, source: str) -> Seen:
        """The account as the database has it now, read at most once a second for any id; in between, from memory.

        Asked when a credential matched nothing: it may have been made on another replica a moment ago. Unknown ids follow
        the same rule, so that the number of queries says nothing about which ids exist; ids of another shape than ours
        cost none. Raises DatabaseUnavailable, also when nobody more from this source may wait.
        """
        uid = parse_client_id(client_id)
        if uid is None:
            return Seen(None, fresh=True)
        known = self._known.get(client_id)
        read_at = known.read_at if known is not None else self._absent.get(client_id)
        if read_at is not None and self._clock() - read_at < REREAD_INTERVAL_S:
            return Seen(known.account if known is not None else None, fresh=False)
        fresh = not self._lookups.is_under_way(uid)
        try:
            with self._places.place(source):
                self.misses += 1
                return Seen(await self._lookups.read(uid), fresh)
        except NoPlace:
            raise DatabaseUnavailable("too many wait for it") from None

    def invalidate(self, uids: Iterable[UUID]) -> None:
        """Forgets these accounts, and whatever is being read of them at this moment."""
        uids = tuple(uids)
        self._lookups.outdate(uids)
        for uid in uids:
            client_id = client_id_of(uid)
            self._known.pop(client_id, None)
            self._absent.pop(client_id, None)

    def clear(self) -> None:
        """Forgets everything: the database is another one than before."""
        self._lookups.outdate_all()
        self._known.clear()
        self._absent.clear()

    def _learn(self, uid: UUID, account: Account | None, read_at: float) -> None:
        client_id = client_id_of(uid)
        if account is None:
            self._known.pop(client_id, None)
            self._absent[client_id] = read_at
            self._absent.move_to_end(client_id)
            if len(self._absent) > MAX_ABSENT:
                self._absent.popitem(last=False)
            return
        self._absent.pop(client_id, None)
        self._known[client_id] = _Known(account, read_at)
        self._known.move_to_end(client_id)
        if len(self._known) > self._max_accounts:
            self._known.popitem(last=False)
