"""10,000 secrets fall due at once: how fast they are rotated, and what that costs the tokens issued meanwhile.

The same process does both, on one loop; tokens are asked for at a fixed rate by 100 accounts that rotate with the others. How
long one took counts from the moment it was to be asked for, so that a server that stalls is not spared.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

import asyncpg
import httpx
import uvloop

from tests.benchmarks.report import BenchmarkFailed, Budget, Row
from tests.benchmarks.stage import QUICK, URL, Effort, Stage
from tests.blackbox.processes import Started, serving
from tests.world import TOKEN, Client, basic, started_world

CLIENTS, CONNECTIONS, PER_S = 100, 16, 500
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
    return [_request(client) for client in clients]


def _request(client: Client) -> bytes:
    body = b"grant_type=client_credentials"
    head = (
        f"POST {TOKEN} HTTP/1.1\r\nHost: x\r\nAuthorization: {basic(client.client_id, client.secret)}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _round(server: Started, url: str, requests: list[bytes], number: int) -> tuple[float, float, float]:
    """p99 in ms before and during the rotation of all accounts, and rotations a second."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_FORGET)
        await connection.execute(_AGE)
        async with _load(server, requests):  # warms up
            await asyncio.sleep(2)
        async with _load(server, requests) as before:
            await asyncio.sleep(8)
        async with _load(server, requests) as during:
            await connection.execute(_DUE)
            began = time.perf_counter()
            while await connection.fetchval(_LEFT):
                if time.perf_counter() - began > _PATIENCE_S:
                    raise BenchmarkFailed(f"not rotated in {_PATIENCE_S} s\n{server.said[-2000:]}")
                await asyncio.sleep(0.5)
            spent = time.perf_counter() - began
    finally:
        await connection.close()
    return _p99(before), _p99(during), number / spent


def _p99(taken_ms: list[float]) -> float:
    return quantiles(taken_ms, n=100)[98]


@asynccontextmanager
async def _load(server: Started, requests: list[bytes]) -> AsyncIterator[list[float]]:
    """Tokens asked for at a fixed rate while the block runs; how long each took, in ms."""
    taken: list[float] = []
    over = asyncio.Event()
    url, turns = httpx.URL(server.public), cycle(requests)

    async def ask(number: int) -> None:
        reader, writer = await asyncio.open_connection(url.host, url.port)
        due = time.perf_counter() + number / PER_S
        while not over.is_set():
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            writer.write(next(turns))
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            body = await reader.readexactly(length)
            if not head.startswith(b"HTTP/1.1 200"):
                raise BenchmarkFailed(f"no token: {head!r} {body[:200]!r}")
            taken.append((time.perf_counter() - due) * 1e3)
            due += CONNECTIONS / PER_S
        writer.close()

    async with asyncio.TaskGroup() as group:
        for number in range(CONNECTIONS):
            group.create_task(ask(number))
        yield taken
        over.set()
