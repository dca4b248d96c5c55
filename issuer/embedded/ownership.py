"""One process, one data directory: the lock on it, and the end of a server that somebody left on it."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from issuer.embedded.failure import EmbeddedPostgresError

# PostgreSQL's shutdown modes, kindest first: fast, immediate (recovery at the next start), none.
_SHUTDOWN_LADDER = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
_POLL_S = 0.02


def claim(path: Path) -> int:
    """The lock at `path` is ours until the descriptor is closed, which the end of this process does too."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 20).decode()
        os.close(lock)
        raise EmbeddedPostgresError(f"{path.parent} is already in use by pid {holder}") from None
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    return lock


def end_orphan(cluster: Path) -> None:
    """No server of an earlier run is left on `cluster`. Only for the holder of the lock."""
    lines = pid_file(cluster)
    if not lines or not lines[0].isdecimal():
        return
    pid = int(lines[0])

    def send(signum: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signum)

    if _is_server_of(pid, cluster) and not end(send, lambda: _is_server_of(pid, cluster)):
        raise EmbeddedPostgresError(
            f"a PostgreSQL of an earlier run, pid {pid}, still uses {cluster} and cannot be ended"
        )


def _is_server_of(pid: int, cluster: Path) -> bool:
    """Whether `pid` is a live PostgreSQL on `cluster`; a pid file alone proves nothing, since pids are used again."""
    if sys.platform == "linux":
        process = Path("/proc") / str(pid)
        try:
            program = (process / "exe").readlink().name.removesuffix(" (deleted)")
            return program == "postgres" and (process / "cwd").samefile(cluster)
        except OSError:
            return False
    else:
        ps = ("/bin/ps", "-ww", "-o", "command=", "-p", str(pid))
        command = subprocess.run(ps, capture_output=True, text=True, check=False).stdout  # noqa: S603 - a number
        return "postgres" in command and f"-D {cluster} " in command


def end(send: Callable[[int], None], is_alive: Callable[[], bool]) -> bool:
    """Whether the server has ended, asked ever less kindly."""
    for signum, patience_s in _SHUTDOWN_LADDER:
        send(signum)
        if wait_until(lambda: not is_alive(), patience_s):
            return True
    return False


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether the condition came to hold in time."""
    deadline = time.monotonic() + timeout_s
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return holds


def pid_file(cluster: Path) -> list[str]:
    """The lines of `postmaster.pid`; none without a server."""
    try:
        return (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []
