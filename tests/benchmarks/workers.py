"""`--workers 2` against `--workers 1`, both on the same two cores, which wrk shares with them.

On a machine of two cores the second worker and the load generator want the same core: how much of it wrk took, and how much
the server, is said beside the rate.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.cores import on_cores, two_cores
from tests.benchmarks.load import Round, Server, press
from tests.benchmarks.report import MICROSECONDS, Row
from tests.benchmarks.stage import URL, Effort, Stage
from tests.blackbox.processes import Started, serving


def run(stage: Stage, effort: Effort) -> list[Row]:
    """Four rows for information. Raises BenchmarkFailed, also for a single answer that is no token."""
    cores = two_cores()
    environment = {"ISSUER_URL": URL, "ISSUER_DATABASE_URL": stage.database_url, "ISSUER_MASTER_KEY": stage.master_key}
    with TemporaryDirectory(prefix="issuer-bench-") as name, on_cores(cores):
        folder = Path(name)
        with (
            serving(folder, environment, "--workers", "1") as one,
            serving(folder, environment, "--workers", "2") as two,
        ):
            single, double = _pressed(one, stage), _pressed(two, stage)
            seen: dict[str, list[Round]] = {single.url: [], double.url: []}
            for server in (single, double):
                press(server, cores, 1)
            for number in range(effort.load_rounds):
                for server in (double, single) if number % 2 == 0 else (single, double):
                    seen[server.url].append(press(server, cores, effort.load_s))
    its, ours = seen[single.url], seen[double.url]
    of = "2 workers on 2 cores : 1"
    return [
        Row(of, "tokens/s", [r.per_s for r in ours], [r.per_s for r in its]),
        Row(f"{of}, the server's share", "% of a core", [_share(r) for r in ours], [_share(r) for r in its]),
        Row(f"{of}, wrk's share", "% of a core", [r.wrk_cores * 100 for r in ours], [r.wrk_cores * 100 for r in its]),
        Row(f"{of}, CPU per token", MICROSECONDS, [r.cpu_us for r in ours], [r.cpu_us for r in its]),
    ]


def _pressed(server: Started, stage: Stage) -> Server:
    server.wait_for(lambda: server.readiness().status_code == 200)
    return Server(server.process, f"{server.public}{stage.request.path}", stage.request)


def _share(seen: Round) -> float:
    return seen.per_s * seen.cpu_us / 1e4
