"""The admin API at size: a page by selector in 10,000 and in 100,000 accounts, eight writers, one change to 1,000 watchers."""

import asyncio
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import uvloop

from issuer.administration.authorize import SYSTEM
from issuer.model.kinds import SERVICE_ACCOUNT, parse_manifest
from issuer.model.resource import API_VERSION, Resource
from issuer.model.scopes import ADMIN_AUDIENCE
from issuer.protocol.authentication import METHOD_NAMES as METHODS
from issuer.settings import DatabaseSettings
from issuer.sources import system_sources
from issuer.store.database import Database
from issuer.store.resources import AuditEntry, Change, commit_changes
from tests.benchmarks.report import BenchmarkFailed, Budget, Row
from tests.benchmarks.stage import URL, Effort, Stage
from tests.blackbox.processes import Started, serving
from tests.world import ACCOUNTS, NAMESPACES, SCOPES

SMALL, LARGE, PAGE = 10_000, 100_000, 1_000
WRITERS, WATCHERS = 8, 1_000
GROWTH = Budget("≤", 1.3)
NAMESPACE = "bench"
PATH = ACCOUNTS.format(namespace=NAMESPACE)

# As the API would have written them; every so many-th carries the label that is selected.
_FILL = """
    INSERT INTO resources (uid, kind, namespace, name, revision, generation, created_at, labels, document)
    SELECT gen_random_uuid(), 'ServiceAccount', $1, 'account-' || lpad(number::text, 6, '0'), 1, 1, now(),
           jsonb_build_object('team', (number % 50)::text) ||
               CASE WHEN number % $3 = 0 THEN '{"tier": "chosen"}'::jsonb ELSE '{}'::jsonb END,
           '{"annotations": {}, "ownerReferences": [], "finalizers": [], "spec": {"scopes": ["api:read", "api:write"],
             "displayName": "x", "type": "service", "disabled": false}, "status": {"phase": "Active", "ready": true}}'
    FROM generate_series(0, $2::int - 1) AS number
"""


def run(stage: Stage, effort: Effort) -> list[Row]:
    """Three rows, the first with a budget. Raises BenchmarkFailed."""
    rounds = effort.load_rounds * 3
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        with _server(stage) as (small, small_url), _server(stage) as (large, large_url):
            for url, number in ((small_url, SMALL), (large_url, LARGE)):
                runner.run(_fill(url, number))
            rows = [_pages(small, large, rounds)]
        with _server(stage) as (server, url):
            rows.append(runner.run(_writes(server, url, effort)))
            rows.append(runner.run(_fan_out(server, rounds)))
    return rows


@contextmanager
def _server(stage: Stage) -> Iterator[tuple[Started, str]]:
    with stage.databases.copy() as url, TemporaryDirectory(prefix="issuer-bench-") as folder:
        environment = {"ISSUER_URL": URL, "ISSUER_DATABASE_URL": url, "ISSUER_MASTER_KEY": stage.master_key}
        with serving(Path(folder), environment) as server:
            server.wait_for(lambda: server.readiness().status_code == 200)
            admin = stage.databases.bootstrapped.admin
            answer = server.token(admin.client_id, admin.client_secret, resource=ADMIN_AUDIENCE)
            server.client.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
            _good(server.client.post(f"{server.admin}{NAMESPACES}", json={"metadata": {"name": NAMESPACE}}))
            try:
                yield server, url
            except (BenchmarkFailed, httpx.TransportError) as failure:
                raise BenchmarkFailed(f"{failure}\n{server.said[-2000:]}") from None


async def _fill(database_url: str, number: int) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            _FILL.replace("$1", f"'{NAMESPACE}'").replace("$2", str(number)).replace("$3", str(number // PAGE))
        )
        await connection.execute("VACUUM ANALYZE resources")
    finally:
        await connection.close()


def _good(answer: httpx.Response) -> httpx.Response:
    if not answer.is_success:
        raise BenchmarkFailed(f"{answer.request.url.path} answered {answer.status_code}: {answer.text}")
    return answer


def _pages(small: Started, large: Started, rounds: int) -> Row:
    taken: dict[int, list[float]] = {id(small): [], id(large): []}
    for number in range(rounds + 1):
        for server in (small, large) if number % 2 == 0 else (large, small):
            started = time.perf_counter()
            answer = _good(server.client.get(f"{server.admin}{PATH}?labelSelector=tier%3Dchosen&limit={PAGE}"))
            spent = (time.perf_counter() - started) * 1e3
            if len(answer.json()["items"]) != PAGE:
                raise BenchmarkFailed("the page is not full")
            if number:  # the first warms up
                taken[id(server)].append(spent)
    return Row(f"page of {PAGE:,} of {LARGE:,} : {SMALL:,}", "ms", taken[id(large)], taken[id(small)], GROWTH)


async def _writes(server: Started, database_url: str, effort: Effort) -> Row:
    """Accounts created through the API, and the statement each creation ends with by itself, by as many writers."""
    ours: list[float] = []
    alone: list[float] = []
    database = Database(database_url, DatabaseSettings(pool_size=WRITERS), application="bench")
    limits = httpx.Limits(max_connections=WRITERS)
    try:
        async with httpx.AsyncClient(headers=dict(server.client.headers), limits=limits, timeout=30) as client:

            async def through_the_api(name: str) -> None:
                _good(await client.post(f"{server.admin}{PATH}", json=_account(name)))

            async def statement(name: str) -> None:
                parsed = parse_manifest(
                    SERVICE_ACCOUNT, _account(name), namespace=NAMESPACE, name=None, methods=METHODS
                )
                kind, now = SERVICE_ACCOUNT.kind, system_sources().now()
                made = Resource(API_VERSION, kind, NAMESPACE, name, uuid4(), now, parsed.spec)
                entry = AuditEntry(system_sources().event_id(), SYSTEM.to_json(), "create", made)
                async with database.transaction() as connection:
                    await commit_changes(connection, [(Change(None, made), entry)])

            for number in range(effort.load_rounds):
                for write, seen in ((through_the_api, ours), (statement, alone)):
                    seen.append(await _per_s(write, f"{write.__name__.replace('_', '-')}-{number}", 50))
    finally:
        await database.close()
    return Row(f"accounts by {WRITERS} writers : their last statement", "writes/s", ours, alone)


def _account(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"scopes": ["api:read"]}}


async def _per_s(write: Any, name: str, each: int) -> float:
    started = time.perf_counter()

    async def writer(number: int) -> None:
        for turn in range(each):
            await write(f"{name}-{number}-{turn}")

    await asyncio.gather(*(writer(number) for number in range(WRITERS)))
    return WRITERS * each / (time.perf_counter() - started)


async def _fan_out(server: Started, rounds: int) -> Row:
    """From the write's request to the last watcher's line, for all of them and for one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, WATCHERS * 2)), hard))
    version = _good(server.client.get(f"{server.admin}{SCOPES}")).json()["metadata"]["resourceVersion"]
    url = httpx.URL(server.admin)
    head = (
        f"GET {SCOPES}?watch=true&resourceVersion={version} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: {server.client.headers['authorization']}\r\n\r\n"
    ).encode()
    streams = []
    for _ in range(WATCHERS):
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(head)
        if b" 200 " not in await reader.readline():
            raise BenchmarkFailed("a watch was refused")
        streams.append((reader, writer))
    everybody = [reader for reader, _ in streams]
    many = [await _one_change(server, f"fan-out-{number}", everybody) for number in range(rounds)]
    for _, writer in streams[1:]:
        writer.close()
    await asyncio.sleep(0.5)
    one = [await _one_change(server, f"alone-{number}", everybody[:1]) for number in range(rounds)]
    streams[0][1].close()
    return Row(f"one change to {WATCHERS:,} watchers : to one", "ms", many, one)


async def _one_change(server: Started, name: str, readers: list[asyncio.StreamReader]) -> float:
    document = {"metadata": {"name": name}, "spec": {"scope": name, "risk": "read"}}
    started = time.perf_counter()
    heard = [asyncio.create_task(reader.readuntil(name.encode())) for reader in readers]
    _good(await asyncio.to_thread(server.client.post, f"{server.admin}{SCOPES}", json=document))
    await asyncio.gather(*heard)
    spent = (time.perf_counter() - started) * 1e3
    for reader in readers:
        await reader.readuntil(b"\n\r\n")
    return spent
