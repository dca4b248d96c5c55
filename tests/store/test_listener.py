"""The listener: a head start over the poll that may be lost in any way, and costs nothing but itself."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from issuer.events import Event, ListenerLost
from issuer.settings import DatabaseSettings
from issuer.store import listener
from issuer.store.listener import Listener
from tests.databases import Databases
from tests.store.rows import query
from tests.world import World, started_world

SETTINGS = DatabaseSettings(pool_timeout_s=2, statement_timeout_s=2)
BACKENDS = """SELECT pid FROM pg_stat_activity
              WHERE datname = current_database() AND application_name = 'issuer listener'"""


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(listener, "HEARTBEAT_TIMEOUT_S", 0.3)
    monkeypatch.setattr(listener, "MAX_BACKOFF_S", 0.1)


class Ears:
    """What a listener heard and said."""

    def __init__(self) -> None:
        self.heard = 0
        self.events: list[Event] = []

    def hear(self) -> None:
        self.heard += 1


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is waited for knows no Event
            await asyncio.sleep(0.01)


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Ears]:
    """A listener that runs, and has begun to listen."""
    ears = Ears()
    running = asyncio.create_task(Listener(url, SETTINGS, ears.hear, ears.events.append).run())
    try:
        await until(lambda: ears.heard == 1)
        yield ears
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def say(url: str, text: str = "") -> None:
    await query(url, "SELECT pg_notify('issuer_revision', $1)", text)


async def terminate(url: str) -> None:
    await query(url, BACKENDS.replace("SELECT pid", "SELECT pg_terminate_backend(pid)"))


@pytest.mark.parametrize("text", ["", "17", "not a number", "x" * 7000], ids=lambda text: text[:15] or "nothing")
async def test_whatever_is_said_it_means_look_now(database_url: str, text: str) -> None:
    async with listening(database_url) as ears:
        await say(database_url, text)
        await until(lambda: ears.heard == 2)


async def test_a_write_is_heard_of(world: World) -> None:
    async with listening(world.database_url) as ears:
        await world.namespace("payments")
        await until(lambda: ears.heard == 2)


async def test_its_backend_is_terminated_it_listens_again_and_looks_for_what_it_missed(database_url: str) -> None:
    async with listening(database_url) as ears:
        for times in (1, 2):
            await terminate(database_url)
            await until(lambda times=times: ears.heard == 1 + 2 * times - 1)  # type: ignore[misc]
            await say(database_url)
            await until(lambda times=times: ears.heard == 1 + 2 * times)  # type: ignore[misc]
        assert ears.events == [ListenerLost("the connection was closed")] * 2


async def test_its_backend_hangs_silently_it_is_found_out_and_left(database_url: str) -> None:
    """SIGSTOP: the connection stays, and nobody is behind it."""
    async with listening(database_url) as ears:
        (row,) = await query(database_url, BACKENDS)
        if "postgres" not in _command(row["pid"]):
            pytest.skip("the database runs elsewhere")
        os.kill(row["pid"], signal.SIGSTOP)
        try:
            await until(lambda: ears.heard == 2)
            await say(database_url)
            await until(lambda: ears.heard == 3)
        finally:
            os.kill(row["pid"], signal.SIGCONT)
        assert len(ears.events) == 1


def _command(pid: int) -> str:
    path = Path(f"/proc/{pid}/comm")
    return path.read_text(encoding="utf-8") if path.exists() else ""


async def test_while_nobody_lets_it_in_it_tries_again_and_says_so_once(database_url: str) -> None:
    name = make_url(database_url).database
    server = make_url(database_url).set(database="postgres").render_as_string(hide_password=False)
    async with listening(database_url) as ears:
        await query(server, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await query(server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        await until(lambda: ears.events)
        await asyncio.sleep(0.3)
        await query(server, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await until(lambda: ears.heard == 2)
        assert len(ears.events) == 1


async def test_whatever_the_driver_raises_it_goes_on(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("quotes what was sent")

    async with listening(database_url) as ears:
        monkeypatch.setattr(listener, "connect", broken)
        await terminate(database_url)
        await until(lambda: ears.events)
        monkeypatch.undo()
        await until(lambda: ears.heard == 2)
    assert "quotes" not in repr(ears.events)


@pytest.mark.parametrize("trouble", ["none", "terminated", "hanging", "never began"])
async def test_a_write_on_another_replica_is_in_force_however_the_listener_fares(
    world: World, databases: Databases, trouble: str
) -> None:
    """Without any trouble nothing but the notice can bring it: the poll is an hour away."""
    settings = {"poll_s": 0.05, "statement_timeout_s": 2}
    async with started_world(world.database_url, databases.bootstrapped, world.clock, database=settings) as replica:
        reloader = replica.issuer.reloader
        if trouble == "none":
            reloader._poll_s = 3600
        workers = [reloader.run] + ([replica.issuer.listener.run] if trouble != "never began" else [])
        running = [asyncio.create_task(run()) for run in workers]
        stopped: list[int] = []
        try:
            if trouble != "never began":
                await backends(world.database_url)
            if trouble == "terminated":
                await terminate(world.database_url)
            elif trouble == "hanging":
                for pid in await backends(world.database_url):
                    if "postgres" in _command(pid):
                        os.kill(pid, signal.SIGSTOP)
                        stopped.append(pid)
            before = reloader.position
            await world.namespace("payments")
            assert before is not None
            await until(lambda: reloader.position is not None and reloader.position.revision > before.revision)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def backends(url: str) -> list[int]:
    """Those that serve listeners, once there is one."""
    async with asyncio.timeout(10):
        while not (found := [row["pid"] for row in await query(url, BACKENDS)]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found
