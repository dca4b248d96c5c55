"""Strangers are cheap: what known clients notice of an attack, and what memory it costs. p99 during it against quiet."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

import httpx
import uvloop

from tests.benchmarks.attackers import KINDS
from tests.benchmarks.report import BenchmarkFailed, Budget, Row
from tests.benchmarks.stage import URL, Effort, Request, Stage
from tests.blackbox.processes import Started, serving

P99 = Budget("≤", 1.5)
LINES, PER_LINE_S = 4, 50
SETTLE_S = 1.0


def run(stage: Stage, effort: Effort) -> list[Row]:
    """A row of p99 and one of memory for each attack. Raises BenchmarkFailed, also when a known client is refused."""
    rows = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for kind in KINDS:
            with _server(stage) as server:
                quiet: list[float] = []
                attacked: list[float] = []
                memory: list[float] = []
                before: list[float] = []
                runner.run(_probe(server, stage.request, 1))
                for _ in range(effort.load_rounds):
                    quiet.append(runner.run(_probe(server, stage.request, effort.load_s)))
                    before.append(_memory_mib(server))
                    with _attack(server, kind, stage):
                        time.sleep(SETTLE_S)
                        attacked.append(runner.run(_probe(server, stage.request, effort.load_s)))
                        memory.append(_memory_mib(server))
                    time.sleep(SETTLE_S)
            name = kind.replace("-", " ")
            rows.append(Row(f"p99 under {name} : quiet", "ms", attacked, quiet, P99))
            rows.append(Row(f"memory under {name} : quiet", "MiB", memory, before))
    return rows


@contextmanager
def _server(stage: Stage) -> Iterator[Started]:
    with TemporaryDirectory(prefix="issuer-bench-") as folder:
        environment = {
            "ISSUER_URL": URL,
            "ISSUER_DATABASE_URL": stage.database_url,
            "ISSUER_MASTER_KEY": stage.master_key,
            "ISSUER_TRUSTED_PROXIES": "127.0.0.1/32",
        }
        with serving(Path(folder), environment) as server:
            server.wait_for(lambda: server.readiness().status_code == 200)
            yield server


@contextmanager
def _attack(server: Started, kind: str, stage: Stage) -> Iterator[None]:
    url = httpx.URL(server.public)
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.attackers",
        kind,
        url.host,
        str(url.port),
        stage.request.client_id,
    ]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})
    try:
        yield
        if process.poll() is not None:
            raise BenchmarkFailed(f"the attack {kind} ended by itself")
    finally:
        process.kill()
        process.wait()


async def _probe(server: Started, request: Request, seconds: float) -> float:
    """The p99 in ms of known clients at a steady, modest rate."""
    headers = {"authorization": request.authorization, "content-type": "application/x-www-form-urlencoded"}
    taken: list[float] = []
    async with httpx.AsyncClient(headers=headers, timeout=30) as client:

        async def line(place: int) -> None:
            await asyncio.sleep(place / LINES / PER_LINE_S)
            for _ in range(int(seconds * PER_LINE_S)):
                started = time.perf_counter()
                answer = await client.post(f"{server.public}{request.path}", content=request.form)
                spent = time.perf_counter() - started
                if answer.status_code != 200:
                    raise BenchmarkFailed(f"a known client was answered {answer.status_code}: {answer.text}")
                taken.append(spent * 1e3)
                await asyncio.sleep(max(0.0, 1 / PER_LINE_S - spent))

        await asyncio.gather(*(line(place) for place in range(LINES)))
    return quantiles(taken, n=100)[98]


def _memory_mib(server: Started) -> float:
    """Resident memory of the worker, which is the last child."""
    pid = server.process.pid
    worker = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()[-1]
    status = Path(f"/proc/{worker}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024
