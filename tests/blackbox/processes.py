"""The real program as its users start it: processes, their output, their addresses and their end."""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from typer.testing import CliRunner

from issuer.cli import app
from issuer.cli.environment import read_env_file
from tests.canary.shapes import assert_no_secret

ROOT = Path(__file__).parents[2]
ISSUER = (sys.executable, "-m", "issuer")
ANY_PORT = ("--public", "127.0.0.1:0", "--admin", "127.0.0.1:0")
PATIENCE_S = 30.0
# Nothing of the tests' own surroundings may decide what the program does.
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("ISSUER_", "DEMO_", "OTEL_"))} | {
    "PYTHONPATH": str(ROOT)
}


@dataclass(frozen=True)
class Finished:
    """What one run of `issuer …` came to."""

    exit_code: int
    stdout: str
    stderr: str


def run(*arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Finished:
    """Runs `issuer …` to its end in a process of its own."""
    done = subprocess.run(
        (*ISSUER, *arguments),
        env={**CLEAN, **(env or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert_no_secret(done.stderr, f"what issuer {' '.join(arguments[:1])} said")
    return Finished(done.returncode, done.stdout, done.stderr)


def run_here(*arguments: str, env: Mapping[str, str]) -> Finished:
    """The same in this process, much faster: for commands that end by themselves and need no process to prove anything."""
    handlers, level = logging.root.handlers, logging.root.level
    unset = dict.fromkeys(os.environ.keys() - CLEAN.keys())
    try:
        done = CliRunner().invoke(app, arguments, env={**unset, **env}, catch_exceptions=False)
    finally:
        logging.root.handlers = handlers
        logging.root.setLevel(level)
    assert_no_secret(done.stderr, f"what issuer {' '.join(arguments[:1])} said")
    return Finished(done.exit_code, done.stdout, done.stderr)


@dataclass
class Started:
    """A server in a process group of its own, its output in files."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=PATIENCE_S))
    public: str = ""
    admin: str = ""

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        """What the condition gave once it held. Fails with the log when the server ends first."""
        return eventually(condition, lambda: self.process.poll() is None, lambda: self.said)

    @property
    def said(self) -> str:
        """Both outputs so far."""
        return self.out.read_text() + self.err.read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines of one event, of a server that logs JSON."""
        lines = [json.loads(line) for line in self.err.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def find_ports(self) -> None:
        """Reads from the log where the server listens."""
        (ready,) = self.wait_for(lambda: self.events("ServerReady"))
        self.public, self.admin = f"http://{ready['public']}", f"http://{ready['admin']}"

    def readiness(self) -> httpx.Response:
        return self.client.get(f"{self.admin}/readyz")

    def metrics(self) -> str:
        """What it has counted, as far as it can still be asked."""
        try:
            return httpx.get(f"{self.admin}/metrics", timeout=0.5, trust_env=False).text
        except (httpx.TransportError, httpx.UnsupportedProtocol):
            return ""

    def token(self, client_id: str, client_secret: str, **form: str) -> httpx.Response:
        """Asks for a token."""
        data = {"grant_type": "client_credentials", **form}
        return self.client.post(f"{self.public}/oauth2/token", data=data, auth=(client_id, client_secret))

    def stop(self, signum: signal.Signals = signal.SIGINT) -> int:
        """Sends the signal to the whole group, as a terminal does; the exit code."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signum)
        return self.process.wait(PATIENCE_S)


@contextmanager
def started(
    folder: Path,
    command: Sequence[str],
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[Started]:
    """Runs the command in `folder`; it is gone afterwards, and neither its log nor its metrics had a secret in them."""
    with (  # names that are nobody else's: servers of one folder may start at the same moment
        tempfile.NamedTemporaryFile(dir=folder, suffix=".out", delete=False) as stdout,
        tempfile.NamedTemporaryFile(dir=folder, suffix=".err", delete=False) as stderr,
    ):
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**CLEAN, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            **options,
        )
    server = Started(process, Path(stdout.name), Path(stderr.name))
    try:
        yield server
        assert_no_secret(server.metrics(), "metrics")
    finally:
        server.client.close()
        try:
            server.stop()
            assert_no_secret(server.err.read_text(), "the log")
        except subprocess.TimeoutExpired:
            server.stop(signal.SIGKILL)
            raise


@contextmanager
def serving(folder: Path, env: Mapping[str, str], *arguments: str, admin: str = "127.0.0.1:0") -> Iterator[Started]:
    """A running `issuer serve` on ports of its own choice, ready or not; it stops at once unless `env` wants it to drain."""
    env = {"ISSUER_DRAIN_DELAY_S": "0", **env}
    with started(folder, (*ISSUER, "serve", "--public", "127.0.0.1:0", "--admin", admin, *arguments), env) as server:
        server.find_ports()
        yield server


@contextmanager
def developing(
    folder: Path, issuer: Sequence[str] = ISSUER, **options: Any
) -> Iterator[tuple[Started, dict[str, str]]]:
    """A running `issuer dev` with its data in `folder`/.issuer, and what its dev.env says."""
    with started(folder, (*issuer, "dev", *ANY_PORT), **options) as server:
        server.wait_for(lambda: "Issuer is ready" in server.out.read_text() and "dev.env" in server.out.read_text())
        environment = read_env_file(folder / ".issuer" / "dev.env")
        server.public, server.admin = environment["ISSUER_URL"], environment["ISSUER_ADMIN_URL"]
        yield server, environment


def eventually(
    condition: Callable[[], Any],
    alive: Callable[[], bool] = lambda: True,
    said: Callable[[], str] = lambda: "",
    patience_s: float = PATIENCE_S,
) -> Any:
    """What the condition gave once it held; a connection that is refused is not yet."""
    deadline = time.monotonic() + patience_s
    while True:
        running = alive()
        try:
            if found := condition():
                return found
        except httpx.TransportError:
            pass
        assert running, said()
        assert time.monotonic() < deadline, said()
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def postgres_pid(folder: Path) -> int:
    """The PostgreSQL of the `issuer dev` in this folder."""
    return int((folder / ".issuer/postgres/cluster/postmaster.pid").read_text().splitlines()[0])
