"""Ends a process by SIGKILL at one exact step of what it does: between two of its requests, or between two of its files.

The program knows nothing of it. Its requests pass a proxy that is the test's own; its files are watched by an audit hook
(PEP 578) that Python loads from the environment before the program begins.
"""

import http.client
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Literal
from urllib.parse import urlsplit

from tests.blackbox.processes import CLEAN, ISSUER, PATIENCE_S

_HOOK = """
import os, signal, sys

def die(event, arguments):
    if event == "os.rename" and os.fspath(arguments[1]) == os.environ["DIES_BEFORE_RENAMING_TO"]:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)
"""


@dataclass(frozen=True)
class Step:
    """Where a driver dies: as its request leaves (`request`), before the answer to it comes back (`answer`), or with what
    was answered in a file that has not its name yet (`rename`)."""

    at: Literal["request", "answer", "rename"]
    method: str = ""
    path_end: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.at, self.method, self.path_end) if part)


@dataclass
class Proxy:
    """Passes requests on until the one of the step; then `strike` is called and the connection closed without a word."""

    upstream: str
    step: Step
    strike: Callable[[], None]
    url: str = ""
    struck: bool = field(default=False)


@contextmanager
def proxy(upstream: str, step: Step, strike: Callable[[], None]) -> Iterator[Proxy]:
    """A running proxy before `upstream`."""
    state = Proxy(upstream, step, strike)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self._is_at("request"):
                return
            place = urlsplit(upstream)
            connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE_S)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            if self._is_at("answer"):
                return
            self.send_response(answer.status)
            self.send_header("content-type", answer.headers["content-type"])
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _pass_on  # noqa: N815 - the names http.server looks for

        def _is_at(self, moment: str) -> bool:
            mine = self.command == step.method and urlsplit(self.path).path.endswith(step.path_end)
            if step.at != moment or not mine:
                return False
            state.struck = True
            strike()
            self.close_connection = True
            return True

        def log_message(self, *_: object) -> None:
            """The test's output is the test's."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run_until(step: Step, *arguments: str, env: Mapping[str, str], target: Path, hooks: Path) -> None:
    """Runs `issuer …` in a process of its own, which SIGKILL ends at the step. `hooks` is an empty folder."""
    (hooks / "sitecustomize.py").write_text(_HOOK if step.at == "rename" else "")
    victims: Queue[subprocess.Popen[bytes]] = Queue()
    with proxy(env["ISSUER_ADMIN_URL"], step, lambda: _killed(victims.get(timeout=PATIENCE_S))) as between:
        process = subprocess.Popen(
            (*ISSUER, *arguments),
            env={
                **CLEAN,
                **env,
                "ISSUER_ADMIN_URL": between.url,
                "PYTHONPATH": os.pathsep.join((str(hooks), CLEAN["PYTHONPATH"])),
                "DIES_BEFORE_RENAMING_TO": str(target.resolve()),
            },
            cwd=target.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        victims.put(process)
        said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == -9, said.decode()
    assert between.struck == (step.at != "rename")


def _killed(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(PATIENCE_S)
