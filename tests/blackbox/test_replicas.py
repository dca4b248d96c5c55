"""What is written on one replica is in force on the other within a second, however its listener fares."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from sqlalchemy import make_url

from tests.blackbox.processes import Started, eventually
from tests.blackbox.replicas import Administrator, Workload, replicas
from tests.databases import Databases
from tests.store.rows import query

BOUND_S = 1.0
ATTEMPTS = 3
BATCH = 12
POLL_S = 0.25
PROCESSES = 2
"""Of a replica: one for administrators, one for tokens. Each listens."""
DRIVERS = 4
_names = (f"account-{number}" for number in count(1))


@pytest.fixture(scope="module")
def pair(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Started]]:
    """Two replicas on one database, with everything as it comes."""
    with replicas(tmp_path_factory.mktemp("replicas"), environment, environment) as running:
        yield running


@pytest.fixture(scope="module")
def here(pair: list[Started], databases: Databases) -> Iterator[Administrator]:
    """Who writes on the first replica."""
    with closing(Administrator(pair[0], databases.bootstrapped.admin)) as administrator:
        administrator.namespace("payments")
        yield administrator


@pytest.fixture(scope="module")
def there(pair: list[Started]) -> Started:
    """The replica that nobody writes on."""
    return pair[1]


class Listeners:
    """The connections by which the replicas hear of writes."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url

    def pids(self) -> set[int]:
        """The backends that serve them now."""
        return {pid for (pid,) in self._ask("SELECT pid")}

    @contextmanager
    def terminated(self) -> Iterator[None]:
        """Cut off a moment ago: what is said until they are back is missed."""
        self._ask("SELECT pg_terminate_backend(pid)")
        yield

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Silent, with every connection still there; those made meanwhile fall silent too."""
        if not all(map(self._is_of_this_machine, self.pids())):
            pytest.skip("PostgreSQL runs elsewhere: its processes cannot be stopped")
        stopped: set[int] = set()
        over = Event()

        def stop_new_ones() -> None:
            for pid in self.pids() - stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    stopped.add(pid)

        def keep_stopping() -> None:
            while not over.wait(0.1):
                stop_new_ones()

        stop_new_ones()
        keeper = Thread(target=keep_stopping)
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _ask(self, select: str) -> list[Any]:
        where = "FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%listener%'"
        return asyncio.run(query(self._url, f"{select} {where}"))

    def _is_of_this_machine(self, pid: int) -> bool:
        """A container's pids are of another world, and here they may be anybody's."""
        title = Path(f"/proc/{pid}/cmdline")
        return title.exists() and f" {make_url(self._url).database} " in title.read_text(encoding="utf-8")


@pytest.fixture
def listeners(environment: dict[str, str], pair: list[Started]) -> Listeners:
    """Every process of both replicas listens."""
    found = Listeners(environment["ISSUER_DATABASE_URL"])
    eventually(
        lambda: len(found.pids()) >= PROCESSES * len(pair)
    )  # other tests' servers may stand on the database, too
    return found


@dataclass(frozen=True)
class Change:
    """A write, and how a workload notices on a replica that it is in force."""

    write: Callable[[Administrator, Workload], object]
    is_in_force: Callable[[Workload, Started], bool]


def shorten(here: Administrator, workload: Workload) -> None:
    name = workload.path.rpartition("/")[2]
    ceiling = {"maxAccessTokenTTL": "1m"}
    here.policy(name, selector={"matchLabels": {"measured": name}}, tokenSettings=ceiling)


def is_refused(workload: Workload, server: Started) -> bool:
    return workload.lifetime(server) == 0


CHANGES = {
    "disable": Change(lambda here, workload: here.change(workload.path, disabled=True), is_refused),
    "delete": Change(lambda here, workload: here.write("DELETE", workload.path), is_refused),
    "compromised": Change(lambda here, workload: here.rotated(workload.path, compromised=True), is_refused),
    "policy": Change(shorten, lambda workload, server: workload.lifetime(server) == 60),
}


@pytest.fixture(scope="module")
def workloads(here: Administrator, there: Started) -> Iterator[Workload]:
    """Accounts in use there, whose making is an old story there: nothing is about to be looked at."""
    return settled(here, there)


def settled(here: Administrator, there: Started) -> Iterator[Workload]:
    while True:
        made = [here.account(name, labels={"measured": name}) for name in islice(_names, BATCH)]
        assert [workload.lifetime(there) for workload in made] == [600] * BATCH
        time.sleep(2 * POLL_S)
        assert [workload.lifetime(there) for workload in made] == [600] * BATCH
        yield from made


@pytest.mark.parametrize("listening", ["well", "terminated", "hanging"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_write_here_is_in_force_there_within_a_second(
    here: Administrator,
    there: Started,
    workloads: Iterator[Workload],
    listeners: Listeners,
    change: str,
    listening: str,
) -> None:
    """A machine that does something else for a second spoils one measurement, not three."""
    troubles: dict[str, Callable[[], AbstractContextManager[None]]] = {
        "well": nullcontext,
        "terminated": listeners.terminated,
        "hanging": listeners.hanging,
    }
    measured: list[float] = []
    while not measured or (measured[-1] > BOUND_S and len(measured) < ATTEMPTS):
        workload = next(workloads)
        with troubles[listening]():
            CHANGES[change].write(here, workload)
            answered = time.monotonic()
            eventually(partial(CHANGES[change].is_in_force, workload, there))
            measured.append(time.monotonic() - answered)
    print(f"{change}, listening {listening}: {measured} s")  # noqa: T201 - what `pytest -rP` is asked for
    assert min(measured) <= BOUND_S, measured


@pytest.mark.parametrize("times", [32, pytest.param(1_000, marks=pytest.mark.long)])
def test_a_secret_made_here_is_used_there_at_once_while_the_listener_hangs(
    here: Administrator, there: Started, listeners: Listeners, times: int
) -> None:
    """Of every ten, one is for an account of a new namespace, one for a new account, eight are a rotation's."""

    def secrets(driver: int) -> Iterator[Workload]:
        for number in range(times // DRIVERS):
            namespace = f"driver-{times}-{driver}-{number // 10}"
            if number % 10 == 0:
                here.namespace(namespace)
            if number % 5 == 0:
                workload = here.account(next(_names), namespace)
            else:
                workload = here.rotated(workload.path, gracePeriodHours=0)
            yield workload

    def refusals(driver: int) -> list[str]:
        answers = ((workload, workload.ask(there)) for workload in secrets(driver))
        return [f"{workload.path}: {answer.text}" for workload, answer in answers if answer.status_code != 200]

    with listeners.hanging(), ThreadPoolExecutor(DRIVERS) as drivers:
        refused = list(chain.from_iterable(drivers.map(refusals, range(DRIVERS))))
    assert refused == []
