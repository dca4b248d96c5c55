"""A record with real chains, seals and checkpoints in a real database, and what verifying it comes to."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from issuer.administration.auditkeys import AuditKeys
from issuer.administration.verification import Period, Verified, Witnesses, verify
from issuer.record.chain import ChainedRecord, first_link, next_link
from issuer.record.decision import ISSUED, DecisionRecord
from issuer.record.ids import RecordIds
from issuer.store.decisions import DecisionWriter
from issuer.store.evidence import Evidence
from tests.store.rows import execute, query
from tests.world import World

ACCOUNT = UUID("0192f7c0-0000-4000-8000-000000000001")


def decision(record_id: UUID, at: datetime, name: str = "api") -> DecisionRecord:
    return DecisionRecord(
        id=record_id,
        at=at,
        outcome=ISSUED,
        cause="",
        account_uid=ACCOUNT,
        namespace="payments",
        name=name,
        account_revision=7,
        method="client_secret_basic",
        credential="secret/1",
        source="192.0.2.1",
        requested_scope=None,
        requested_audience="https://api.example.com",
        scope="api:read api:wörld",
        audience="https://api.example.com",
        ttl_s=300,
        jti="a-jti",
        kid="a-kid",
        policies='[["AuthPolicy/p",3]]',
        trace_id=None,
    )


class Writer:
    """A worker's chain, by the same steps as the recorder's, at instants of the test's choosing."""

    def __init__(self, ledger: "Ledger", key_id: str, key: bytes) -> None:
        self.writer = uuid4()
        self.head = first_link(key, self.writer)
        self._ledger = ledger
        self._key_id = key_id
        self._key = key
        self._ids = RecordIds(lambda count: self.writer.bytes[:count])
        self._begun = False

    def chained(self, count: int, at: datetime) -> list[ChainedRecord]:
        rows = []
        for number in range(count):
            instant = at + timedelta(milliseconds=number)
            record = decision(self._ids.next(instant), instant)
            self.head = next_link(self._key, self.head, record)
            rows.append(ChainedRecord(record, self.head))
        return rows

    async def write(self, count: int, at: datetime, *, tell: bool = True, ended: bool = False) -> list[ChainedRecord]:
        connection = await self._ledger.connect()
        try:
            if not self._begun:
                await connection.begin_chain(self.head, self._key_id, "test")
                self._begun = True
            rows = self.chained(count, at)
            await connection.replay(rows)
            if tell:
                await connection.tell_head(self.head, ended=ended)
        finally:
            connection.close()
        return rows


@dataclass
class Ledger:
    """The record of a world."""

    world: World

    @property
    def url(self) -> str:
        return self.world.database_url

    @property
    def keys(self) -> AuditKeys:
        database = self.world.issuer.databases[1]
        return AuditKeys(database, self.world.foundation.master_key)

    async def connect(self) -> DecisionWriter:
        return await DecisionWriter.open(self.url, self.world.foundation.settings.database)

    async def writer(self) -> Writer:
        return Writer(self, *await self.keys.chain_key())

    async def attest(self) -> None:
        await self.world.issuer.attestation.attest()

    async def verify(
        self,
        period: Period = Period(),  # noqa: B008
        witnesses: Witnesses = Witnesses(),  # noqa: B008
    ) -> Verified:
        settings = self.world.foundation.settings.database
        async with Evidence.at_one_instant(self.url, settings) as evidence:
            return await verify(evidence, self.keys, period, witnesses, lambda _: None)

    async def says(self) -> list[tuple[str, str]]:
        """Every fault: its kind and its sentence."""
        return [(fault.broken.value, fault.says) for fault in (await self.verify()).faults.told]

    async def execute(self, statements: str) -> None:
        await execute(self.url, statements)

    async def query(self, statement: str, *values: Any) -> list[Any]:
        return await query(self.url, statement, *values)


class Scene(NamedTuple):
    """Two chains of six records each, two checkpoints over them, and what administrators did."""

    ledger: Ledger
    writer: Writer
    rows: list[ChainedRecord]
    other: UUID


async def said_of_changes(
    ledger: Ledger, table: str, record: UUID, values: Mapping[str, str]
) -> dict[str, list[tuple[str, str]]]:
    """What is said while one column of a record is another, for each of them in turn."""
    said = {}
    await ledger.execute(f"CREATE TABLE as_it_was AS SELECT * FROM {table} WHERE id = '{record}'")  # noqa: S608
    for column, value in values.items():
        await ledger.execute(f"UPDATE {table} SET {column} = {value} WHERE id = '{record}'")  # noqa: S608
        said[column] = await ledger.says()
        await ledger.execute(f"DELETE FROM {table} WHERE id = '{record}'; INSERT INTO {table} SELECT * FROM as_it_was")  # noqa: S608
    assert await ledger.says() == []
    return said
