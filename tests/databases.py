"""PostgreSQL for tests: one server a session, one database a test, copied from a bootstrapped template."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import asyncpg
import pytest
from sqlalchemy import make_url

from issuer.administration.authorize import Principal
from issuer.administration.secrets import HandedOut
from issuer.embedded import EmbeddedPostgres
from issuer.settings import load_settings
from issuer.signing.sealing import generate_master_key_line
from issuer.store.schema import migrate
from issuer.wiring import first_start, lay_foundation
from tests.canary.shapes import assert_no_secret

ISSUER = "http://127.0.0.1:8080"
_MEMORY = "/dev/shm"  # noqa: S108 - a fresh folder of our own in it
LOCAL = Principal("local", "local:test")


@contextmanager
def folder_in_memory(folders: pytest.TempPathFactory) -> Iterator[Path]:
    """In memory where there is such a place: a database for each test is mostly copying files."""
    place = _MEMORY if os.access(_MEMORY, os.W_OK) else folders.getbasetemp()
    with TemporaryDirectory(prefix="issuer-test-", dir=place) as folder:
        yield Path(folder)


@contextmanager
def postgres_server(choice: str, folders: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server where databases can be created."""
    given = os.environ.get("ISSUER_TEST_DATABASE_URL")
    if given:
        yield given
    elif choice == "container":
        from testcontainers.postgres import PostgresContainer  # noqa: PLC0415 - wants a Docker engine

        with PostgresContainer("postgres:18", driver=None) as container:
            yield container.get_connection_url()
    else:
        with folder_in_memory(folders) as folder:
            server = EmbeddedPostgres(folder / "postgres", durable=False)
            try:
                yield server.start()
            finally:
                server.stop()


@dataclass(frozen=True)
class Bootstrapped:
    """What the template was bootstrapped with."""

    master_key: str
    admin: HandedOut


class Databases:
    """Makes databases on one server. A copy of the template takes some 30 ms."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._numbers = count(1)
        self._template = f"issuer_template_{os.getpid()}"
        # Of its own, and not the running test's: fixtures are set up while that is not running.
        self._loop = asyncio.Runner()
        self._server: asyncpg.Connection
        self.bootstrapped: Bootstrapped

    def __enter__(self) -> Self:
        self._server = self._loop.run(asyncpg.connect(self._server_url))
        self._execute(f'CREATE DATABASE "{self._template}"')
        self.bootstrapped = self._loop.run(bootstrap(self._url(self._template), generate_master_key_line("test")))
        return self

    def __exit__(self, *_: object) -> None:
        self._drop(self._template)
        self._loop.run(self._server.close())
        self._loop.close()

    @contextmanager
    def copy(self) -> Iterator[str]:
        """The URL of a bootstrapped database, gone afterwards."""
        yield from self._made(f'TEMPLATE "{self._template}" STRATEGY FILE_COPY')

    @contextmanager
    def empty(self) -> Iterator[str]:
        """The URL of a database without a schema, gone afterwards."""
        yield from self._made("")

    def _made(self, how: str) -> Iterator[str]:
        name = f"issuer_test_{os.getpid()}_{next(self._numbers)}"
        self._execute(f'CREATE DATABASE "{name}" {how}')
        try:
            yield self._url(name)
            with suppress(asyncpg.ObjectNotInPrerequisiteStateError):  # a test has closed it
                self._loop.run(_assert_no_secret_in(self._url(name)))
        finally:
            self._drop(name)

    def _drop(self, name: str) -> None:
        self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _url(self, name: str) -> str:
        return make_url(self._server_url).set(database=name).render_as_string(hide_password=False)

    def _execute(self, statement: str) -> None:
        self._loop.run(self._server.execute(statement))


_TABLES = """
    SELECT quote_ident(c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> 'checkpoints'
"""
"""All but the checkpoints, which are signed and for everybody."""


async def _assert_no_secret_in(url: str) -> None:
    """Whatever a test did, a thief of its database has nothing."""
    connection = await asyncpg.connect(url)
    try:
        tables = [row[0] for row in await connection.fetch(_TABLES)]
        if tables:
            rows = await connection.fetch(" UNION ALL ".join(f"SELECT t::text FROM {each} t" for each in tables))  # noqa: S608
            assert_no_secret("\n".join(row[0] for row in rows).replace('""', '"'), "the database")
    finally:
        await connection.close()


async def bootstrap(url: str, master_key: str) -> Bootstrapped:
    """Migrates and bootstraps an empty database."""
    settings = load_settings(url=ISSUER, database_url=url, master_key=master_key)
    foundation = lay_foundation(settings, lambda _: None)
    database = foundation.database("test")
    try:
        await migrate(database.engine)
        admin = await first_start(foundation, database, LOCAL).bootstrap()
    finally:
        await database.close()
    if admin is None:
        raise RuntimeError("the template was bootstrapped before")
    return Bootstrapped(master_key, admin)
