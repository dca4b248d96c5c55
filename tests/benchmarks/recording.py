"""What the record of a token takes: bytes in the database, and how fast COPY brings records in."""

import asyncio
import time
from uuid import uuid4

import asyncpg
import uvloop

from issuer.record.chain import ChainedRecord, first_link, next_link
from issuer.record.decision import ISSUED, DecisionRecord
from issuer.record.ids import RecordIds
from issuer.settings import DatabaseSettings
from issuer.sources import system_sources
from issuer.store.decisions import DecisionWriter
from issuer.workers.recorder import MAX_BATCH
from tests.benchmarks.report import Row
from tests.benchmarks.stage import SCOPES, URL, Effort, Stage

_RECORDS = 50_000
_SIZES = """
    SELECT sum(pg_total_relation_size(inhrelid)), sum(pg_relation_size(inhrelid)), (SELECT count(*) FROM decision_records)
    FROM pg_inherits WHERE inhparent = 'decision_records'::regclass
"""


def run(stage: Stage, effort: Effort) -> list[Row]:
    """Two rows, for information: the whole against the table alone, large batches against single records."""
    with stage.databases.copy() as url, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(url, effort))


async def _measure(url: str, effort: Effort) -> list[Row]:
    writer = await DecisionWriter.open(url, DatabaseSettings())
    try:
        many = [
            await _written_per_s(writer, _RECORDS // effort.load_rounds, MAX_BATCH) for _ in range(effort.load_rounds)
        ]
        few = [await _written_per_s(writer, 200, 1) for _ in range(effort.load_rounds)]
    finally:
        writer.close()
    connection = await asyncpg.connect(url)
    try:
        ((whole, table, records),) = await connection.fetch(_SIZES)
    finally:
        await connection.close()
    return [
        Row("a record with its indexes : without", "bytes", [float(whole) / records], [float(table) / records]),
        Row(f"COPY of {MAX_BATCH} : of 1", "records/s", many, few),
    ]


async def _written_per_s(writer: DecisionWriter, records: int, at_once: int) -> float:
    batches = _batches(records, at_once)
    started = time.perf_counter()
    for batch in batches:
        await writer.write(batch)
    return sum(map(len, batches)) / (time.perf_counter() - started)


def _batches(records: int, at_once: int) -> list[list[ChainedRecord]]:
    """Records like those of the stage's account, one chain."""
    sources = system_sources()
    ids, key, account = RecordIds(sources.random_bytes), bytes(32), uuid4()
    link, made = first_link(key, uuid4()), []
    for _ in range(records):
        at, scope = sources.now(), " ".join(SCOPES)
        record = DecisionRecord(
            ids.next(at), at, ISSUED, "", account, "payments-prod", "payment-service", 17, "client_secret_basic", "secret/1",
            "127.0.0.1", scope, None, scope, URL, 300, sources.token_id(), "k" * 43, "[]", None,
        )  # fmt: skip
        link = next_link(key, link, record)
        made.append(ChainedRecord(record, link))
    return [made[start : start + at_once] for start in range(0, records, at_once)]
