"""Signing keys rotate under load on two replicas: whatever verifiers cache, every token verifies for all of its life.

Time is accelerated by configuration alone. Verifiers are strict: one that meets a key it does not know does not look again
before its cache is over.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy import make_url

from tests.administration.paths import KEYSETS
from tests.blackbox.processes import Started
from tests.blackbox.replicas import Administrator, Workload, replicas
from tests.databases import ISSUER, Databases

MAX_AGE_S, REFRESH_S, SKEW_S, TTL_S = 1, 0.5, 0.5, 10
PAUSE_S = 0.04


@dataclass
class Verifier:
    """A resource server. `hold_s` says how long it keeps the JWKS it fetched last, from any replica."""

    name: str
    hold_s: Callable[[], float]
    fetch: Callable[[], Awaitable[dict[str, Any]]]
    keys: KeySet | None = None
    over: float = 0.0
    checked: int = 0
    failures: list[str] = field(default_factory=list)

    async def check(self, token: str, when: str) -> None:
        """Notes a token that does not verify."""
        if self.keys is None or time.monotonic() >= self.over:
            self.keys = KeySet.import_key_set(await self.fetch())  # type: ignore[arg-type]
            self.over = time.monotonic() + self.hold_s()
        self.checked += 1
        try:
            jwt.decode(token, self.keys, algorithms=["ES256"])
        except (JoseError, ValueError) as error:
            self.failures.append(f"{self.name}, {when}: {error}")


class Load:
    """Tokens all the time from every replica, each checked by every verifier when it is new and when it is about to end."""

    def __init__(self, servers: list[Started], workload: Workload) -> None:
        self.servers, self.workload = servers, workload
        self.client = httpx.AsyncClient(timeout=10)
        self.kids: dict[str, None] = {}
        self.refused: list[str] = []
        self.issued = 0
        self._waiting: deque[tuple[float, str]] = deque()
        self.verifiers = [
            Verifier("caches for all of max-age", lambda: MAX_AGE_S, self._jwks),
            Verifier("behind a cache that does, too", lambda: 2 * MAX_AGE_S, self._jwks),
            Verifier("fetches at random", lambda: random.expovariate(3), self._jwks),
        ]

    async def _jwks(self) -> dict[str, Any]:
        answer = await self.client.get(f"{random.choice(self.servers).public}/.well-known/jwks.json")
        assert answer.headers["cache-control"] == f"public, max-age={MAX_AGE_S}"
        return dict(answer.json())

    @property
    def figures(self) -> str:
        """For who runs the long forms: `--junitxml` has it."""
        failed = sum(len(verifier.failures) for verifier in self.verifiers)
        return (
            f"{len(self.kids) - 1} rotations, {self.issued} tokens, {len(self.refused)} refused, "
            f"{sum(verifier.checked for verifier in self.verifiers)} verifications, {failed} failed"
        )

    async def ask(self, server: Started) -> None:
        """One client of one replica."""
        while True:
            await self.ask_once(server)
            await asyncio.sleep(PAUSE_S)

    async def ask_once(self, server: Started) -> None:
        secret = (self.workload.client_id, self.workload.secret)
        answer = await self.client.post(
            f"{server.public}/oauth2/token", data={"grant_type": "client_credentials"}, auth=secret
        )
        if answer.status_code != 200:
            self.refused.append(answer.text)
            return
        token = answer.json()["access_token"]
        self.issued += 1
        for verifier in self.verifiers:
            await verifier.check(token, "new")
        keys = self.verifiers[0].keys
        if keys is not None and not self.verifiers[0].failures:
            self.kids.setdefault(str(jwt.decode(token, keys, algorithms=["ES256"]).header["kid"]))
        self._waiting.append((time.monotonic() + TTL_S + SKEW_S - 0.5, token))

    async def check_again(self) -> None:
        """Every token once more at the end of its life, by a verifier whose clock is behind."""
        while True:
            while self._waiting and self._waiting[0][0] <= time.monotonic():
                _, token = self._waiting.popleft()
                for verifier in self.verifiers:
                    await verifier.check(token, "old")
            await asyncio.sleep(PAUSE_S)


class Wire:
    """The way from one replica to its database, which can be held: nothing is lost, and nothing arrives."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._open = asyncio.Event()
        self._open.set()
        self._connections: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        async with await asyncio.start_server(self._connect, "127.0.0.1", 0) as server:
            yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def hold_again_and_again(self, held_s: float, pause_s: float) -> None:
        while True:
            await asyncio.sleep(pause_s)
            self._open.clear()
            try:
                await asyncio.sleep(held_s)
            finally:
                self._open.set()  # who ends this in the middle has to end what waits, too

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
        there, back = await asyncio.open_connection(self._host, self._port)
        await asyncio.gather(self._carry(reader, back), self._carry(there, writer), return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        with suppress(OSError):
            writer.close()
            await writer.wait_closed()


def accelerated(environment: dict[str, str], day_s: float, outage_s: float) -> dict[str, str]:
    """The same server in a world where days are seconds."""
    return {
        **environment,
        "ISSUER_SCHEDULE__DAY_S": str(day_s),
        "ISSUER_KEYS__JWKS_MAX_AGE_S": str(MAX_AGE_S),
        "ISSUER_KEYS__VERIFIER_REFRESH_S": str(REFRESH_S),
        "ISSUER_KEYS__SKEW_S": str(SKEW_S),
        "ISSUER_TOKENS__MAX_TTL_S": str(TTL_S),
        "ISSUER_TOKENS__DEFAULT_TTL_S": str(TTL_S),
        "ISSUER_OUTAGE__MAX_S": str(outage_s),
    }


def spooling(folder: Path) -> dict[str, str]:
    """Tokens go on while the database is away."""
    return {"ISSUER_AUDIT__ON_OUTAGE": "spool", "ISSUER_AUDIT__SPOOL_DIR": str(folder)}


@pytest.mark.parametrize(
    ("rotations", "day_s", "outage_s", "held_s"),
    [
        pytest.param(3, 5.0, 2.0, 0.0, id="three"),
        pytest.param(50, 5.0, 2.0, 0.0, id="fifty", marks=pytest.mark.long),
        pytest.param(50, 13.0, 10.0, 7.0, id="fifty-and-one-replica-is-cut-off", marks=pytest.mark.long),
    ],
)
async def test_no_token_fails_to_verify_while_keys_rotate(
    databases: Databases,
    database_url: str,
    tmp_path: Path,
    rotations: int,
    day_s: float,
    outage_s: float,
    held_s: float,
    record_property: Callable[[str, object], None],
) -> None:
    there = make_url(database_url)
    wire = Wire(there.host or "127.0.0.1", there.port or 5432)
    async with wire.listening() as port:
        held_url = there.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
        common = {"ISSUER_URL": ISSUER, "ISSUER_MASTER_KEY": databases.bootstrapped.master_key}
        environments = [
            {**common, "ISSUER_DATABASE_URL": url, **spooling(tmp_path / f"spool-{number}")}
            for number, url in enumerate((database_url, held_url))
        ]
        running = replicas(tmp_path, *(accelerated(each, day_s, outage_s) for each in environments))
        # In threads: what starts and stops processes waits, and the wire has to go on meanwhile.
        servers = await asyncio.to_thread(running.__enter__)
        try:
            load = await _loaded(databases, servers)
            await _until_rotated(load, wire, rotations, held_s, patience_s=rotations * (day_s + 2) + TTL_S + 30)
            record_property("figures", load.figures)
            _judge(load, servers, rotations)
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


async def _loaded(databases: Databases, servers: list[Started]) -> Load:
    def prepare() -> Workload:
        administrator = Administrator(servers[0], databases.bootstrapped.admin)
        administrator.namespace("payments")
        workload = administrator.account("api")
        administrator.change(f"{KEYSETS}/default", rotation={"intervalDays": 1})
        administrator.client.close()
        return workload

    return Load(servers, await asyncio.to_thread(prepare))


async def _until_rotated(load: Load, wire: Wire, rotations: int, held_s: float, *, patience_s: float) -> None:
    for server in load.servers:
        await load.ask_once(server)
    load.refused.clear()  # the second replica may hear of the account at its next poll
    tasks = [asyncio.create_task(load.ask(server)) for server in load.servers]
    tasks.append(asyncio.create_task(load.check_again()))
    if held_s:
        tasks.append(asyncio.create_task(wire.hold_again_and_again(held_s, held_s)))
    try:
        async with asyncio.timeout(patience_s):
            while len(load.kids) <= rotations:
                await asyncio.sleep(0.1)
                for task in tasks:
                    assert not task.done() or task.result()
            await asyncio.sleep(1)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await load.client.aclose()


def _judge(load: Load, servers: list[Started], rotations: int) -> None:
    assert [failure for verifier in load.verifiers for failure in verifier.failures] == []
    assert load.refused == []
    assert all(verifier.checked > load.issued for verifier in load.verifiers)
    activated = [event for server in servers for event in server.events("KeyActivated") if event["keyset"] == "default"]
    assert len({event["kid"] for event in activated}) == len(activated) >= rotations
    for name in ("KeyActivatedEarly", "WorkFailed"):
        assert [event for server in servers for event in server.events(name)] == []
    assert [len(server.events("ScheduleScaled")) for server in servers] == [1, 1]
