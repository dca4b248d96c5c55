"""The whole server under wrk: `issuer serve` and the ceiling under uvicorn in turns on one core, wrk on another.

Other benchmarks press other servers the same way, by one credential or by many in turn.
"""

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile
from typing import IO, Self

import httpx

from tests.benchmarks.cores import children_of, on_cores, resident_bytes, two_cores, worker_of
from tests.benchmarks.report import MICROSECONDS, BenchmarkFailed, Budget, Row
from tests.benchmarks.stage import CEILING_REQUEST, URL, Effort, Request, Stage, check_token

CONNECTIONS = (64, 128)
THROUGHPUT_BUDGET = Budget("≥", 0.80)
"""With a durable record of every token. The ceiling keeps none."""
PART = 0.7
"""Of what it can bear: the load at which latencies say something."""

_HERE = Path(__file__).parent
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 15.0
_FORM_TYPE = "application/x-www-form-urlencoded"


@dataclass(slots=True)
class Turns:
    """Credentials that take turns, from one load to the next: so many Authorization headers, one a line of a file."""

    path: Path
    number: int
    first: int = 0

    @classmethod
    def of(cls, authorizations: Sequence[str], path: Path) -> Self:
        path.write_text("".join(f"{each}\n" for each in authorizations), encoding="ascii")
        return cls(path, len(authorizations))


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers, pinned to its cores. With `turns`, the credentials are those and not the request's own."""

    process: "subprocess.Popen[bytes]"
    url: str
    request: Request
    turns: Turns | None = None

    def cpu_s(self) -> float:
        """User and system time so far, of the process and its children, threads included (proc(5), /proc/pid/stat)."""
        ticks = 0
        for pid in (self.process.pid, *children_of(self.process.pid)):
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self) -> float:
        """Resident memory of the process that issues tokens."""
        return resident_bytes(worker_of(self.process.pid))

    def memory_of_all_bytes(self) -> float:
        """The same of every process, each counted whole."""
        return sum(map(resident_bytes, (self.process.pid, *children_of(self.process.pid))))


@dataclass(frozen=True, slots=True)
class Round:
    """What one run of wrk saw, what the server spent on it, and how much of a core wrk took itself."""

    requests: int
    per_s: float
    p50_us: float
    p99_us: float
    cpu_us: float
    wrk_cores: float


@dataclass(frozen=True, slots=True)
class Pressure:
    """So many connections. `pause_s`: how long each rests before it asks again."""

    connections: int = 64
    pause_s: float | None = None


def run(stage: Stage, effort: Effort) -> list[Row]:
    """Throughput, latency and CPU of both servers. Raises BenchmarkFailed, also for a single answer that is no token."""
    server_core, wrk_core = two_cores()
    rows = []
    with _issuer(stage, server_core) as ours, _ceiling(server_core) as theirs:
        for server in (ours, theirs):
            press(server, [wrk_core], 1)
        for connections in CONNECTIONS:
            mine, its = _in_turns(ours, theirs, Pressure(connections), [wrk_core], effort)
            among = f"{connections} connections"
            rows += [
                Row(f"throughput, {among}", "tokens/s", _of(mine, "per_s"), _of(its, "per_s"), THROUGHPUT_BUDGET),
                Row(f"server CPU per token, {among}", MICROSECONDS, _of(mine, "cpu_us"), _of(its, "cpu_us")),
                *_latencies(among, mine, its),
            ]
            # What a request takes then is somewhere below what it takes under all the load there can be.
            taken_s = median(_of(mine, "p50_us")) / 2e6
            part = Pressure(connections, connections / (PART * median(_of(mine, "per_s"))) - taken_s)
            mine, its = _in_turns(ours, theirs, part, [wrk_core], effort)
            at = f"{among}, {sum(_of(mine, 'per_s')) / len(mine):,.0f}/s"
            rows += _latencies(at, mine, its)
    return rows


def _in_turns(
    ours: Server, theirs: Server, pressure: "Pressure", cores: Collection[int], effort: Effort
) -> tuple[list[Round], list[Round]]:
    """Rounds under the same pressure, which of the two comes first changing."""
    seen: dict[str, list[Round]] = {ours.url: [], theirs.url: []}
    for number in range(effort.load_rounds):
        for server in (ours, theirs) if number % 2 == 0 else (theirs, ours):
            seen[server.url].append(press(server, cores, effort.load_s, pressure))
    return seen[ours.url], seen[theirs.url]


def _of(rounds: Sequence[Round], name: str) -> list[float]:
    return [getattr(each, name) for each in rounds]


def _latencies(among: str, mine: Sequence[Round], its: Sequence[Round]) -> list[Row]:
    return [
        Row(f"latency {name}, {among}", MICROSECONDS, _of(mine, f"{name}_us"), _of(its, f"{name}_us"))
        for name in ("p50", "p99")
    ]


def press(server: Server, cores: Collection[int], seconds: int, pressure: Pressure = Pressure()) -> Round:
    """As many tokens as the server gives to wrk on these cores. Raises BenchmarkFailed, also for a single refusal."""
    command = ["wrk", "-t1", f"-c{pressure.connections}", f"-d{seconds}s", "--timeout", "10s"]
    command += ["-s", str(_HERE / "token.lua"), server.url]
    environment = {**os.environ, "BENCH_AUTHORIZATION": server.request.authorization, "BENCH_BODY": server.request.form}
    if pressure.pause_s is not None:
        environment["BENCH_PAUSE_MS"] = f"{pressure.pause_s * 1000:.0f}"
    turns = server.turns
    if turns is not None:
        environment |= {"BENCH_AUTHORIZATIONS": str(turns.path), "BENCH_FIRST": str(turns.first)}
    before, wrk_before = server.cpu_s(), _cpu_of_ended_children_s()
    with on_cores(cores):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    spent_s, wrk_s = server.cpu_s() - before, _cpu_of_ended_children_s() - wrk_before
    summary = next((line for line in done.stdout.splitlines() if line.startswith("{")), None)
    if done.returncode != 0 or summary is None:
        raise BenchmarkFailed(f"wrk failed: {done.stderr or done.stdout}")
    values = json.loads(summary)
    if values["errors"] or not values["requests"]:
        raise BenchmarkFailed(f"{values['errors']} of {values['requests']} requests to {server.url} failed")
    requests, took_s = values["requests"], values["duration_us"] / 1e6
    if turns is not None:
        turns.first = (turns.first + requests) % turns.number
    return Round(
        requests, requests / took_s, values["p50_us"], values["p99_us"], spent_s / requests * 1e6, wrk_s / took_s
    )


def _cpu_of_ended_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def _issuer(stage: Stage, core: int) -> Iterator[Server]:
    public, admin = _free_port(), _free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ISSUER_")}
    environment |= {
        "ISSUER_URL": URL,
        "ISSUER_DATABASE_URL": stage.database_url,
        "ISSUER_MASTER_KEY": stage.master_key,
        "ISSUER_DRAIN_DELAY_S": "0",
    }
    command = ["-m", "issuer", "serve", "--public", f"127.0.0.1:{public}", "--admin", f"127.0.0.1:{admin}"]
    with _started(command, environment, core, public, stage.request) as server:
        yield server


@contextmanager
def _ceiling(core: int) -> Iterator[Server]:
    port = _free_port()
    command = ["-m", "uvicorn", "ceiling:app", "--app-dir", str(_HERE), "--port", str(port)]
    command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    with _started(command, dict(os.environ), core, port, CEILING_REQUEST) as server:
        yield server


@contextmanager
def _started(
    arguments: list[str], environment: dict[str, str], core: int, port: int, request: Request
) -> Iterator[Server]:
    command = ["taskset", "-c", str(core), sys.executable, *arguments]
    with TemporaryFile() as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        try:
            server = Server(process, f"http://127.0.0.1:{port}{request.path}", request)
            _await_token(server, said)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_token(server: Server, said: IO[bytes]) -> None:
    """Returns when the server gave the token that is compared. Raises BenchmarkFailed."""
    headers = {"authorization": server.request.authorization, "content-type": _FORM_TYPE}
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            answer = httpx.post(server.url, content=server.request.form, headers=headers, trust_env=False)
        except httpx.TransportError:
            if server.process.poll() is not None or time.monotonic() > deadline:
                said.seek(0)
                raise BenchmarkFailed(f"the server did not start: {said.read()[-2000:].decode()}") from None
            time.sleep(0.05)
        else:
            check_token(answer.status_code, answer.content)
            return


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
