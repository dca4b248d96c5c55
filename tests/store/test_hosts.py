"""Several hosts in one URL: the primary among them is found, whatever the others do."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from issuer.settings import DatabaseSettings
from issuer.store import database
from issuer.store.database import HEAD_START_S, DatabaseUnavailable, ReadOnlyStandby, connect, database_errors

SETTINGS = DatabaseSettings(pool_timeout_s=3)


@asynccontextmanager
async def silence() -> AsyncIterator[str]:
    """An address that accepts connections and says nothing, as a host does whose machine hangs."""
    held: list[asyncio.StreamWriter] = []

    def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        server.close()
        for writer in held:
            writer.transport.abort()
        await server.wait_closed()


NOBODY = "127.0.0.1:9"


def with_hosts(url: str, *hosts: str) -> str:
    """The URL with these hosts around its own, `HERE`."""
    parts = make_url(url)
    here = f"{parts.host}:{parts.port}"
    listed = ",".join(here if host == "HERE" else host for host in hosts)
    return f"postgresql://{parts.username}:{parts.password}@{listed}/{parts.database}?application_name=x"


async def seconds_to_connect(url: str) -> float:
    begun = time.monotonic()
    with database_errors():
        connection = await connect(url, SETTINGS, "issuer test")
    passed = time.monotonic() - begun
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()
    return passed


@pytest.mark.parametrize("hosts", [("HERE",), ("HERE", NOBODY), (NOBODY, "HERE"), (NOBODY, NOBODY, "HERE")])
async def test_one_that_refuses_costs_nothing(database_url: str, hosts: tuple[str, ...]) -> None:
    assert await seconds_to_connect(with_hosts(database_url, *hosts)) < SETTINGS.pool_timeout_s


async def test_one_that_swallows_connections_costs_its_head_start(database_url: str) -> None:
    async with silence() as silent:
        passed = await seconds_to_connect(with_hosts(database_url, silent, silent, "HERE"))
        assert 2 * HEAD_START_S <= passed < SETTINGS.pool_timeout_s
        assert await seconds_to_connect(with_hosts(database_url, "HERE", silent)) < SETTINGS.pool_timeout_s


async def test_nobody_there_is_unavailability(database_url: str) -> None:
    with pytest.raises(DatabaseUnavailable):
        await seconds_to_connect(with_hosts(database_url, NOBODY, NOBODY))


REASONS: dict[str, tuple[Callable[[str], bool], type[Exception], str]] = {
    "standbys only": (lambda _: True, ReadOnlyStandby, "read-only standby"),
    "a standby, and a primary that is away": (lambda url: NOBODY not in url, DatabaseUnavailable, "ConnectionRefused"),
}


@pytest.mark.parametrize(("is_standby", "error", "words"), REASONS.values(), ids=REASONS.keys())
async def test_that_one_host_is_a_standby_is_no_reason_unless_all_are(
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    is_standby: Callable[[str], bool],
    error: type[Exception],
    words: str,
) -> None:
    real = asyncpg.connect

    async def sorted_out(url: str, **options: Any) -> Any:
        if is_standby(url):
            raise asyncpg.TargetServerAttributeNotMatched("read-write")
        return await real(url, **options)

    monkeypatch.setattr(asyncpg, "connect", sorted_out)
    with pytest.raises(error, match=words):
        await seconds_to_connect(with_hosts(database_url, "HERE", NOBODY))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@h/d",
        "postgresql://u:p,q@h:1/d",
        "postgresql:///d?host=/run/postgresql",
        "postgresql://u:p@[::1]:5432/d?host=a,b",
        "postgresql://[broken/d",
    ],
)
def test_a_url_of_one_host_reaches_the_driver_as_it_is(url: str) -> None:
    assert database._url_of_each_host(url) == [url]


def test_each_host_keeps_everything_else_of_the_url() -> None:
    assert database._url_of_each_host("postgres://u:p%2C@h,[::1]:5433,k:1/d?sslmode=require") == [
        "postgres://u:p%2C@h/d?sslmode=require",
        "postgres://u:p%2C@[::1]:5433/d?sslmode=require",
        "postgres://u:p%2C@k:1/d?sslmode=require",
    ]
