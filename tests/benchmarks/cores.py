"""Who runs where: what is measured is the server, and not what else this machine is doing."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.benchmarks.report import BenchmarkFailed


def two_cores() -> tuple[int, int]:
    """One for the server, one for those who ask. Raises BenchmarkFailed."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchmarkFailed("two cores are needed: one for the server, one for those who ask")
    return cores[0], cores[1]


@contextmanager
def on_cores(cores: Collection[int]) -> Iterator[None]:
    """What is started in the block runs on these cores, and whatever that starts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def a_core_for_the_worker(server: int) -> Iterator[None]:
    """In the block the worker of the server with that pid has a core; everybody else shares the other, this process first.

    Priorities are root's right. Without them the worker waits for whatever else the machine runs on its core, some
    milliseconds at a time and the longer the more it has to do itself; and known clients wait for their turn among strangers.
    """
    own, shared = two_cores()
    worker = worker_of(server)
    with on_cores([shared]):
        for pid in (server, *children_of(server)):
            for thread in _threads_of(pid):
                os.sched_setaffinity(thread, {own if pid == worker else shared})
                if pid == worker:
                    _come_first(thread, os.SCHED_FIFO)
        _come_first(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK)
        try:
            yield
        finally:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def keep_off_the_first(pids: Collection[int]) -> None:
    """These processes run on the other cores, and there they come before those who ask: as if on a machine of their own."""
    allowed = sorted(os.sched_getaffinity(0))
    for pid in pids:
        with suppress(PermissionError, ProcessLookupError):
            os.sched_setaffinity(pid, allowed[1:] or allowed)
            os.setpriority(os.PRIO_PROCESS, pid, -20)


def worker_of(server: int) -> int:
    """The process that issues tokens, which is the last child."""
    return children_of(server)[-1]


def children_of(pid: int) -> list[int]:
    """Every process that it started and that is still there, the first one first."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def resident_bytes(pid: int) -> int:
    """Resident memory (proc(5), /proc/pid/status)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def _threads_of(pid: int) -> list[int]:
    return [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir()]


def _come_first(thread: int, policy: int) -> None:
    with suppress(PermissionError):
        os.sched_setscheduler(thread, policy, os.sched_param(1))
