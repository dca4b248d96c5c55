"""Secrets that rotate themselves under load: two replicas, accelerated days, drivers who are slow, clients who learn late.

A day lasts seconds here and an hour parts of one, by configuration. Everybody is somebody else's process, thread and clock.
"""

import asyncio
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import pytest

from tests.blackbox.processes import PATIENCE_S, Started, eventually
from tests.blackbox.replicas import Administrator, Workload, replicas
from tests.databases import ISSUER, Databases
from tests.store.rows import query

DAY_S, HOUR_S = 3.0, 0.8
GRACE_H = 3
GRACE_S = GRACE_H * HOUR_S
HOLD_H = 2
CLOCK_STEP_S = 0.01
PROPAGATION_S = 0.3
"""How long after a poll's time the other replica is asked what it makes of it."""
LATEST = 0.8
"""The part of grace after which no client learns of its new secret any more: what it asked before is on its way for a while."""
WATCH_S = 1.0
"""A watch that says nothing for so long is begun again, so that its thread can end."""
DAILY = {"enabled": True, "intervalDays": 1, "gracePeriodHours": GRACE_H}


@pytest.fixture(scope="module")
def environment(databases: Databases) -> Iterator[dict[str, str]]:
    """A database of its own: a server of another test would keep it by its own, much longer days."""
    with databases.copy() as url:
        yield {
            "ISSUER_URL": ISSUER,
            "ISSUER_DATABASE_URL": url,
            "ISSUER_MASTER_KEY": databases.bootstrapped.master_key,
        }


@pytest.fixture(scope="module")
def pair(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Started]]:
    """Two replicas whose days are short."""
    fast = {**environment, "ISSUER_SCHEDULE__DAY_S": str(DAY_S), "ISSUER_SCHEDULE__HOUR_S": str(HOUR_S)}
    with replicas(tmp_path_factory.mktemp("rotating"), fast, fast) as running:
        yield running


@pytest.fixture(scope="module")
def administrator(pair: list[Started], databases: Databases) -> Iterator[Administrator]:
    made = Administrator(pair[0], databases.bootstrapped.admin)
    made.namespace("rotating")
    yield made
    made.close()


@dataclass
class Client:
    """A workload that asks both replicas again and again with the secret it knows."""

    client_id: str
    secret: str = field(repr=False)
    asked: int = 0
    refused: list[str] = field(default_factory=list)

    def ask_until(self, over: threading.Event, pair: list[Started]) -> None:
        with httpx.Client(timeout=PATIENCE_S) as http:
            while not over.is_set():
                server, secret = random.choice(pair), self.secret
                answer = http.post(
                    f"{server.public}/oauth2/token",
                    data={"grant_type": "client_credentials"},
                    auth=(self.client_id, secret),
                )
                self.asked += 1
                if answer.status_code != 200:
                    self.refused.append(answer.text)
                over.wait(random.uniform(0.005, 0.03))


@dataclass(frozen=True)
class Replaced:
    """A secret whose successor was acknowledged, at the latest at this time."""

    secret: str = field(repr=False)
    by: float


class Driver:
    """Follows one account by watch alone: fetches what waits, gives it to its client later, says that it is stored first."""

    def __init__(self, administrator: Administrator, path: str, client: Client, pair: list[Started]) -> None:
        self._administrator = administrator
        self._path = path
        self._client = client
        self._pair = pair
        self.replaced: list[Replaced] = []
        self.served_after_grace: list[str] = []

    def follow_until(self, over: threading.Event) -> None:
        collection, _, name = self._path.rpartition("/")
        http = self._administrator.client
        listed = http.get(collection).json()
        seen = listed["metadata"]["resourceVersion"]
        for item in listed["items"]:
            if item["metadata"]["name"] == name:
                self._act(http, item["status"], over)
        while not over.is_set():
            query = {"watch": "true", "resourceVersion": seen, "fieldSelector": f"metadata.name={name}"}
            try:
                with http.stream("GET", collection, params=query, timeout=WATCH_S) as stream:
                    for line in stream.iter_lines():
                        event = json.loads(line)
                        seen = event["object"]["metadata"]["resourceVersion"]
                        if event["type"] == "MODIFIED":
                            self._act(http, event["object"]["status"], over)
                        if over.is_set():
                            return
            except httpx.ReadTimeout:
                continue

    def _act(self, http: httpx.Client, status: dict[str, Any], over: threading.Event) -> None:
        provisioned = next(each for each in status["conditions"] if each["type"] == "CredentialsProvisioned")
        if provisioned["reason"] != "AwaitingDelivery":
            return
        given = http.get(f"{self._path}/credentials/current")
        if given.status_code == 404:  # told of what was stored since
            return
        document = given.json()
        http.post(f"{self._path}/credentials/{document['version']}/acknowledge").raise_for_status()
        replaced = Replaced(self._client.secret, time.time())
        # The client learns of it at a random moment of the grace of the one it knows.
        over.wait(random.uniform(0, GRACE_S * LATEST))
        self._client.secret = document["clientSecret"]
        time.sleep(max(0.0, replaced.by + GRACE_S + PROPAGATION_S - time.time()))
        old = Workload(self._path, self._client.client_id, replaced.secret)
        self.served_after_grace += [server.public for server in self._pair if is_served(old, server)]
        self.replaced.append(replaced)


def rotate_under_load(administrator: Administrator, pair: list[Started], accounts: int, rounds: int) -> str:
    """`accounts` clients, each with a driver, until every one of them was rotated `rounds` times. The figures."""
    over = threading.Event()
    clients, drivers = [], []
    for number in range(accounts):
        name = f"client-{rounds}-{number}"
        made = administrator.account(name, "rotating", credentialRotation=DAILY)
        clients.append(Client(made.client_id, made.secret))
        drivers.append(Driver(administrator, made.path, clients[-1], pair))
    with ThreadPoolExecutor(2 * accounts) as threads:
        running = [threads.submit(client.ask_until, over, pair) for client in clients]
        running += [threads.submit(driver.follow_until, over) for driver in drivers]
        try:
            eventually(
                lambda: all(len(driver.replaced) >= rounds for driver in drivers),
                lambda: not any(each.done() for each in running),
                lambda: str([each.exception() for each in running if each.done()]),
                patience_s=PATIENCE_S + rounds * (DAY_S + GRACE_S) * 2,
            )
        finally:
            over.set()
        for each in running:
            each.result()
    assert [client.refused for client in clients] == [[]] * accounts
    assert all(client.asked > 20 * rounds for client in clients)
    assert [driver.served_after_grace for driver in drivers] == [[]] * accounts
    for client in clients:
        assert [is_served(Workload("", client.client_id, client.secret), server) for server in pair] == [True, True]
    asked, replaced = sum(client.asked for client in clients), sum(len(driver.replaced) for driver in drivers)
    return f"{replaced} rotations, {asked} requests, none refused; old secrets refused after grace on both replicas"


def is_served(workload: Workload, server: Started) -> bool:
    """Whether it gets tokens; refused as OAuth refuses, once or too often, and nothing else."""
    status = workload.ask(server).status_code
    assert status in {200, 401, 429}
    return status == 200


def test_clients_who_learn_their_new_secret_within_grace_never_see_a_refusal(
    administrator: Administrator, pair: list[Started]
) -> None:
    rotate_under_load(administrator, pair, accounts=4, rounds=1)


@pytest.mark.long
def test_clients_who_learn_their_new_secret_within_grace_never_see_a_refusal_however_often(
    administrator: Administrator, pair: list[Started], record_property: Callable[[str, object], None]
) -> None:
    record_property("figures", rotate_under_load(administrator, pair, accounts=6, rounds=30))


@pytest.mark.parametrize("number", [1, pytest.param(15, marks=pytest.mark.long)])
def test_a_version_that_is_never_delivered_cuts_the_old_one_off_when_hold_and_grace_are_over_and_not_before(
    administrator: Administrator, pair: list[Started], environment: dict[str, str], number: int
) -> None:
    for namespace in (held_by_policy := f"held-{number}", waits := f"waiting-{number}"):
        administrator.namespace(namespace)
    administrator.policy("hold", held_by_policy, credentialRotation={"maxHoldHours": HOLD_H})
    held = [administrator.account(f"api-{each}", held_by_policy, credentialRotation=DAILY) for each in range(number)]
    waiting = administrator.account("api", waits, credentialRotation=DAILY)
    ends = {
        account: eventually(partial(_end_of_hold, environment["ISSUER_DATABASE_URL"], account)) + GRACE_S
        for account in held
    }
    while (asking := time.time()) < max(ends.values()) + PROPAGATION_S:
        for account, end in ends.items():
            served = [is_served(account, server) for server in pair]
            assert served == [True, True] or time.time() > end - CLOCK_STEP_S, asking - end
        time.sleep(0.05)
    assert [is_served(account, server) for account in held for server in pair] == [False, False] * number
    ended = [event for server in pair for event in server.events("SecretHoldEnded")]
    for account in held:
        # The rotation after it may be through its hold, too.
        assert [event["version"] for event in ended if event["client_id"] == account.client_id].count(2) == 1
    assert [is_served(waiting, server) for server in pair] == [True, True]
    versions = administrator.client.get(waiting.path).json()["status"]["credentials"]
    assert [(each["version"], each["state"]) for each in versions] == [(1, "active"), (2, "pending")]


def _end_of_hold(database_url: str, account: Workload) -> float | None:
    """When the second version of the account holds the first no longer, once there is one."""
    uid = account.client_id.removeprefix("sa-")
    statement = "SELECT hold_until FROM secret_versions WHERE version = 2 AND account_uid = $1::uuid"
    rows = asyncio.run(query(database_url, statement, uid))
    return rows[0]["hold_until"].timestamp() if rows else None
