"""Strangers are cheap: what known clients notice of an attack, and what memory it costs. p99 during it against quiet."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import uvloop

from tests.benchmarks.attackers import AT_A_RATE, KINDS, PER_S
from tests.benchmarks.cores import a_core_for_the_worker, resident_bytes, worker_of
from tests.benchmarks.report import MICROSECONDS, BenchmarkFailed, Budget, Row
from tests.benchmarks.stage import URL, Effort, Request, Stage
from tests.blackbox.processes import Started, serving

P99 = Budget("≤", 1.5)
LINES, PER_LINE_S = 10, 50
"""Known clients: together the 500 tokens a second of DESIGN section 12."""
SETTLE_S = 1.0


def run(stage: Stage, effort: Effort) -> list[Row]:
    """A row of p99 and one of memory for each attack. Raises BenchmarkFailed, also when a known client is refused."""
    rows = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for kind in KINDS:
            with _server(stage) as server, a_core_for_the_worker(server.process.pid):
                rows += _compare(server, kind, stage, effort, runner)
    return rows


def _compare(server: Started, kind: str, stage: Stage, effort: Effort, runner: asyncio.Runner) -> list[Row]:
    quiet: list[float] = []
    attacked: list[float] = []
    memory: list[float] = []
    answered: list[float] = []
    runner.run(_probe(server, stage.request, effort.load_s))
    before = _memory_mib(server)
    # A p99 of a few seconds is that of its worst twenty requests: many rounds, or chance decides.
    for _ in range(2 * effort.load_rounds - 1):
        quiet.append(runner.run(_probe(server, stage.request, effort.load_s)))
        with _attack(server, kind, stage) as attack:
            time.sleep(SETTLE_S)
            attacked.append(runner.run(_probe(server, stage.request, effort.load_s)))
            memory.append(_memory_mib(server))
        answered.append(attack.answered_per_s)
        time.sleep(SETTLE_S)
    name = kind.replace("-", " ")
    rows = [
        Row(f"p99 under {name} : quiet", MICROSECONDS, attacked, quiet, P99),
        Row(f"memory under {name} : before", "MiB", memory, [before] * len(memory)),
    ]
    if kind in AT_A_RATE:
        rows.append(Row(f"answers to {name} : sent", "/s", answered, [PER_S] * len(answered)))
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


@dataclass
class Attack:
    """One that is under way; how many answers a second it got is known afterwards."""

    answered_per_s: float = 0.0


@contextmanager
def _attack(server: Started, kind: str, stage: Stage) -> Iterator[Attack]:
    url = urlsplit(server.public)
    command = [sys.executable, "-m", "tests.benchmarks.attackers", kind, str(url.hostname), str(url.port)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    attack = Attack()
    with subprocess.Popen([*command, stage.request.client_id], env=environment, stdout=subprocess.PIPE) as process:
        try:
            if process.stdout is None or not process.stdout.readline():
                raise BenchmarkFailed(f"the attack {kind} did not begin")
            yield attack
            if process.poll() is not None:
                raise BenchmarkFailed(f"the attack {kind} ended by itself")
            process.terminate()
            attack.answered_per_s = int(process.stdout.readline())
        finally:
            process.kill()


async def _probe(server: Started, request: Request, seconds: float) -> float:
    """The p99 in µs of known clients at a steady rate, each on a connection it keeps."""
    url = urlsplit(server.public)
    head = (
        f"POST {request.path} HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: {request.authorization}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(request.form)}\r\n\r\n"
    )
    whole = (head + request.form).encode()
    taken: list[float] = []

    async def line(place: int) -> None:
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        due = time.perf_counter() + place / LINES / PER_LINE_S
        for _ in range(int(seconds * PER_LINE_S)):
            await asyncio.sleep(due - time.perf_counter())
            due += 1 / PER_LINE_S
            started = time.perf_counter()
            writer.write(whole)
            status, body = await _answer(reader)
            taken.append((time.perf_counter() - started) * 1e6)
            if status != 200:
                raise BenchmarkFailed(f"a known client was answered {status}: {body!r}")
        writer.close()

    await asyncio.gather(*(line(place) for place in range(LINES)))
    return quantiles(taken, n=100)[98]


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)


def _memory_mib(server: Started) -> float:
    """Resident memory of the worker."""
    return resident_bytes(worker_of(server.process.pid)) / 2**20
