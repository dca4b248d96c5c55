"""Folders that are killed with SIGKILL wherever they happen to be, two at a time, while records go on coming."""

import asyncio
import random
import sys
from typing import Any

from issuer.store.database import Database
from issuer.workers.folding import UsageFolder
from tests.usage.conftest import Writers
from tests.usage.records import API, JOB, decision, expected_rows, usage_rows

FOLDER = """
import asyncio, sys
from issuer.settings import DatabaseSettings
from issuer.store.database import Database
from issuer.workers.folding import UsageFolder

async def main():
    folder = UsageFolder(Database(sys.argv[1], DatabaseSettings(), application="test"), piece=3)
    print("begun", flush=True)
    while True:
        await folder.fold()

asyncio.run(main())
"""


async def folding_process(database_url: str) -> asyncio.subprocess.Process:
    """One that has begun to fold."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FOLDER, database_url, stdout=asyncio.subprocess.PIPE
    )
    assert started.stdout is not None
    assert await started.stdout.readline() == b"begun\n"
    return started


async def test_folders_that_are_killed_anywhere_neither_lose_nor_double(
    database_url: str, database: Database, connection: Any, writer: Writers
) -> None:
    chance = random.Random(1)
    writers = [await writer() for _ in range(2)]
    records = []
    folders = [await folding_process(database_url) for _ in range(2)]
    for turn in range(3):
        for one in writers:
            made = [decision(chance.choice([API, JOB])) for _ in range(40)]
            await one.write(*made)
            records += made
        await asyncio.sleep(chance.uniform(0.01, 0.1))
        folders[turn % 2].kill()
        await folders[turn % 2].wait()
        folders[turn % 2] = await folding_process(database_url)
    for each in folders:
        each.kill()
        await each.wait()
    assert await connection.fetchval("SELECT count(*) FROM usage_days") > 0
    while await connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"):  # noqa: ASYNC110
        await asyncio.sleep(0.01)  # the server has not noticed yet that one of them is gone
    await UsageFolder(database).fold()
    assert await usage_rows(connection) == expected_rows(records)
