"""Replicas are restarted one after the other under load, and no client that honours `Connection: close` notices."""

import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from random import choice
from threading import Event, Thread
from typing import Self

import httpx
import pytest

from issuer.administration.secrets import HandedOut
from tests.blackbox.nginx import needs_nginx, proxying
from tests.blackbox.processes import PATIENCE_S, Started, eventually, serving
from tests.blackbox.replicas import is_ready
from tests.databases import Databases

CLIENTS = 4
PAUSE_S = 0.02
"""Of each client, or a machine of two cores would have none for a replica that starts."""
PROBE_S = 0.3
BETWEEN = 50
"""Requests answered, at least, before the next replica goes."""
PORTS = range(30_000, 32_000)
"""Below the ephemeral ones: no outgoing connection takes the port of a replica that is away."""


class Replica:
    """One that is started again and again, always on the same public address."""

    def __init__(self, folder: Path, environment: Mapping[str, str], drain_s: int) -> None:
        folder.mkdir()
        self.address = _free_address()
        self._folder = folder
        self._environment = {**environment, "ISSUER_DRAIN_DELAY_S": str(drain_s)}
        self._running = ExitStack()
        self.server: Started

    def start(self) -> None:
        """It is running and ready."""
        self.server = self._running.enter_context(serving(self._folder, self._environment, "--public", self.address))
        self.server.wait_for(partial(is_ready, self.server))

    def stop(self) -> None:
        """It has ended in order, as its platform asked it to."""
        self.server.process.send_signal(signal.SIGTERM)
        assert self.server.process.wait(PATIENCE_S) == 0, self.server.said
        self._running.close()

    def close(self) -> None:
        self._running.close()


class Load:
    """Clients that ask for tokens over connections they keep, and what they got."""

    def __init__(self, target: Callable[[], str], credential: HandedOut) -> None:
        self._target = target
        self._credential = credential
        self._over = Event()
        self._clients = [Thread(target=self._ask) for _ in range(CLIENTS)]
        self.answers: Counter[int | str] = Counter()
        """How often each status came, or each failure of a connection."""

    def __enter__(self) -> Self:
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for client in self._clients:
            client.join()

    def goes_on(self) -> None:
        """Waits for BETWEEN more answers."""
        answered = self.answers.total()
        eventually(lambda: self.answers.total() >= answered + BETWEEN)

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                self._ask_over_one_connection()
            except httpx.TransportError as error:
                self.answers[repr(error)] += 1

    def _ask_over_one_connection(self) -> None:
        """Until it is asked to leave. One that is closed on it without a word is made anew, and refused."""
        form = {"grant_type": "client_credentials"}
        credential = (self._credential.client_id, self._credential.client_secret)
        with httpx.Client(base_url=self._target(), auth=credential, timeout=PATIENCE_S) as client:
            while not self._over.wait(PAUSE_S):
                answer = client.post("/oauth2/token", data=form)
                self.answers[answer.status_code] += 1
                if answer.headers.get("connection") == "close":
                    return


@contextmanager
def balancer(replicas: list[Replica], _: Path) -> Iterator[Callable[[], str]]:
    """Each connection goes to the next of those that say they are ready, and stays there: a load balancer of TCP."""
    ready = [replica.address for replica in replicas]
    turns = cycle(range(2))
    over = Event()

    def probe() -> None:
        while not over.wait(PROBE_S):
            ready[:] = [replica.address for replica in replicas if _says_ready(replica)] or ready

    prober = Thread(target=probe)
    prober.start()
    try:
        yield lambda: f"http://{ready[next(turns) % len(ready)]}"
    finally:
        over.set()
        prober.join()


def _says_ready(replica: Replica) -> bool:
    try:
        return is_ready(replica.server)
    except (httpx.TransportError, RuntimeError):
        return False


@contextmanager
def nginx(replicas: list[Replica], folder: Path) -> Iterator[Callable[[], str]]:
    """The proxy that is shipped."""
    with proxying(folder, [replica.address for replica in replicas]) as proxy:
        yield lambda: proxy.url


@pytest.mark.parametrize(
    ("between", "drain_s", "rounds"),
    [
        (balancer, 1, 1),
        pytest.param(balancer, 1, 10, marks=pytest.mark.long),
        # As long as it takes nginx to find out that the other one is back: a connect timeout and a fail_timeout.
        pytest.param(nginx, 2, 10, marks=[pytest.mark.long, needs_nginx]),
    ],
)
def test_rolling_restarts_under_load_cost_no_client_anything(
    databases: Databases,
    environment: dict[str, str],
    tmp_path: Path,
    between: Callable[[list[Replica], Path], AbstractContextManager[Callable[[], str]]],
    drain_s: int,
    rounds: int,
) -> None:
    """No answer but 200, no connection reset, none refused."""
    with ExitStack() as stack:
        replicas = [Replica(tmp_path / f"replica-{number}", environment, drain_s) for number in (1, 2)]
        for replica in replicas:
            stack.callback(replica.close)
        with ThreadPoolExecutor() as starters:
            for _ in starters.map(Replica.start, replicas):
                pass
        target = stack.enter_context(between(replicas, tmp_path))
        load = stack.enter_context(Load(target, databases.bootstrapped.admin))
        for replica in replicas * rounds:
            load.goes_on()
            replica.stop()
            load.goes_on()
            replica.start()
        load.goes_on()
    print(dict(load.answers))  # noqa: T201 - what `pytest -rP` is asked for
    assert set(load.answers) == {200}


def _free_address() -> str:
    while True:
        port = choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return f"127.0.0.1:{port}"
