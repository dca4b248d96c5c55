"""Fixtures of the whole suite: a real PostgreSQL, a fresh bootstrapped database for each test, a wired issuer in-process."""

from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import settings

from tests.databases import Databases, postgres_server
from tests.world import World, started_world

# Machines that run tests are busy: how long one example takes says nothing.
settings.register_profile("issuer", deadline=None)
settings.load_profile("issuer")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgres",
        choices=["embedded", "container"],
        default="embedded",
        help="where the tests' PostgreSQL comes from, unless ISSUER_TEST_DATABASE_URL names one",
    )


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """A server for the session, with a bootstrapped template that databases are copied from."""
    with postgres_server(request.config.getoption("--postgres"), tmp_path_factory) as url, Databases(url) as made:
        yield made


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """A migrated and bootstrapped database of the test's own."""
    with databases.copy() as url:
        yield url


@pytest.fixture
def empty_database_url(databases: Databases) -> Iterator[str]:
    """A database of the test's own without any schema."""
    with databases.empty() as url:
        yield url


@pytest.fixture
async def world(databases: Databases, database_url: str) -> AsyncIterator[World]:
    """An issuer in this process on a database of its own, with a clock that stands still until it is moved."""
    async with started_world(database_url, databases.bootstrapped) as started:
        yield started
