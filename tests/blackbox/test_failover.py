"""Another timeline of the database: what only the lost one knew is forgotten everywhere, and watchers are told."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from sqlalchemy import make_url

from issuer.signing.sealing import generate_master_key_line
from tests.administration.paths import ACCOUNT, account
from tests.blackbox.clusters import BaseBackup, Cluster
from tests.blackbox.processes import PATIENCE_S, Started, eventually
from tests.blackbox.replicas import Administrator, frozen, is_ready, replicas
from tests.databases import ISSUER, Bootstrapped, bootstrap, folder_in_memory

PROCESSES = 2
"""Of a replica, each with a memory of its own: for administrators, and for tokens."""
OUTAGE_S = 1
GONE = ("ERROR", 410)

KEPT = {"steady": 600, "made": 0, "enabled": 0, "disabled": 600, "old secret": 600, "new secret": 0}
LOST = {"steady": 60, "made": 60, "enabled": 60, "disabled": 0, "old secret": 0, "new secret": 60}
"""Lifetimes of tokens in seconds, 0 for none at all."""


class History:
    """What is written before a moment that the database goes back to, and what is written after it and lost."""

    def __init__(self, here: Administrator) -> None:
        self._here = here
        here.namespace("payments")
        self._steady = here.account("steady")
        self._enabled = here.account("enabled", disabled=True)
        self._disabled = here.account("disabled")
        self._old = here.account("rotated")

    def go_on(self) -> None:
        """Everything that is lost."""
        self._made = self._here.account("made")
        self._here.change(self._enabled.path, disabled=False)
        self._here.change(self._disabled.path, disabled=True)
        self._new = self._here.rotated(self._old.path, compromised=True)
        self._here.policy("shorter", tokenSettings={"maxAccessTokenTTL": "1m"})

    def as_served_by(self, server: Started) -> dict[str, int]:
        """KEPT, LOST, or a mixture; what is answered with "not now" is left out."""
        asked = {
            "steady": self._steady,
            "made": self._made,
            "enabled": self._enabled,
            "disabled": self._disabled,
            "old secret": self._old,
            "new secret": self._new,
        }
        found = {name: workload.lifetime(server) for name, workload in asked.items()}
        return {name: lifetime for name, lifetime in found.items() if lifetime is not None}

    def is_lost_by(self, server: Started) -> bool:
        """Whether all that will be lost is in force."""
        return self.as_served_by(server) == LOST

    def is_kept_by(self, server: Started) -> bool:
        """Whether all is as before again. Nothing may be as on the lost timeline, not even once."""
        seen = self.as_served_by(server)
        assert seen.items() <= KEPT.items(), seen
        return seen == KEPT


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where clusters may lie."""
    with folder_in_memory(tmp_path_factory) as found:
        yield found


@pytest.fixture
def primary(folder: Path) -> Iterator[Cluster]:
    """A running cluster of the test's own, bootstrapped."""
    with closing(Cluster(folder / "primary")) as cluster:
        cluster.start()
        yield cluster


@pytest.fixture
def bootstrapped(primary: Cluster) -> Bootstrapped:
    return asyncio.run(bootstrap(primary.url, generate_master_key_line("test")))


@pytest.fixture
def standby(folder: Path, primary: Cluster, bootstrapped: Bootstrapped) -> Iterator[BaseBackup]:
    """A streaming replica of the primary."""
    del bootstrapped  # comes first, so that it is in the backup
    with closing(BaseBackup(folder / "standby", primary, standby=True)) as cluster:
        cluster.start()
        yield cluster


class Watch:
    """A watch of the accounts from now on, until it ends."""

    def __init__(self, administrator: Administrator) -> None:
        revision = administrator.write("GET", ACCOUNT)["metadata"]["resourceVersion"]
        self._parameters = {"watch": "true", "resourceVersion": revision}
        self._client = administrator.client
        self._told: list[dict[str, Any]] = []
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        # A server that goes away ends it too: what was told last will not be what it has to be.
        with suppress(httpx.TransportError), self._client.stream("GET", ACCOUNT, params=self._parameters) as answer:
            for line in answer.iter_lines():
                self._told.append(json.loads(line))

    def knows(self, name: str) -> bool:
        """Whether it was told of this account."""
        return name in {event["object"]["metadata"].get("name") for event in self._told}

    def ended_with(self) -> tuple[str, int | None]:
        """The last thing it was told: type, and code of a Status."""
        self._reader.join(PATIENCE_S)
        assert not self._reader.is_alive()
        return self._told[-1]["type"], self._told[-1]["object"].get("code")


def has_noticed(server: Started) -> bool:
    """Whether every process of the replica knows that the database is another one."""
    return len(server.events("WorldReplaced")) >= PROCESSES


def cut_off(standby: Cluster) -> None:
    """The standby gets nothing any more: what the primary commits from now on is lost with it."""
    standby.ask("ALTER SYSTEM SET primary_conninfo = ''")
    standby.ask("SELECT pg_reload_conf()")
    eventually(lambda: not standby.ask("SELECT FROM pg_stat_wal_receiver"))


def came_further(cluster: Cluster, than: int, administrator: Administrator, name: str) -> bool:
    """Whether one more write, or an attempt at one, brought the cluster beyond the revision."""
    answer = administrator.client.post(ACCOUNT, json=account(name))
    assert answer.status_code in {201, 503}, answer.text
    return revision_of(cluster) > than


def revision_of(cluster: Cluster) -> int:
    ((revision,),) = cluster.ask("SELECT revision FROM installation")
    return int(revision)


@dataclass
class Site:
    """Two replicas, who administers and watches at each, and a history that both serve. `here` sees what happens to the
    database; `there` is paused meanwhile."""

    servers: list[Started]
    administrators: list[Administrator]
    history: History
    watches: list[Watch]

    def live_through_what_is_lost(self) -> None:
        """It is written, in force on every replica, and every watcher knows of it."""
        self.history.go_on()
        for server in self.servers:
            server.wait_for(partial(self.history.is_lost_by, server))
        for watch in self.watches:
            eventually(partial(watch.knows, "made"))

    def forget_what_is_lost(
        self, lost: Cluster, found: Cluster, *, end: Callable[[], object], begin: Callable[[], object]
    ) -> None:
        """One cluster ends, another begins. It has come further than the lost one when the paused replica wakes."""
        here, there = self.servers
        revision = revision_of(lost)
        with frozen(there):
            end()
            here.wait_for(lambda: not is_ready(here))
            begin()
            here.wait_for(partial(has_noticed, here))
            here.wait_for(partial(self.history.is_kept_by, here))
            here.wait_for(partial(is_ready, here))
            names = (f"later-{number}" for number in count())
            eventually(lambda: came_further(found, revision, self.administrators[0], next(names)))
        there.wait_for(partial(has_noticed, there))
        there.wait_for(partial(self.history.is_kept_by, there))
        assert is_ready(there)
        assert [watch.ended_with() for watch in self.watches] == [GONE, GONE]


@contextmanager
def issuing(folder: Path, bootstrapped: Bootstrapped, hosts: Sequence[Cluster]) -> Iterator[Site]:
    """A site that knows these hosts of the database; `here` can do without it for OUTAGE_S only."""
    first = make_url(hosts[0].url)
    addresses = ",".join(f"{url.host}:{url.port}" for url in (make_url(host.url) for host in hosts))
    environment = {
        "ISSUER_URL": ISSUER,
        "ISSUER_DATABASE_URL": f"postgresql://{first.username}:{first.password}@{addresses}/{first.database}",
        "ISSUER_MASTER_KEY": bootstrapped.master_key,
        # Every connection to a host that hangs costs its next user as much.
        "ISSUER_DATABASE__STATEMENT_TIMEOUT_S": "1",
        "ISSUER_DATABASE__POOL_TIMEOUT_S": "1",
        "ISSUER_DATABASE__POOL_SIZE": "2",
    }
    brief = {**environment, "ISSUER_OUTAGE__MAX_S": str(OUTAGE_S)}
    with ExitStack() as stack:
        servers = stack.enter_context(replicas(folder, brief, environment))
        administrators = [stack.enter_context(closing(Administrator(each, bootstrapped.admin))) for each in servers]
        yield Site(servers, administrators, History(administrators[0]), list(map(Watch, administrators)))


@pytest.mark.parametrize("end", [Cluster.crash, pytest.param(Cluster.freeze, marks=pytest.mark.long)])
def test_after_a_failover_nothing_of_the_lost_timeline_is_served_and_watches_end(
    tmp_path: Path, primary: Cluster, standby: BaseBackup, bootstrapped: Bootstrapped, end: Callable[[Cluster], None]
) -> None:
    """The host that hangs stands first in the URL: one that swallows connections must not keep anybody from the next."""
    hosts = (primary, standby) if end is Cluster.freeze else (standby, primary)
    with issuing(tmp_path, bootstrapped, hosts) as site:
        # With so much to write the new primary's first checkpoint, and what only that one tells, is minutes away.
        primary.ask("CREATE TABLE ballast AS SELECT repeat('x', 1000) FROM generate_series(1, 10000)")
        eventually(lambda: standby.ask("SELECT FROM pg_class WHERE relname = 'ballast'"))
        cut_off(standby)
        site.live_through_what_is_lost()
        site.forget_what_is_lost(
            primary, standby, end=partial(end, primary), begin=lambda: standby.ask("SELECT pg_promote()")
        )


def test_after_a_restore_nothing_written_since_the_backup_is_served_and_watches_end(
    folder: Path, tmp_path: Path, primary: Cluster, bootstrapped: Bootstrapped
) -> None:
    """At the same address, of the same identity: a revision that fell says so, or other writes under known revisions."""
    with issuing(tmp_path, bootstrapped, [primary]) as site, closing(BaseBackup(folder / "backup", primary)) as backup:
        site.live_through_what_is_lost()
        site.forget_what_is_lost(primary, backup, end=primary.crash, begin=partial(backup.start_at, primary))
