"""10,000 secrets fall due at once: how fast they are rotated, and what that costs the tokens issued meanwhile.

The same server does both; tokens are asked for at a fixed rate by 100 accounts that rotate with the others.
"""

import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import uvloop

from tests.benchmarks.report import BenchmarkFailed, Budget, Row
from tests.benchmarks.stage import QUICK, URL, Effort, Stage
from tests.benchmarks.steady import p99, request_bytes, steady_load
from tests.blackbox.processes import Started, serving
from tests.world import basic, started_world

CLIENTS = 100
NEEDED_PER_S = 100_000 / 3600  # DESIGN section 12: 100,000 that fall due in one hour
LATENCY = Budget("≤", 1.5)
RATE = Budget("≥", 1.0)

_PATIENCE_S = 300
_COPY = """
    WITH model AS (
        SELECT r.*, s.pepper_id, s.hmac FROM resources r JOIN secret_versions s ON s.account_uid = r.uid
        WHERE r.kind = 'ServiceAccount' AND r.namespace = 'rotating' LIMIT 1
    ), copies AS (
        SELECT gen_random_uuid() AS uid, 'copy-' || lpad(number::text, 6, '0') AS name
        FROM generate_series(1, $1::int) AS number
    ), added AS (
        INSERT INTO resources (uid, kind, namespace, name, revision, generation, created_at, labels, document)
        SELECT c.uid, m.kind, m.namespace, c.name, m.revision, m.generation, m.created_at, m.labels,
               jsonb_set(m.document::jsonb, '{status,clientId}', to_jsonb('sa-' || c.uid::text))
        FROM copies c, model m
    )
    INSERT INTO secret_versions (account_uid, version, pepper_id, hmac, created_at, handed_out_at, activated_at,
                                 acknowledged_at)
    SELECT c.uid, 1, m.pepper_id, m.hmac, m.created_at, m.created_at, m.created_at, m.created_at FROM copies c, model m
"""
_FORGET = "DELETE FROM secret_versions WHERE version > 1"
_AGE = "UPDATE secret_versions SET created_at = now() - interval '31 days'"
_DUE = """
    UPDATE resources SET document = jsonb_set(document::jsonb, '{status,nextCredentialRotation}', '"2001-01-01T00:00:00Z"')
    WHERE kind = 'ServiceAccount' AND namespace = 'rotating'
"""
_LEFT = """
    SELECT count(*) FROM resources r WHERE namespace = 'rotating' AND kind = 'ServiceAccount'
       AND NOT EXISTS (SELECT 1 FROM secret_versions s WHERE s.account_uid = r.uid AND s.version = 2)
"""


def run(stage: Stage, effort: Effort) -> list[Row]:
    """Two rows, both with a budget. Raises BenchmarkFailed, also for a single request that got no token."""
    number, rounds = (1_000, 1) if effort is QUICK else (10_000, 2)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, stage.databases.copy() as url:
        requests = runner.run(_accounts(stage, url, number))
        environment = {"ISSUER_URL": URL, "ISSUER_DATABASE_URL": url, "ISSUER_MASTER_KEY": stage.master_key}
        with TemporaryDirectory(prefix="issuer-bench-") as folder, serving(Path(folder), environment) as server:
            server.wait_for(lambda: server.readiness().status_code == 200)
            measured = [runner.run(_round(server, url, requests, number)) for _ in range(rounds)]
    before, during, per_s = zip(*measured, strict=True)
    return [
        Row(f"token p99 while {number:,} secrets rotate : before", "ms", during, before, LATENCY),
        Row("secrets rotated : 100,000 an hour", "rotations/s", per_s, [NEEDED_PER_S] * rounds, RATE),
    ]


async def _accounts(stage: Stage, url: str, number: int) -> list[bytes]:
    """Fills the database; the token requests of some of the accounts, as bytes."""
    async with started_world(url, stage.databases.bootstrapped, url=URL) as world:
        rotation = {"enabled": True, "intervalDays": 30}
        clients = [await world.account(f"client-{n}", "rotating", credentialRotation=rotation) for n in range(CLIENTS)]
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_COPY.replace("$1", str(number - CLIENTS)))
        await connection.execute("VACUUM ANALYZE resources, secret_versions")
    finally:
        await connection.close()
    return [request_bytes(basic(client.client_id, client.secret)) for client in clients]


async def _round(server: Started, url: str, requests: list[bytes], number: int) -> tuple[float, float, float]:
    """p99 in ms before and during the rotation of all accounts, and rotations a second."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_FORGET)
        await connection.execute(_AGE)
        async with steady_load(server.public, requests):  # warms up
            await asyncio.sleep(2)
        async with steady_load(server.public, requests) as before:
            await asyncio.sleep(8)
        async with steady_load(server.public, requests) as during:
            await connection.execute(_DUE)
            began = time.perf_counter()
            while await connection.fetchval(_LEFT):
                if time.perf_counter() - began > _PATIENCE_S:
                    raise BenchmarkFailed(f"not rotated in {_PATIENCE_S} s\n{server.said[-2000:]}")
                await asyncio.sleep(0.5)
            spent = time.perf_counter() - began
    finally:
        await connection.close()
    return p99(before), p99(during), number / spent
