"""No token without a record: whatever is killed, every token a client has in its hands is in the database, exactly once."""

import asyncio
import json
import os
import re
import resource
import signal
import threading
import time
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest

from issuer.signing.sealing import generate_master_key_line
from tests.blackbox.clusters import Cluster
from tests.blackbox.processes import Started, eventually, serving
from tests.blackbox.replicas import is_ready
from tests.databases import ISSUER, Bootstrapped, bootstrap, folder_in_memory

CLIENTS = 8
AWAY_S = 0.4
BETWEEN = 50
"""Tokens that are received in peace."""


def jti_of(token: str) -> str:
    payload = token.split(".")[1]
    return str(json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"])


@dataclass
class Clients:
    """Workloads that ask for tokens all the time and keep what they get; what is not a token they only count."""

    bootstrapped: Bootstrapped
    url: str = ""
    received: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def wait_for_more(self) -> None:
        """Until they have so many tokens more."""
        before = len(self.received)
        eventually(lambda: len(self.received) >= before + BETWEEN, said=lambda: str(self.answers))

    def _ask(self) -> None:
        admin = self.bootstrapped.admin
        while not self._stop.is_set():
            with httpx.Client(timeout=20, auth=(admin.client_id, admin.client_secret)) as client:
                try:
                    while not self._stop.is_set():
                        answer = client.post(
                            f"{self.url}/oauth2/token",
                            data={"grant_type": "client_credentials", "resource": "urn:issuer:admin"},
                        )
                        self.answers[str(answer.status_code)] += 1
                        if answer.status_code == 200:
                            self.received.append(jti_of(answer.json()["access_token"]))
                        else:
                            time.sleep(0.02)
                except httpx.TransportError:
                    self.answers["gone"] += 1
                    time.sleep(0.02)


@dataclass
class Installation:
    """One issuer on one PostgreSQL, each of which may die and come back."""

    cluster: Cluster
    folder: Path
    env: Mapping[str, str]
    clients: Clients
    stack: ExitStack = field(default_factory=ExitStack)
    server: Started | None = None

    def start_server(self, *, ready: bool = True) -> None:
        self.stack.close()
        self.server = self.stack.enter_context(serving(self.folder, self.env))
        self.clients.url = self.server.public
        if ready:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        server = self.server
        assert server is not None
        server.wait_for(lambda: server.readiness().status_code == 200)

    def kill_server(self) -> None:
        assert self.server is not None
        self.server.stop(signal.SIGKILL)

    def recorded(self) -> Counter[str]:
        return Counter(
            row["jti"] for row in self.cluster.ask("SELECT jti FROM decision_records WHERE outcome = 'issued'")
        )

    def require_all(self) -> None:
        """Every token that was received is recorded, and nothing twice."""
        received, recorded = self.clients.received, self.recorded()
        missing = [jti for jti in received if recorded[jti] != 1]
        assert missing == [], f"{len(missing)} of {len(received)}"
        assert max(recorded.values()) == 1


def kill_postgres(installation: Installation) -> None:
    installation.cluster.crash()
    time.sleep(AWAY_S)
    installation.cluster.start()
    installation.wait_until_ready()


def kill_issuer(installation: Installation) -> None:
    installation.kill_server()
    installation.start_server()


def kill_both(installation: Installation) -> None:
    """The issuer comes back first: PostgreSQL is down when it starts."""
    installation.cluster.crash()
    time.sleep(AWAY_S)
    installation.kill_server()
    installation.start_server(ready=False)
    time.sleep(AWAY_S)
    installation.cluster.start()
    installation.wait_until_ready()


@contextmanager
def installed(
    folders: pytest.TempPathFactory, folder: Path, on_outage: str, *, start: bool = True
) -> Iterator[Installation]:
    """A PostgreSQL of its own, and a server on it."""
    with folder_in_memory(folders) as place, closing(Cluster(place / "postgres")) as cluster:
        bootstrapped = asyncio.run(bootstrap(cluster.start(), generate_master_key_line("test")))
        env = {
            "ISSUER_URL": ISSUER,
            "ISSUER_DATABASE_URL": cluster.url,
            "ISSUER_MASTER_KEY": bootstrapped.master_key,
            "ISSUER_AUDIT__ON_OUTAGE": on_outage,
        }
        if on_outage == "spool":
            env["ISSUER_AUDIT__SPOOL_DIR"] = str(folder / "spool")
        made = Installation(cluster, folder, env, Clients(bootstrapped))
        with closing(made.stack):
            if start:
                made.start_server()
            yield made


@pytest.fixture(params=["refuse", "spool"])
def installation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> Iterator[Installation]:
    with installed(tmp_path_factory, tmp_path, request.param) as made:
        yield made


Kill: TypeAlias = Callable[[Installation], None]


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param((kill_postgres, kill_issuer, kill_both), id="each once"),
        pytest.param((kill_postgres,) * 20, id="postgres 20 times", marks=pytest.mark.long),
        pytest.param((kill_issuer,) * 20, id="the issuer 20 times", marks=pytest.mark.long),
        pytest.param((kill_both,) * 5, id="both 5 times", marks=pytest.mark.long),
    ],
)
def test_every_token_a_client_received_is_in_the_record_exactly_once(
    installation: Installation, kills: Sequence[Kill]
) -> None:
    clients = installation.clients
    with clients.at_work():
        for kill in kills:
            clients.wait_for_more()
            kill(installation)
        clients.wait_for_more()
    assert installation.server is not None
    assert installation.server.stop(signal.SIGTERM) == 0
    installation.require_all()
    spooled = list((installation.folder / "spool").glob("*"))
    assert spooled == [], "everything was brought in, and nothing is left behind"


def test_a_full_spool_is_503_and_tokens_go_on_when_there_is_room_again(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    with installed(tmp_path_factory, tmp_path, "spool") as installation:
        clients, server = installation.clients, installation.server
        assert server is not None
        with clients.at_work():
            clients.wait_for_more()
            installation.cluster.freeze()
            try:
                server.wait_for(lambda: server.events("RecordsNotDurable"))
                limit_files(server, 4 * 1024)
                server.wait_for(lambda: server.events("SpoolFailed"))
                server.wait_for(lambda: server.readiness().status_code == 503)
                refused = clients.answers["503"]
                eventually(lambda: clients.answers["503"] > refused + CLIENTS)
                limit_files(server, resource.RLIM_INFINITY)
                server.wait_for(lambda: server.readiness().status_code == 200)
                clients.wait_for_more()
            finally:
                installation.cluster.thaw()
            server.wait_for(lambda: server.events("RecordsDurable"))
        assert server.stop(signal.SIGTERM) == 0
        installation.require_all()


def limit_files(server: Started, size: int) -> None:
    """As a disk that is full beyond that: every write of the server that would make a file longer fails."""
    group = server.process.pid
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError):
            if os.getpgid(int(place.name)) == group:
                resource.prlimit(int(place.name), resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_clients_metrics_and_the_record_count_the_same_tokens(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """Two replicas with two workers each."""
    with installed(tmp_path_factory, tmp_path, "refuse", start=False) as installation, ExitStack() as stack:
        servers = [stack.enter_context(serving(tmp_path, installation.env, "--workers", "2")) for _ in range(2)]
        for server in servers:
            server.wait_for(partial(is_ready, server))
        clients = [Clients(installation.clients.bootstrapped, server.public) for server in servers]
        with clients[0].at_work(), clients[1].at_work():
            for each in clients:
                each.wait_for_more()
        received = [len(each.received) for each in clients]
        for server, number in zip(servers, received, strict=True):
            eventually(partial(has_issued, server, number))
        assert sum(received) == sum(installation.recorded().values())
        writers = installation.cluster.ask("SELECT count(DISTINCT writer) FROM decision_records")
        assert writers[0][0] > 2, "more than one worker had its share, or this proves nothing"


def has_issued(server: Started, tokens: int) -> bool:
    """Whether its metrics say so, of all its workers."""
    text = server.client.get(f"{server.admin}/metrics").text
    return float(re.findall(r"^issuer_tokens_issued_total (\S+)$", text, re.MULTILINE)[0]) == tokens


@pytest.mark.parametrize("hangs_s", [0, pytest.param(10, marks=pytest.mark.long)])
def test_while_postgres_hangs_spooled_tokens_go_on_and_refused_ones_are_told_to_come_back(
    installation: Installation, hangs_s: float
) -> None:
    clients, spooling = installation.clients, "ISSUER_AUDIT__SPOOL_DIR" in installation.env
    server = installation.server
    assert server is not None
    with clients.at_work():
        clients.wait_for_more()
        installation.cluster.freeze()
        try:
            server.wait_for(lambda: server.events("RecordsNotDurable"))
            before = len(clients.received)
            if spooling:
                eventually(lambda: len(clients.received) > before + 100)
                assert server.readiness().status_code == 200
            else:
                eventually(lambda: clients.answers["503"] > CLIENTS)
                server.wait_for(lambda: server.readiness().status_code == 503)
                assert len(clients.received) == before
            time.sleep(hangs_s)
        finally:
            installation.cluster.thaw()
        installation.wait_until_ready()
        server.wait_for(lambda: server.events("RecordsDurable"))
        clients.wait_for_more()
    assert clients.answers.keys() == ({"200"} if spooling else {"200", "503"})
    assert server.stop(signal.SIGTERM) == 0
    installation.require_all()
