"""Replicas of one issuer on one database, an administrator who writes on one of them, workloads that ask any of them."""

import os
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from issuer.administration.secrets import HandedOut
from issuer.model.scopes import ADMIN_AUDIENCE
from tests.administration.paths import MERGE, account
from tests.blackbox.processes import PATIENCE_S, Started, serving
from tests.world import ACCOUNTS, NAMESPACES

POLICIES = "/apis/auth.nauthera.io/v1alpha1/namespaces/{namespace}/authpolicies"


@contextmanager
def replicas(folder: Path, *environments: Mapping[str, str]) -> Iterator[list[Started]]:
    """One running, ready `issuer serve` for each environment, all started at once."""
    with ExitStack() as stack, ThreadPoolExecutor() as starters:

        def start(number: int) -> Started:
            place = folder / f"replica-{number}"
            place.mkdir()
            server = stack.enter_context(serving(place, environments[number]))
            server.wait_for(partial(is_ready, server))
            return server

        yield list(starters.map(start, range(len(environments))))


def is_ready(server: Started) -> bool:
    """Whether the replica says that it can issue tokens."""
    return server.readiness().status_code == 200


@contextmanager
def frozen(server: Started) -> Iterator[None]:
    """Every process of the replica stands still, as a paused virtual machine does."""
    os.killpg(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(server.process.pid, signal.SIGCONT)


@dataclass(frozen=True)
class Workload:
    """An account as its workload knows it. `path`: the account in the admin API."""

    path: str
    client_id: str
    secret: str = field(repr=False)

    def ask(self, server: Started) -> httpx.Response:
        """A replica's answer to a token request."""
        return server.token(self.client_id, self.secret)

    def lifetime(self, server: Started) -> int | None:
        """Seconds its tokens live as a replica issues them, 0 where it is refused as OAuth refuses, None for "not now"."""
        answer = self.ask(server)
        if answer.status_code == 503:
            return None
        body = answer.json()
        assert (answer.status_code, body.get("error")) in {(200, None), (401, "invalid_client")}, answer.text
        return int(body.get("expires_in", 0))


class Administrator:
    """Who writes through the admin port of one replica."""

    def __init__(self, server: Started, credential: HandedOut) -> None:
        answer = server.token(credential.client_id, credential.client_secret, resource=ADMIN_AUDIENCE)
        self.client = httpx.Client(
            base_url=server.admin,
            headers={"authorization": f"Bearer {answer.json()['access_token']}"},
            timeout=PATIENCE_S,
        )

    def close(self) -> None:
        """Leaves its connections."""
        self.client.close()

    def write(self, method: str, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        """The answer to a write that must succeed."""
        answer = self.client.request(method, path, json=body, headers=headers)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def change(self, path: str, **spec: Any) -> None:
        """Changes fields of the spec."""
        self.write("PATCH", path, {"spec": spec}, **MERGE)

    def namespace(self, name: str) -> None:
        """Creates a namespace."""
        self.write("POST", NAMESPACES, {"metadata": {"name": name}})

    def account(self, name: str, namespace: str = "payments", **spec: Any) -> Workload:
        """Creates an account whose first secret its workload has stored."""
        accounts = ACCOUNTS.format(namespace=namespace)
        self.write("POST", accounts, account(name, **spec))
        return self.rotated(f"{accounts}/{name}")

    def rotated(self, path: str, **request: Any) -> Workload:
        """The account with its next secret, which is acknowledged at once."""
        made = self.write("POST", f"{path}/credentials", {"acknowledge": True, **request})
        return Workload(path, made["clientId"], made["clientSecret"])

    def policy(self, name: str, namespace: str = "payments", **spec: Any) -> str:
        """Creates an AuthPolicy; its path."""
        policies = POLICIES.format(namespace=namespace)
        self.write("POST", policies, {"metadata": {"name": name}, "spec": spec})
        return f"{policies}/{name}"
