"""Usage is kept for as long as it is said, and not a day longer than it takes to notice."""

from datetime import timedelta
from typing import Any

import pytest

from issuer.store import usage
from issuer.store.database import Database
from issuer.workers.folding import UsageFolder
from issuer.workers.housekeeping import forget_usage
from tests.usage.conftest import Writers
from tests.usage.records import decision


async def test_days_older_than_that_are_forgotten_in_batches_and_no_others(
    database: Database, connection: Any, writer: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "TRIM_BATCH", 3)
    now = await connection.fetchval("SELECT now()")
    one = await writer()
    await one.write(*(decision(at=now - timedelta(days=days)) for days in (0, 399, 400, 401, 402, 500)))
    await UsageFolder(database).fold()
    await forget_usage(database, 400)
    days = {row[0] for row in await connection.fetch("SELECT DISTINCT day FROM usage_days")}
    assert days == {(now - timedelta(days=days)).date() for days in (0, 399, 400)}
    assert await connection.fetchval("SELECT count(*) FROM usage_positions") == 1


async def test_positions_of_writers_that_nobody_knows_any_more_are_forgotten(
    database: Database, connection: Any, writer: Writers
) -> None:
    one, other = await writer(), await writer()
    for each in (one, other):
        await each.write(decision())
    await UsageFolder(database).fold()
    await connection.execute("DELETE FROM record_chains WHERE writer = $1", one.id)
    await forget_usage(database, 400)
    assert [row[0] for row in await connection.fetch("SELECT writer FROM usage_positions")] == [other.id]


async def test_refusals_of_strangers_are_kept_for_a_month(database: Database, connection: Any) -> None:
    await connection.execute(
        """
        INSERT INTO refusal_counts
        SELECT now() - make_interval(days => age), gen_random_uuid(), 'secret_wrong', 'unknown', '192.0.2.1', 1
        FROM unnest(ARRAY[0, 29, 31, 90]) AS age
        """
    )
    await forget_usage(database, 400)
    assert await connection.fetchval("SELECT count(*) FROM refusal_counts") == 2
