"""100,000 accounts in the directory: using them all in turn, a policy written over all of them, a directory too small for them.

Every account has a secret of its own. Rate and memory are those of a whole server under wrk, p99 that of a whole server at a
steady rate. What a small directory asks the database is counted in this process, where every statement can be seen.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import httpx
import uvloop
from sqlalchemy import event

from issuer.model.scopes import ADMIN_AUDIENCE
from issuer.observe.log import log_events
from issuer.settings import LogSettings, load_settings
from issuer.wiring import Issuer, lay_foundation, wire
from tests.benchmarks.cores import a_core_for_the_worker, on_cores, two_cores
from tests.benchmarks.cpu import Driver, unrecorded
from tests.benchmarks.load import Round, Server, Turns, press
from tests.benchmarks.population import populate, stored_bytes
from tests.benchmarks.report import MICROSECONDS, BenchmarkFailed, Budget, Row
from tests.benchmarks.stage import FORM, QUICK, URL, Effort, Request, Stage
from tests.benchmarks.steady import PER_S, p99, request_bytes, steady_load
from tests.blackbox.processes import Started, serving
from tests.world import TOKEN

_CONNECTIONS = 64

CYCLED = Budget("≥", 0.8)
LATENCY = Budget("≤", 1.5)
NO_QUERY = Budget("≤", 0.0)
POLICIES = "/apis/auth.nauthera.io/v1alpha1/clusterauthpolicies"

_ROOM = 1_000
"""Others ask beside the accounts in turn, an administrator for one: in a full LRU he alone would make each of them a miss."""
_WRITES = 7
_SEEN = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'issuer tokens'"


def run(stage: Stage, effort: Effort) -> list[Row]:
    """Rows of all of that. Raises BenchmarkFailed, also for a single answer that is no token."""
    number = 10_000 if effort is QUICK else 100_000
    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        stage.databases.copy() as url,
        TemporaryDirectory(prefix="issuer-bench-") as name,
    ):
        authorizations = runner.run(populate(stage, url, number, number))
        stored = runner.run(stored_bytes(url))
        folder, settings = Path(name), settings_of(stage, url, number + _ROOM)
        many, one = Turns.of(authorizations, folder / "many"), Turns.of(authorizations[:1], folder / "one")
        with ExitStack() as stack:
            with on_cores(two_cores()[:1]):
                first, second = (stack.enter_context(serving(folder, settings)) for _ in range(2))
            all_of_them, only_one = pressed(first, many), pressed(second, one)
            rows = [_memory(all_of_them, one, stored), *_cycled(all_of_them, only_one, effort)]
        with serving(folder, settings) as server:
            fill(pressed(server, many))
            with a_core_for_the_worker(server.process.pid):
                rows += runner.run(_policy_written(stage, url, server, authorizations, effort))
        rows += runner.run(_too_small(stage, url, authorizations, effort))
    return rows


def settings_of(stage: Stage, url: str, max_accounts: int = 100_000) -> dict[str, str]:
    """The environment of a server on that database, whose directory holds so many."""
    return {
        "ISSUER_URL": URL,
        "ISSUER_DATABASE_URL": url,
        "ISSUER_MASTER_KEY": stage.master_key,
        "ISSUER_DIRECTORY__MAX_ACCOUNTS": str(max_accounts),
    }


def pressed(server: Started, turns: Turns) -> Server:
    """The server as wrk sees it, once it is ready."""
    server.wait_for(lambda: server.readiness().status_code == 200)
    return Server(server.process, f"{server.public}{TOKEN}", Request("", form=FORM), turns)


def fill(server: Server) -> None:
    """Every account has asked once."""
    asked = 0
    while server.turns is not None and asked < server.turns.number:
        asked += press(server, two_cores()[1:], 1 + server.turns.number // 50_000).requests


def _memory(server: Server, one: Turns, stored: float) -> Row:
    """What the accounts take in memory, garbage and all."""
    press(replace(server, turns=replace(one)), two_cores()[1:], 1)
    before = server.memory_bytes()
    fill(server)
    number = server.turns.number if server.turns is not None else 0
    each = (server.memory_bytes() - before) / number
    return Row(f"memory of each of {number:,} accounts : stored", "bytes", [each], [stored])


def _cycled(many: Server, one: Server, effort: Effort) -> list[Row]:
    seen: dict[str, list[Round]] = {many.url: [], one.url: []}
    press(one, two_cores()[1:], 1)
    for number in range(effort.load_rounds):
        for server in (many, one) if number % 2 == 0 else (one, many):
            seen[server.url].append(press(server, two_cores()[1:], effort.load_s))
    ours, its = seen[many.url], seen[one.url]
    of = f"{many.turns.number if many.turns is not None else 0:,} accounts in turn : one"
    return [
        Row(of, "tokens/s", [r.per_s for r in ours], [r.per_s for r in its], CYCLED),
        Row(f"{of}, CPU", MICROSECONDS, [r.cpu_us for r in ours], [r.cpu_us for r in its]),
        Row(f"{of}, p99", MICROSECONDS, [r.p99_us for r in ours], [r.p99_us for r in its]),
    ]


async def _policy_written(
    stage: Stage, url: str, server: Started, authorizations: Sequence[str], effort: Effort
) -> list[Row]:
    """The same accounts ask before and after a write that narrows them all: each is compiled anew at its first token."""
    window_s = 2 if effort is QUICK else 4
    requests = [request_bytes(each, FORM) for each in authorizations[: PER_S * window_s]]
    before: list[float] = []
    after: list[float] = []
    longest_before: list[float] = []
    longest_after: list[float] = []
    queries: list[float] = []
    tokens: list[float] = []
    connection = await asyncpg.connect(url)
    try:
        async with _admin(stage, server) as admin:
            ttls_s = [200 + number for number in range(_WRITES + 1)]
            document = {"metadata": {"name": "ceiling"}, "spec": _spec(ttls_s[0])}
            _good(await admin.post(POLICIES, json=document))
            if not await connection.fetchval(f"SELECT count(query_start) {_SEEN}"):
                raise BenchmarkFailed("the queries for accounts cannot be seen")
            for ttl_s in ttls_s[1:]:
                async with steady_load(server.public, requests):  # all are compiled under what holds now
                    await asyncio.sleep(window_s)
                async with steady_load(server.public, requests) as quiet:
                    await asyncio.sleep(window_s)
                before.append(p99(quiet))
                longest_before.append(max(quiet))
                moment = await connection.fetchval("SELECT clock_timestamp()")
                async with steady_load(server.public, requests) as disturbed:
                    _good(
                        await admin.patch(
                            f"{POLICIES}/ceiling",
                            content=json.dumps({"spec": _spec(ttl_s)}),
                            headers={"content-type": "application/merge-patch+json"},
                        )
                    )
                    await asyncio.sleep(window_s)
                after.append(p99(disturbed))
                longest_after.append(max(disturbed))
                tokens.append(float(len(disturbed)))
                queries.append(
                    float(await connection.fetchval(f"SELECT count(*) {_SEEN} AND query_start > $1", moment))
                )
                answer = await admin.post(
                    f"{server.public}{TOKEN}",
                    content=FORM,
                    headers={"authorization": authorizations[0], "content-type": "application/x-www-form-urlencoded"},
                )
                if _good(answer)["expires_in"] != ttl_s:
                    raise BenchmarkFailed("the policy is not in force")
    finally:
        await connection.close()
    return [
        Row(f"p99 after a policy over {len(authorizations):,} : before", "ms", after, before, LATENCY),
        Row("the longest then : before", "ms", longest_after, longest_before),
        Row("connections that read accounts then : tokens", "in all", queries, tokens, NO_QUERY),
    ]


@asynccontextmanager
async def _admin(stage: Stage, server: Started) -> AsyncIterator[httpx.AsyncClient]:
    admin = stage.databases.bootstrapped.admin
    token = server.token(admin.client_id, admin.client_secret, resource=ADMIN_AUDIENCE).json()["access_token"]
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=server.admin, headers=headers, timeout=30) as client:
        yield client


def _spec(ttl_s: int) -> Mapping[str, Any]:
    return {"tokenSettings": {"maxAccessTokenTTL": f"{ttl_s}s"}}


def _good(answer: httpx.Response) -> Any:
    if not answer.is_success:
        raise BenchmarkFailed(f"{answer.request.url.path} answered {answer.status_code}: {answer.text}")
    return answer.json()


async def _too_small(stage: Stage, url: str, authorizations: Sequence[str], effort: Effort) -> list[Row]:
    """Accounts in turn, which is the worst for an LRU: in the small directory every token is a miss."""
    number = len(authorizations)
    tokens = effort.cpu_tokens * 8
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: ASYNC230, PTH123 - never blocks

        def wired(max_accounts: int) -> Issuer:
            settings = load_settings(
                url=URL,
                database_url=url,
                master_key=stage.master_key,
                directory={"max_accounts": max_accounts},
            )
            return wire(lay_foundation(settings, log_events(LogSettings(), nowhere)))

        issuers = small, large = wired(number // 10), wired(number + _ROOM)
        drivers = {issuer: Driver(unrecorded(issuer), Request("", form=FORM), authorizations) for issuer in issuers}
        per_s: dict[Issuer, list[float]] = {issuer: [] for issuer in issuers}
        queries: list[float] = []
        statements = _statements(small)
        try:
            for issuer, asked in ((small, number // 10), (large, number)):
                await issuer.reloader.catch_up()
                await _asked_per_s(drivers[issuer], asked)
            for turn in range(effort.load_rounds):
                for issuer in issuers if turn % 2 == 0 else reversed(issuers):
                    await issuer.reloader.catch_up()
                    before = len(statements)
                    per_s[issuer].append(await _asked_per_s(drivers[issuer], tokens))
                    if issuer is small:
                        queries.append(float(len(statements) - before))
        finally:
            for issuer in issuers:
                await issuer.close()
    of = f"{number:,} in turn, {number // 10:,} in memory"
    return [
        Row(f"{of} : all", "tokens/s", per_s[small], per_s[large]),
        Row("queries then : tokens", "in all", queries, [float(tokens)] * len(queries)),
    ]


def _statements(issuer: Issuer) -> list[str]:
    """Every statement that reads accounts for tokens, from here on."""
    seen: list[str] = []
    for_tokens = issuer.databases[0].engine.sync_engine

    @event.listens_for(for_tokens, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    return seen


async def _asked_per_s(driver: Driver, tokens: int) -> float:
    """How many a second a crowd gets, of so many in all."""
    started = time.perf_counter()
    await asyncio.gather(*(driver.ask(tokens // _CONNECTIONS) for _ in range(_CONNECTIONS)))
    return tokens // _CONNECTIONS * _CONNECTIONS / (time.perf_counter() - started)
