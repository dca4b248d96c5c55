"""One PostgreSQL on one data directory: created, started, supervised, stopped."""

import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from issuer.embedded.binaries import place_binaries
from issuer.embedded.failure import EmbeddedPostgresError
from issuer.embedded.launching import OPEN_FILES, Account, Launcher, account_for, handed_over
from issuer.embedded.ownership import claim, end, end_orphan, pid_file, wait_until
from issuer.events import EmbeddedPostgresDied, EmbeddedPostgresReady, Emit

# Below every system's ephemeral range: no outgoing connection, not even a client's own attempt to reconnect, can take
# the port while the server restarts.
_PORTS = range(20_000, 30_000)

_START_TIMEOUT_S = 60.0
_INITDB_TIMEOUT_S = 120.0
_LEFTOVER_PATIENCE_S = 10.0
_POLL_S = 0.02
_SUPERVISION_POLL_S = 0.1
_FIRST_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 10.0
_HEALTHY_AFTER_S = 30.0
_QUOTED_LINES = 15
_MAX_LOG_BYTES = 16 * 1024 * 1024
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "io_method": "sync",
    "jit": "off",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """One PostgreSQL on one data directory, on 127.0.0.1, for as long as this object lives.

    `durable=False` is for tests: faster, but a power failure ruins the cluster and a killed server forgets what was
    committed in its last half second. One owner calls `start` and `stop`; `supervise` runs between them.
    """

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self._data_dir = data_dir.absolute()
        self._cluster = self._data_dir / "cluster"
        self._log = self._data_dir / "postgres.log"
        self._durable = durable
        self._launcher = Launcher()
        self._guard = threading.Lock()  # between a restart and `stop` in another thread
        self._child: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self._port = 0
        self._password = ""

    def start(self) -> str:
        """The server accepts connections at the returned URL; its cluster is created first when there is none.

        Blocks, needs no event loop and disturbs none. Raises EmbeddedPostgresError.
        """
        if self._child is not None and self._child.poll() is not None:
            self.stop()
        if self._child is None:
            try:
                self._start()
            except (OSError, subprocess.SubprocessError) as error:
                self.stop()
                raise EmbeddedPostgresError(f"cannot use {self._data_dir}: {error}") from error
            except BaseException:
                self.stop()
                raise
        return f"postgresql://issuer:{self._password}@127.0.0.1:{self._port}/issuer"

    def stop(self) -> None:
        """No server runs and the data directory is free; a server that hangs is killed after half a minute."""
        with self._guard:
            child, self._child = self._child, None
        if child is not None:
            end(child.send_signal, lambda: child.poll() is None)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def supervise(self, emit: Emit) -> None:
        """Whenever the server ends by itself it is started again, on the same port, until `stop` or cancellation.

        Emits EmbeddedPostgresReady for the server it finds and for each one it started, EmbeddedPostgresDied for each
        one that ended. Cancelling leaves the server running: `stop` is the owner's next step. Raises
        EmbeddedPostgresError when the data directory is gone.
        """
        backoff_s = _FIRST_BACKOFF_S
        announced, announced_at = 0, 0.0
        while (child := self._child) is not None:
            exit_code = child.poll()
            if exit_code is not None:
                if announced == child.pid and time.monotonic() - announced_at > _HEALTHY_AFTER_S:
                    backoff_s = _FIRST_BACKOFF_S
                emit(EmbeddedPostgresDied(exit_code=exit_code, restart_in_s=backoff_s))
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, _MAX_BACKOFF_S)
                self._restart(child)
            elif announced != child.pid and self._is_ready(child):
                emit(EmbeddedPostgresReady(pid=child.pid, port=self._port))
                announced, announced_at = child.pid, time.monotonic()
            await asyncio.sleep(_SUPERVISION_POLL_S)

    @cached_property
    def bin_dir(self) -> Path:
        """Where `pg_dump` and `psql` are, in a place that PostgreSQL's user can reach too."""
        return place_binaries(self)

    @cached_property
    def _account(self) -> Account:
        return account_for(self._cluster)

    def _start(self) -> None:
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = claim(self._data_dir / "lock")
        if self._log_size() > _MAX_LOG_BYTES:
            self._log.unlink()
        self._password = self._read_or_make_password()
        if not self._cluster.exists():
            self._create_cluster()
        end_orphan(self._cluster)
        self._start_server()

    def _read_or_make_password(self) -> str:
        path = self._data_dir / "password"
        if path.exists():
            return path.read_text()
        if self._cluster.exists():
            raise EmbeddedPostgresError(f"{path} is gone, and with it the way into {self._cluster}; remove both")
        password = secrets.token_urlsafe(24)
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(password)
        fresh.replace(path)
        return password

    def _create_cluster(self) -> None:
        """A complete cluster with an empty database `issuer`; an interrupted attempt leaves only rubbish."""
        wait_until(self._no_leftover, _LEFTOVER_PATIENCE_S)
        fresh = Path(tempfile.mkdtemp(prefix="cluster.new-", dir=self._data_dir))
        os.chown(fresh, *self._account)
        options = ["--username=issuer", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", "--no-instructions"]
        options += [] if self._durable else ["--no-sync"]
        # The command line of each start decides; the file agrees with it, or a reload would complain.
        options += [f"--set={name}={value}" for name, value in _SETTINGS.items()]
        # The password reaches initdb in a file without a name, open in this process and its child only.
        with tempfile.TemporaryFile(dir=self._data_dir) as pwfile, handed_over(fresh) as (place, fds):
            pwfile.write(self._password.encode())
            pwfile.seek(0)
            os.fchown(pwfile.fileno(), *self._account)
            options.append(f"--pwfile={OPEN_FILES}/{pwfile.fileno()}")
            self._run("initdb", "-D", place, *options, fds=(*fds, pwfile.fileno()))
        with handed_over(fresh) as (place, fds):
            single = ("--single", "-D", place, "-c", "exit_on_error=on", "template1")
            self._run("postgres", *single, fds=fds, stdin=b"CREATE DATABASE issuer\n")
        fresh.rename(self._cluster)

    def _no_leftover(self) -> bool:
        """Whether no earlier attempt has left anything; an initdb that is just ending may add to it once more."""
        for leftover in self._data_dir.glob("cluster.new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        return not any(self._data_dir.glob("cluster.new-*"))

    def _run(self, program: str, *arguments: str, fds: Sequence[int], stdin: bytes = b"") -> None:
        """The program ended well; otherwise EmbeddedPostgresError quotes what it said."""
        mark = self._log_size()
        child = self._launch(program, *arguments, fds=fds, stdin=subprocess.PIPE)
        try:
            child.communicate(stdin, timeout=_INITDB_TIMEOUT_S)
        except BaseException:  # a timeout, or Ctrl-C, which the child's own session keeps from it
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
        if child.returncode != 0:
            raise self._error(f"{program} failed with {child.returncode}", mark)

    def _start_server(self) -> None:
        """The server accepts connections.

        What passes by itself is tried again: a port just taken (the first is ours to choose, later it is promised), and
        processes of a killed server that are still leaving.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            mark = self._log_size()
            port = self._port or _free_port()
            self._child = self._spawn_server(port)
            if self._comes_up(self._child, deadline):
                self._port = port
                return
            said = self._said_since(mark)
            taken = "could not create any TCP/IP sockets" in said and not self._port
            leaving = "pre-existing shared memory block" in said
            if not (taken or leaving) or time.monotonic() > deadline:
                raise self._error(f"PostgreSQL did not start on port {port}", mark)
            time.sleep(_POLL_S)

    def _restart(self, dead: subprocess.Popen[bytes]) -> None:
        with self._guard:
            if self._child is dead:
                try:
                    self._child = self._spawn_server(self._port)
                except OSError as error:
                    raise EmbeddedPostgresError(f"cannot start again in {self._data_dir}: {error}") from error

    def _spawn_server(self, port: int) -> subprocess.Popen[bytes]:
        """A new server on `port`, not yet ready.

        We hold the lock and no server of ours runs, so a `postmaster.pid` is stale, whatever process has its number
        today. PostgreSQL's second guard, the shared memory that belongs to the directory, remains.
        """
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        settings = _SETTINGS | {"port": str(port)} | ({} if self._durable else _NOT_DURABLE)
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with handed_over(self._cluster) as (place, fds):
            return self._launch("postgres", "-D", place, *options, fds=fds)

    def _launch(
        self, program: str, *arguments: str, fds: Sequence[int], stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        command = (str(self.bin_dir / program), *arguments)
        self._log.touch(mode=0o600)
        with self._log.open("ab") as log:
            return self._launcher.launch(command, self._account, log, fds=fds, stdin=stdin)

    def _comes_up(self, child: subprocess.Popen[bytes], deadline: float) -> bool:
        wait_until(lambda: child.poll() is not None or self._is_ready(child), deadline - time.monotonic())
        return child.poll() is None and self._is_ready(child)

    def _is_ready(self, child: subprocess.Popen[bytes]) -> bool:
        """The server's own word, as pg_ctl reads it: line 1 of `postmaster.pid` is the pid, line 8 the state."""
        lines = pid_file(self._cluster)
        return len(lines) >= 8 and lines[0] == str(child.pid) and lines[7].strip() == "ready"  # noqa: PLR2004

    def _log_size(self) -> int:
        return self._log.stat().st_size if self._log.exists() else 0

    def _said_since(self, mark: int) -> str:
        with self._log.open("rb") as log:
            log.seek(mark)
            return log.read().decode(errors="replace")

    def _error(self, what: str, mark: int) -> EmbeddedPostgresError:
        last = self._said_since(mark).splitlines()[-_QUOTED_LINES:]
        return EmbeddedPostgresError("\n  ".join((f"{what}; the end of {self._log} is", *last)))


def _free_port() -> int:
    for _ in _PORTS:
        port = _PORTS[secrets.randbelow(len(_PORTS))]
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does
            probe.bind(("127.0.0.1", port))
            return port
    raise EmbeddedPostgresError(f"no port is free on 127.0.0.1 between {_PORTS.start} and {_PORTS.stop}")
