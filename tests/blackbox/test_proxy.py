"""Two replicas behind the proxy that `config/proxy` ships: one of them may go at any time, and no client notices."""

import os
import re
import signal
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx
import pytest
import trustme

from issuer.protocol.request import MAX_BODY_BYTES
from issuer.settings import DatabaseSettings
from issuer.web.connection import MAX_HEADER_BYTES
from issuer.web.listen import KEEP_ALIVE_S
from tests.blackbox.nginx import SHIPPED, Nginx, needs_nginx, proxying
from tests.blackbox.processes import Started, eventually, serving
from tests.databases import Databases

FORM = {"grant_type": "client_credentials"}


@dataclass
class Site:
    """A proxy and its two replicas, by address; one that went comes back with `restart`."""

    proxy: Nginx
    folder: Path
    environment: dict[str, str]
    credential: tuple[str, str]
    stack: ExitStack
    replicas: dict[str, Started] = field(default_factory=dict)

    def start(self, address: str = "127.0.0.1:0") -> str:
        server = self.stack.enter_context(serving(self.folder, self.environment, "--public", address))
        server.wait_for(lambda: server.readiness().status_code == 200)
        found = urlsplit(server.public).netloc
        self.replicas[found] = server
        return found

    def restart(self) -> None:
        """Every replica runs, and the proxy, which lets one that failed rest for a second, sends requests to each."""
        before = len(self.proxy.upstreams())
        for address, server in self.replicas.items():
            if server.process.poll() is not None:
                self.start(address)
        with Load(self) as load:
            eventually(lambda: {to for to, _ in self.proxy.upstreams()[before:]} >= self.replicas.keys())
        assert load.bad == []

    def token(self, client: httpx.Client, **changed: str) -> httpx.Response:
        return client.post(f"{self.proxy.url}/oauth2/token", data={**FORM, **changed}, auth=self.credential)


@pytest.fixture(scope="module")
def site(databases: Databases, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    admin = databases.bootstrapped.admin
    with ExitStack() as stack:
        drained = {**environment, "ISSUER_DRAIN_DELAY_S": "0.3", "ISSUER_TRUSTED_PROXIES": "127.0.0.1"}
        site = Site(Nginx("", folder, folder), folder, drained, (admin.client_id, admin.client_secret), stack)
        with ThreadPoolExecutor() as threads:
            addresses = list(threads.map(lambda _: site.start(), range(2)))
        site.proxy = stack.enter_context(proxying(folder, addresses))
        yield site
        for server in site.replicas.values():
            server.stop(signal.SIGKILL)


class Load:
    """Clients that ask for tokens through the proxy until they are told to stop; what went wrong is kept."""

    def __init__(self, site: Site, clients: int = 4) -> None:
        self._site = site
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        self.good = 0
        self.bad: list[str] = []

    def _ask(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._enough.is_set():
                try:
                    answer = self._site.token(client)
                except httpx.TransportError as error:
                    self.bad.append(repr(error))
                    return
                if answer.status_code == 200:
                    self.good += 1
                else:
                    self.bad.append(f"{answer.status_code} {answer.text}")

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()


@needs_nginx
def test_tokens_flow_through_both_replicas(site: Site) -> None:
    with httpx.Client() as client, Load(site) as load:
        next(iter(site.replicas.values())).wait_for(lambda: load.good > 50)
        assert client.get(f"{site.proxy.url}/.well-known/jwks.json").status_code == 200
    assert load.bad == []
    assert {upstream for upstream, _ in site.proxy.upstreams()} >= site.replicas.keys()


@needs_nginx
def test_both_replicas_see_the_client_and_not_the_proxy_nor_what_the_client_claims(site: Site) -> None:
    claims = dict.fromkeys(("x-forwarded-for", "x-real-ip"), "203.0.113.9") | {"forwarded": "for=203.0.113.9"}
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2"), headers=claims) as client:

        def sources() -> list[set[str]]:
            refused = client.post(f"{site.proxy.url}/oauth2/token", data=FORM, auth=("sa-nobody", "wrong"))
            assert refused.status_code == 401
            return [{event["source"] for event in server.events("TokenRefused")} for server in site.replicas.values()]

        assert eventually(lambda: (seen := sources()) == [{"127.0.0.2"}] * 2 and seen)


@needs_nginx
def test_a_replica_that_is_stopped_costs_no_client_a_request(site: Site) -> None:
    leaving, staying = site.replicas.values()
    with Load(site) as load:
        staying.wait_for(lambda: load.good > 50)
        os.kill(leaving.process.pid, signal.SIGTERM)
        assert leaving.process.wait(20) == 0
        served = load.good
        staying.wait_for(lambda: load.good > served + 50)
    assert load.bad == []


@needs_nginx
def test_a_replica_that_is_killed_costs_no_client_a_request_not_even_one_it_had_accepted(site: Site) -> None:
    """It is stopped first, so that some requests are certain to have been sent, and none half answered, when it is killed."""
    site.restart()
    (address, dying), (_, staying) = site.replicas.items()
    before = len(site.proxy.upstreams())
    os.killpg(dying.process.pid, signal.SIGSTOP)
    with ThreadPoolExecutor(16) as threads, httpx.Client(timeout=30) as client, Load(site) as load:
        asked = [threads.submit(site.token, client) for _ in range(16)]
        staying.wait_for(lambda: 0 < sum(each.done() for each in asked) < len(asked))
        os.killpg(dying.process.pid, signal.SIGKILL)
        assert [each.result().status_code for each in asked] == [200] * 16
        served = load.good
        staying.wait_for(lambda: load.good > served + 50)
    assert load.bad == []
    dying.process.wait()
    sent_again = [each for each in site.proxy.upstreams()[before:] if each[0].startswith(f"{address}, ")]
    assert sent_again
    assert {status for _, status in sent_again} == {"502, 200"}


@needs_nginx
def test_what_is_too_large_ends_at_the_proxy_and_is_refused_in_the_words_of_the_replica(site: Site) -> None:
    with httpx.Client() as client:
        before = len(site.proxy.upstreams())
        whole = site.token(client, padding="x" * (MAX_BODY_BYTES - 100))
        assert whole.status_code == 200
        refused = site.token(client, padding="x" * MAX_BODY_BYTES)
        huge = client.get(f"{site.proxy.url}/.well-known/jwks.json", headers={"x-junk": "x" * MAX_HEADER_BYTES})
        eventually(lambda: len(site.proxy.upstreams()) == before + 3)  # a line is written after its answer
        assert [status for _, status in site.proxy.upstreams()[before:]] == ["200", "-", "-"]
        *_, address = site.replicas
        directly = client.post(
            f"http://{address}/oauth2/token", data={**FORM, "padding": "x" * MAX_BODY_BYTES}, auth=site.credential
        )
    assert (refused.status_code, refused.json()) == (directly.status_code, directly.json())
    assert refused.headers["content-type"] == directly.headers["content-type"]
    assert huge.status_code == 400


@needs_nginx
def test_administration_is_not_behind_the_proxy(site: Site) -> None:
    for path in ("/livez", "/metrics", "/apis", "/api/v1/namespaces"):
        assert httpx.get(f"{site.proxy.url}{path}").status_code == 404


@needs_nginx
def test_without_any_replica_clients_are_told_to_try_again(tmp_path: Path) -> None:
    with proxying(tmp_path, ["127.0.0.1:9", "127.0.0.1:9"]) as proxy:
        answer = httpx.post(f"{proxy.url}/oauth2/token", data=FORM, params={"client_secret": "canary"})
        assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["cache-control"] == "no-store"
        assert "nginx" not in answer.text
        assert "canary" not in proxy.out.read_text() + proxy.err.read_text()


@needs_nginx
def test_the_lines_for_tls_are_right_as_they_stand(site: Site, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "fullchain.pem")
    issued.private_key_pem.write_to_path(tmp_path / "privkey.pem")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with (
        proxying(tmp_path, list(site.replicas), tls=True) as proxy,
        httpx.Client(verify=trusting) as client,
    ):
        answer = client.post(f"{proxy.url}/oauth2/token", data=FORM, auth=site.credential)
        assert answer.status_code == 200


def test_a_replica_that_says_503_is_never_taken_for_dead() -> None:
    """Else strangers, whom it cannot know while the database is away, would cut off the clients it does know."""
    (causes,) = re.findall(r"^ *proxy_next_upstream (.*);", (SHIPPED / "nginx.conf").read_text("utf-8"), re.MULTILINE)
    assert set(causes.split()) == {"error", "timeout", "non_idempotent"}


def test_the_bounds_of_the_proxy_are_those_of_the_public_port() -> None:
    text = (SHIPPED / "nginx.conf").read_text("utf-8")

    def number(pattern: str) -> int:
        found = re.search(rf"^ *{pattern};", text, re.MULTILINE)
        assert found is not None, pattern
        return int(found[1])

    assert number(r"large_client_header_buffers 2 (\d+)k") * 2 * 1024 == MAX_HEADER_BYTES
    assert number(r"client_max_body_size (\d+)k") * 1024 == MAX_BODY_BYTES
    assert number(r"keepalive_timeout (\d+)s") < KEEP_ALIVE_S
    database = DatabaseSettings()
    assert number(r"proxy_read_timeout (\d+)s") > database.pool_timeout_s + database.statement_timeout_s
