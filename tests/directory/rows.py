"""The accounts a directory under test reads, and when."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID, uuid4

from issuer.model.resource import client_id_of
from issuer.snapshot import Account
from tests.governance import builders


class Rows:
    """What the directory loads from. With `gate` closed, a query waits after it has seen its rows."""

    def __init__(self) -> None:
        self.rows: dict[UUID, Account] = {}
        self.queries: list[list[UUID]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.now = 1000.0

    @property
    def reads(self) -> list[UUID]:
        """The ids in the order they were asked for, whatever query they were in."""
        return [uid for query in self.queries for uid in query]

    def add(self, disabled: bool = False) -> tuple[UUID, str]:
        uid = uuid4()
        self.write(uid, disabled)
        return uid, client_id_of(uid)

    def write(self, uid: UUID, disabled: bool = False) -> None:
        self.rows[uid] = account(uid, disabled)

    async def load(self, uids: Sequence[UUID]) -> Mapping[UUID, Account]:
        self.queries.append(list(uids))
        found = {uid: self.rows[uid] for uid in uids if uid in self.rows}
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return found

    async def asked(self, queries: int = 1) -> None:
        """Returns once so many queries were sent in all."""
        async with asyncio.timeout(5):
            while len(self.queries) < queries:  # noqa: ASYNC110 - a few ticks
                await asyncio.sleep(0)


def account(uid: UUID, disabled: bool) -> Account:
    return Account(replace(builders.account(disabled=disabled), uid=uid), ())
