"""Fixtures: a database whose record is written by hand, and folders of it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any

import asyncpg
import pytest

from issuer.settings import DatabaseSettings
from issuer.store.database import Database
from issuer.store.decisions import DecisionWriter
from tests.usage.records import Writer

Writers = Callable[..., Awaitable[Writer]]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url, DatabaseSettings(), application="test")
    yield opened
    await opened.close()


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(database_url, server_settings={"timezone": "UTC"})
    yield opened
    await opened.close()


@pytest.fixture
async def writer(database_url: str) -> AsyncIterator[Writers]:
    """Makes writers, each with a connection of its own."""
    opened: list[DecisionWriter] = []

    async def begin(started_at: datetime | None = None, **parts: Any) -> Writer:
        opened.append(await DecisionWriter.open(database_url, DatabaseSettings()))
        made = Writer(opened[-1], **parts)
        await made.begin(started_at)
        return made

    yield begin
    for each in opened:
        each.close()
