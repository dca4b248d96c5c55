"""`make bench-long`: what does not show in a minute. Memory over 1,000,000 tokens, and folding 10,000,000 records.

The record grows by a day's worth at one stroke, as after an outage of whoever folds it; then each million takes as long as the
first one did, if folding is linear.
"""

import asyncio
import time
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import uvloop

from issuer.settings import DatabaseSettings
from issuer.store.database import Database
from issuer.store.partitions import make_partitions
from issuer.workers.folding import UsageFolder
from tests.benchmarks.cores import on_cores, two_cores
from tests.benchmarks.directory import fill, pressed, settings_of
from tests.benchmarks.load import Turns, press
from tests.benchmarks.population import populate
from tests.benchmarks.report import BenchmarkFailed, Budget, Row
from tests.benchmarks.stage import QUICK, SCOPES, URL, Effort, Stage
from tests.blackbox.processes import serving

FLAT = Budget("≤", 1.05)
LINEAR = Budget("≤", 1.20)
PARTS = 10

_ASKING = 1_000
_WRITERS = 8
_SPAN = timedelta(hours=20)
"""Less than a chain is looked at after it was last heard of; enough for two days' tables at any hour but the last four."""
_LOOK_S = 0.2


def run_memory(stage: Stage, effort: Effort) -> list[Row]:
    """What the processes take after each tenth of the tokens, to what they took after the first. Raises BenchmarkFailed."""
    tokens = 100_000 if effort is QUICK else 1_000_000
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        url = stack.enter_context(stage.databases.copy())
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="issuer-bench-")))
        turns = Turns.of(runner.run(populate(stage, url, _ASKING, _ASKING)), folder / "asking")
        with on_cores(two_cores()[:1]):
            started = stack.enter_context(serving(folder, settings_of(stage, url)))
        server = pressed(started, turns)
        fill(server)
        issued, worker, everything = 0, [], []
        for part in range(1, PARTS + 1):
            while issued < tokens * part // PARTS:
                issued += press(server, two_cores()[1:], effort.load_s).requests
            worker.append(_mib(server.memory_bytes()))
            everything.append(_mib(server.memory_of_all_bytes()))
    over = f"over {tokens:,} tokens : after {tokens // PARTS:,}"
    return [
        Row(f"memory of the worker {over}", "MiB", worker[1:], worker[:1] * (PARTS - 1), FLAT),
        Row(f"memory of all processes {over}", "MiB", everything[1:], everything[:1] * (PARTS - 1), FLAT),
    ]


def _mib(number: float) -> float:
    return number / 2**20


def run_folding(stage: Stage, effort: Effort) -> list[Row]:
    """What each tenth of a backlog takes, to the first. Raises BenchmarkFailed if usage is not what is recorded."""
    records = 1_000_000 if effort is QUICK else 10_000_000
    with stage.databases.copy() as url, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        taken_s = runner.run(_fold(url, records))
    tenth = records // PARTS
    of = f"each {tenth:,} more of {records:,} records : the first"
    rates = [tenth / each for each in taken_s]
    return [
        Row(f"folding {of}", "s", taken_s[1:], taken_s[:1] * (PARTS - 1), LINEAR),
        Row(f"that is, {of}", "records/s", rates[1:], rates[:1] * (PARTS - 1)),
    ]


async def _fold(url: str, records: int) -> list[float]:
    connection = await asyncpg.connect(url)
    database = Database(url, DatabaseSettings(), application="bench")
    try:
        await _record(connection, records)
        folding = asyncio.create_task(UsageFolder(database).fold())
        taken_s: list[float] = []
        began = time.perf_counter()
        while not folding.done() or len(taken_s) < PARTS:
            if folding.done():
                await folding
            folded = await connection.fetchval("SELECT coalesce(sum(sequence), 0) FROM usage_positions")
            while len(taken_s) < PARTS and folded >= records * (len(taken_s) + 1) // PARTS:
                taken_s.append(time.perf_counter() - began)
                began = time.perf_counter()
            await asyncio.sleep(_LOOK_S)
        counted = await connection.fetchval("SELECT sum(issued) FROM usage_days WHERE what = 'account'")
    finally:
        await database.close()
        await connection.close()
    if counted != records:
        raise BenchmarkFailed(f"{counted:,} of {records:,} records are in usage")
    return taken_s


async def _record(connection: Any, records: int) -> None:
    """So many tokens of a thousand accounts, by writers in turn, evenly over the time before now."""
    now: datetime = await connection.fetchval("SELECT now()")
    began = now - _SPAN
    await make_partitions(connection, {began.date(), now.date()})
    await connection.execute("INSERT INTO audit_keys (id, purpose, sealed) VALUES ('bench', 'chain', '')")
    await connection.execute(
        "INSERT INTO record_chains (writer, key_id, host, started_at, sequence, mac)"
        " SELECT md5('writer' || w)::uuid, 'bench', 'bench', $1, $2, '' FROM generate_series(0, $3 - 1) AS w",
        began,
        records // _WRITERS,
        _WRITERS,
    )
    step = records // PARTS
    for first in range(0, records, step):
        await connection.execute(
            _RECORD,
            first,
            first + step - 1,
            began,
            _SPAN / records,
            _WRITERS,
            _ASKING,
            " ".join(SCOPES),
            URL,
            timeout=600,
        )


# The id: its millisecond, then its number, so that ids grow as sequences do.
_RECORD = """
    INSERT INTO decision_records (
        id, at, outcome, cause, account_uid, namespace, name, account_revision, method, credential, source, scope, audience,
        ttl_s, jti, kid, policies, writer, sequence, mac
    )
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid,
           at, 'issued', '', md5('account' || n % $6)::uuid, 'bench', 'account-' || n % $6, 17, 'client_secret_basic',
           'secret/1', '192.0.2.' || n % 200, $7, $8, 300, md5('jti' || n), md5('kid'), '[]',
           md5('writer' || n % $5)::uuid, n / $5 + 1, sha256(n::text::bytea)
    FROM (SELECT n, $3::timestamptz + n * $4::interval AS at FROM generate_series($1::bigint, $2::bigint) AS n) AS each
"""
