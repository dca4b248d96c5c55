"""Records as their writers leave them in the database, without writers: any order of commits, any clock, any loss."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg

from issuer.record.chain import ChainedRecord, Link
from issuer.record.decision import ISSUED, DecisionRecord
from issuer.store.decisions import DecisionWriter

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
API, JOB = UUID(int=1 << 80 | 1), UUID(int=2 << 80 | 2)
_CHANCE = count(1)


def decision(account: UUID = API, at: datetime = NOON, **parts: Any) -> DecisionRecord:
    """A token for the account, or what `parts` make of it."""
    issued = parts.get("outcome", ISSUED) == ISSUED
    made = DecisionRecord(
        id=UUID(int=int(at.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62 | next(_CHANCE)),
        at=at,
        outcome=ISSUED,
        cause="",
        account_uid=account,
        namespace="payments",
        name={API: "api", JOB: "job"}.get(account, "other"),
        account_revision=7,
        method="client_secret_basic",
        credential="secret/1",
        source="192.0.2.1",
        requested_scope=None,
        requested_audience=None,
        scope="api:read" if issued else None,
        audience="https://api.example.com" if issued else None,
        ttl_s=600 if issued else None,
        jti=f"jti-{next(_CHANCE)}" if issued else None,
        kid="kid-1" if issued else None,
        policies="[]",
        trace_id=None,
    )
    return made._replace(**parts)


class Batch(NamedTuple):
    """Records of one writer that are committed together."""

    rows: Sequence[ChainedRecord]


@dataclass
class Writer:
    """One writer's lifetime. Its clock only grows, as ids do; whether it is right is another matter."""

    connection: DecisionWriter
    id: UUID = field(default_factory=uuid4)
    at: datetime = NOON
    sequence: int = 0

    async def begin(self, started_at: datetime | None = None) -> None:
        await self.connection._connection.execute(
            "INSERT INTO audit_keys (id, purpose, sealed) VALUES ('k', 'chain', '') ON CONFLICT DO NOTHING"
        )
        await self.connection.begin_chain(self._link(0), "k", "test")
        await self.heard_of(started_at or self.at)

    async def heard_of(self, at: datetime) -> None:
        """The chain was begun and last told of at that instant of the database's clock."""
        await self.connection._connection.execute(
            "UPDATE record_chains SET started_at = least(started_at, $2), told_at = $2 WHERE writer = $1", self.id, at
        )

    def batch(self, *records: DecisionRecord) -> Batch:
        """The next records of this chain, at the writer's own time."""
        return Batch([self._next(record) for record in records])

    async def write(self, *records: DecisionRecord) -> None:
        await self.connection.write(self.batch(*records).rows)

    async def tell(self, *, ended: bool = False) -> None:
        await self.connection.tell_head(self._link(self.sequence), ended=ended)

    def _next(self, record: DecisionRecord) -> ChainedRecord:
        self.at += timedelta(milliseconds=1)
        self.sequence += 1
        placed = record._replace(id=decision(at=self.at).id)
        return ChainedRecord(placed, self._link(self.sequence))

    def _link(self, sequence: int) -> Link:
        return Link(self.id, sequence, b"mac")


async def usage_rows(connection: asyncpg.Connection) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """What was folded: the numbers and instants by account, day, what, key and audience."""
    rows = await connection.fetch("SELECT * FROM usage_days")
    return {tuple(row)[:5]: tuple(row)[5:] for row in rows}


def expected_rows(records: Iterable[DecisionRecord]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """What the numbers of these records are, counted one by one. Sources must be IPv4 addresses, scopes without repetition."""
    rows: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for record in records:
        scopes = (record.scope or record.requested_scope or "").split()
        audience = record.audience or record.requested_audience or ""
        keys = [("account", "", ""), ("credential", record.credential, ""), ("source", record.source, "")]
        for key in keys + [("scope", scope, audience) for scope in scopes]:
            row = (record.account_uid, record.at.date(), *key)
            issued, refused, first, last = rows.get(row, (0, 0, record.at, record.at))
            issued, refused = issued + (record.outcome == ISSUED), refused + (record.outcome != ISSUED)
            rows[row] = (issued, refused, min(first, record.at), max(last, record.at))
    return rows
