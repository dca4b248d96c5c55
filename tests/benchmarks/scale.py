"""`make bench-long`: 1,000,000 accounts in 10,000 namespaces against 10,000 accounts, each with a secret of its own.

Two servers on two databases. The same number of accounts ask, whatever the size: first those in memory, then, in servers whose
directory is too small for them, each by a look-up of its own. Pages of a LIST are those of all namespaces.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import uvloop

from issuer.model.scopes import ADMIN_AUDIENCE
from tests.benchmarks.cores import on_cores, two_cores
from tests.benchmarks.directory import fill, pressed, settings_of
from tests.benchmarks.load import Server, Turns, press
from tests.benchmarks.population import CHOSEN, populate
from tests.benchmarks.report import BenchmarkFailed, Row
from tests.benchmarks.stage import QUICK, Effort, Stage
from tests.blackbox.processes import Started, serving

SMALL, LARGE = 10_000, 1_000_000
ASKING = 10_000
PAGE = 500

_ACCOUNTS = "/apis/auth.nauthera.io/v1alpha1/serviceaccounts"
_Sizes: TypeAlias = tuple[str, str]
_Both: TypeAlias = tuple[list[float], list[float]]
"""What was measured of the large, and of the small."""


def run(stage: Stage, effort: Effort) -> list[Row]:
    """Rows for information. Raises BenchmarkFailed, also for a single answer that is no token and no full page."""
    number = 100_000 if effort is QUICK else LARGE
    of = f"{number:,} : {SMALL:,} accounts"
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="issuer-bench-")))
        large, small = (stack.enter_context(stage.databases.copy()) for _ in range(2))
        turns = {
            url: Turns.of(runner.run(populate(stage, url, size, ASKING)), folder / f"asking-{size}")
            for url, size in ((large, number), (small, SMALL))
        }
        urls = large, small
        rows = [_starts(stage, urls, folder, of, effort)]
        rows += _in_memory(stage, turns, folder, of, effort)
        rows.append(_looked_up(stage, turns, folder, of, effort))
    return rows


def _starts(stage: Stage, urls: _Sizes, folder: Path, of: str, effort: Effort) -> Row:
    """From the start of the process to its first good answer to "are you ready?"."""
    taken: dict[str, list[float]] = {url: [] for url in urls}
    for number in range(effort.load_rounds):
        for url in urls if number % 2 == 0 else reversed(urls):
            began = time.perf_counter()
            with serving(folder, settings_of(stage, url)) as server:
                server.wait_for(lambda server=server: server.readiness().status_code == 200)  # type: ignore[misc]
                taken[url].append((time.perf_counter() - began) * 1e3)
    large, small = urls
    return Row(f"start, {of}", "ms", taken[large], taken[small])


@contextmanager
def _both(
    stage: Stage, turns: Mapping[str, Turns], folder: Path, max_accounts: int
) -> Iterator[tuple[tuple[Started, Started], tuple[Server, Server]]]:
    """The server on the large database and the one on the small, as administrators see them and as wrk does."""
    with ExitStack() as stack:
        with on_cores(two_cores()[:1]):
            large, small = (
                stack.enter_context(serving(folder, settings_of(stage, url, max_accounts))) for url in turns
            )
        of_large, of_small = turns.values()
        yield (large, small), (pressed(large, of_large), pressed(small, of_small))


def _in_memory(stage: Stage, turns: Mapping[str, Turns], folder: Path, of: str, effort: Effort) -> list[Row]:
    """What servers need that know everybody who asks; then pages."""
    with _both(stage, turns, folder, ASKING * 2) as (started, (large, small)):
        fresh = _memory_mib(large), _memory_mib(small)
        for server in (large, small):
            fill(server)
        full = _memory_mib(large), _memory_mib(small)
        per_s = _per_s(large, small, effort)
        pages = _pages(stage, *started, of, effort.load_rounds * 3)
    return [
        Row(f"worker memory at start, {of}", "MiB", *fresh),
        Row(f"with {ASKING:,} in it, {of}", "MiB", *full),
        Row(f"from memory, {of}", "tokens/s", *per_s),
        *pages,
    ]


def _looked_up(stage: Stage, turns: Mapping[str, Turns], folder: Path, of: str, effort: Effort) -> Row:
    """What servers give that have to look up everybody who asks."""
    with _both(stage, turns, folder, ASKING // 10) as (_, (large, small)):
        for server in (large, small):
            press(server, two_cores()[1:], 1)
        per_s = _per_s(large, small, effort)
    return Row(f"each looked up, {of}", "tokens/s", *per_s)


def _memory_mib(server: Server) -> list[float]:
    return [server.memory_bytes() / 2**20]


def _per_s(large: Server, small: Server, effort: Effort) -> _Both:
    """Tokens a second of both, in turns."""
    seen: dict[str, list[float]] = {large.url: [], small.url: []}
    for number in range(effort.load_rounds):
        for server in (large, small) if number % 2 == 0 else (small, large):
            seen[server.url].append(press(server, two_cores()[1:], effort.load_s).per_s)
    return seen[large.url], seen[small.url]


def _pages(stage: Stage, large: Started, small: Started, of: str, rounds: int) -> list[Row]:
    admin = stage.databases.bootstrapped.admin
    for server in (large, small):
        token = server.token(admin.client_id, admin.client_secret, resource=ADMIN_AUDIENCE).json()["access_token"]
        server.client.headers["authorization"] = f"Bearer {token}"
    rows = []
    for name, query, size in (
        (f"page of {PAGE}", f"limit={PAGE}", PAGE),
        (f"page of {CHOSEN:,} chosen", f"labelSelector=tier%3Dchosen&limit={CHOSEN}", CHOSEN),
    ):
        taken: dict[str, list[float]] = {large.admin: [], small.admin: []}
        for number in range(rounds + 1):
            for server in (large, small) if number % 2 == 0 else (small, large):
                spent_ms = _page_ms(server, query, size)
                if number:  # the first warms up
                    taken[server.admin].append(spent_ms)
        rows.append(Row(f"{name}, {of}", "ms", taken[large.admin], taken[small.admin]))
    return rows


def _page_ms(server: Started, query: str, size: int) -> float:
    began = time.perf_counter()
    answer = server.client.get(f"{server.admin}{_ACCOUNTS}?{query}")
    spent_ms = (time.perf_counter() - began) * 1e3
    if not answer.is_success or len(answer.json()["items"]) != size:
        raise BenchmarkFailed(f"the page is not full: {answer.status_code} {answer.text[:200]}")
    return spent_ms
