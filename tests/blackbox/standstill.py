"""Replicas whose transactions can be made to stand still from outside, and the replica that stands still: to be killed there.

Each replica is a role of its own in the database, so that the database says who holds and who waits. Where a transaction
stands still is a lock: a row it will ask for, or one that a trigger of the test asks for in its name.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

import asyncpg
import httpx
from joserfc import jwt
from joserfc.jwk import KeySet
from sqlalchemy import make_url

from tests.blackbox.processes import PATIENCE_S, Started
from tests.blackbox.replicas import Workload, replicas
from tests.databases import ISSUER, Databases

ROLES = "issuer_replica"
_numbers = count(1)

KEYSET, KEY, SECRET, REVISION, COMMIT = (
    "asks for the KeySet",
    "has written a key",
    "has written a secret",
    "takes the revision",
    "commits",
)
"""Where a transaction stands still."""
_HOLDS: Mapping[str, str] = {
    KEYSET: "SELECT FROM resources WHERE kind = 'KeySet' AND name = 'default' FOR UPDATE",
    KEY: "SELECT pg_advisory_xact_lock(1)",
    SECRET: "SELECT pg_advisory_xact_lock(2)",
    REVISION: "SELECT FROM installation FOR UPDATE",
    COMMIT: "SELECT pg_advisory_xact_lock(3)",
}
_TRIGGERS = f"""
    CREATE FUNCTION {{function}}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF session_user LIKE '{ROLES}%' THEN
                PERFORM {{what}};
            END IF;
            RETURN NULL;
        END
    $$;
    CREATE TRIGGER key AFTER INSERT OR UPDATE OR DELETE ON signing_keys
        FOR EACH ROW EXECUTE FUNCTION {{function}}('1');
    CREATE TRIGGER secret AFTER INSERT ON secret_versions FOR EACH ROW EXECUTE FUNCTION {{function}}('2');
    CREATE CONSTRAINT TRIGGER commit AFTER INSERT ON audit_records DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION {{function}}('3');
"""
STANDS_STILL = _TRIGGERS.format(function="stand_still", what="pg_advisory_xact_lock_shared(TG_ARGV[0]::bigint)")
DAWDLES = _TRIGGERS.format(function="dawdle", what="pg_sleep(random() * 0.15)")
"""For transactions that are to be caught at any moment of them."""

_WAITS = """
    SELECT pid, usename FROM pg_stat_activity
    WHERE datname = current_database() AND starts_with(usename, $1) AND $2 = ANY(pg_blocking_pids(pid))
    ORDER BY query_start LIMIT 1
"""


@asynccontextmanager
async def two_roles(url: str) -> AsyncIterator[list[str]]:
    """The URLs of the same database for two replicas, which may do there whatever its owner may."""
    roles = [f"{ROLES}_{os.getpid()}_{next(_numbers)}" for _ in range(2)]
    connection = await asyncpg.connect(url)
    try:
        owner = await connection.fetchval("SELECT quote_ident(current_user)")
        for role in roles:
            await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret' IN ROLE {owner}")
        yield [
            make_url(url).set(username=role, password="secret").render_as_string(hide_password=False) for role in roles
        ]
    finally:
        for role in roles:
            await connection.execute(f"DROP ROLE IF EXISTS {role}")
        await connection.close()


@dataclass(frozen=True)
class Pair:
    """Two replicas on one database, each under a role of its own; `settings` start another one under the same role."""

    servers: list[Started]
    roles: Sequence[str]
    settings: Sequence[Mapping[str, str]]


@asynccontextmanager
async def pair_of_replicas(
    folder: Path, databases: Databases, url: str, more: Callable[[dict[str, str]], dict[str, str]] = dict
) -> AsyncIterator[Pair]:
    """Both running and ready. `more` makes their settings of what every server needs."""
    common = {"ISSUER_URL": ISSUER, "ISSUER_MASTER_KEY": databases.bootstrapped.master_key}
    async with two_roles(url) as urls:
        settings = [more({**common, "ISSUER_DATABASE_URL": each}) for each in urls]
        running = replicas(folder, *settings)
        # In threads: what starts and stops processes waits.
        servers = await asyncio.to_thread(running.__enter__)
        try:
            yield Pair(servers, [str(make_url(each).username) for each in urls], settings)
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, and asks who waits for it. `ask` is a connection that holds nothing."""

    pid: int
    ask: "asyncpg.Connection[Any]"
    roles: Sequence[str]

    async def waiting(self) -> tuple[int, int]:
        """The first who stands still: which of the replicas, and the backend that works for it."""
        async with asyncio.timeout(PATIENCE_S):
            while (row := await self.ask.fetchrow(_WAITS, ROLES, self.pid)) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return self.roles.index(row["usename"]), row["pid"]

    async def still_waits(self, backend: int) -> bool:
        """Whether the backend is where it was: the database does not know that nobody waits for its answer any more."""
        return bool(await self.ask.fetchval("SELECT $1 = ANY(pg_blocking_pids($2))", self.pid, backend))


@asynccontextmanager
async def held(url: str, stop: str, roles: Sequence[str]) -> AsyncIterator[Holder]:
    """While it is open, whoever comes to `stop` stands still there."""
    holding, asking = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        async with holding.transaction():
            await holding.execute(_HOLDS[stop])
            yield Holder(holding.get_server_pid(), asking, roles)
    finally:
        await holding.close()
        await asking.close()


@dataclass
class Witness:
    """Workloads and verifiers, all the time: every living replica is asked, and every token verifies with what it publishes."""

    workloads: Sequence[Workload]
    servers: list[Started]
    killed: list[Started] = field(default_factory=list)
    tokens: int = 0
    failures: list[str] = field(default_factory=list)

    def kill(self, server: Started) -> None:
        """SIGKILL for every process of the replica."""
        self.killed.append(server)
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait(PATIENCE_S)

    @contextmanager
    def watching(self, cached: Callable[[], KeySet | None] = lambda: None) -> Iterator["Witness"]:
        """`cached`: what another verifier fetched once, by which every token must verify, too."""
        enough, asked_first = Event(), Event()

        def watch() -> None:
            with httpx.Client(timeout=PATIENCE_S) as client:
                for turn in count():
                    if enough.wait(0.03):
                        return
                    workload = self.workloads[turn % len(self.workloads)]
                    for server in [each for each in self.servers if each not in self.killed]:
                        try:
                            self._look(client, server, workload, cached())
                        except httpx.TransportError as error:
                            if server not in self.killed:
                                self.failures.append(f"{type(error).__name__}")
                    asked_first.set()

        thread = Thread(target=watch)
        thread.start()
        try:
            assert asked_first.wait(PATIENCE_S)
            yield self
        finally:
            enough.set()
            thread.join(PATIENCE_S)

    def _look(self, client: httpx.Client, server: Started, workload: Workload, cached: KeySet | None) -> None:
        answer = client.post(
            f"{server.public}/oauth2/token",
            data={"grant_type": "client_credentials"},
            auth=(workload.client_id, workload.secret),
        )
        if answer.status_code != 200:
            self.failures.append(answer.text)
            return
        self.tokens += 1
        token = answer.json()["access_token"]
        for keys in (jwks(client, server), *([cached] if cached is not None else [])):
            try:
                jwt.decode(token, keys, algorithms=["ES256"])
            except ValueError as error:
                self.failures.append(f"{len(keys.keys)} keys: {error}")


def jwks(client: httpx.Client, server: Started) -> KeySet:
    """What the replica publishes now."""
    return KeySet.import_key_set(client.get(f"{server.public}/.well-known/jwks.json").json())
