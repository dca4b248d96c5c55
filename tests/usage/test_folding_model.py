"""Folding against a model: whatever writers, outages, spools, clocks and crashes do, the sums are those of the record."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from issuer.record.decision import DecisionRecord
from issuer.settings import DatabaseSettings
from issuer.store.database import Database
from issuer.store.decisions import DecisionWriter
from issuer.workers.folding import UsageFolder
from tests.usage.records import API, JOB, NOON, Batch, Writer, decision, expected_rows, usage_rows

WRITERS = 2
LATE_S = 20_000
whose = st.integers(0, WRITERS - 1)
decisions = st.lists(
    st.builds(
        lambda account, outcome, source, at_s: decision(
            account, NOON + timedelta(seconds=at_s), outcome=outcome, source=source
        ),
        st.sampled_from([API, JOB]),
        st.sampled_from(["issued", "issued", "policy_denied"]),
        st.sampled_from(["192.0.2.1", "192.0.2.2"]),
        st.integers(-90_000, 90_000),
    ),
    min_size=1,
    max_size=4,
)
stories = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["write", "write", "spool", "lose"]), whose, decisions),
        st.tuples(st.sampled_from(["replay", "tell", "fold", "fold_at_once", "restart"]), whose, st.none()),
        st.tuples(st.just("wait"), whose, st.sampled_from([1, 600, LATE_S])),
    ),
    max_size=25,
)


@dataclass
class Story:
    """Writers, their spools, and folders; `committed`: the records that are visible."""

    connection: Any
    database: Database
    piece: int
    writers: list[Writer] = field(default_factory=list)
    spools: list[list[Batch]] = field(default_factory=lambda: [[] for _ in range(WRITERS)])
    folders: list[UsageFolder] = field(default_factory=list)
    committed: list[DecisionRecord] = field(default_factory=list)

    async def begin(self, database_url: str) -> None:
        await self.connection.execute(
            "TRUNCATE record_chains, decision_records, usage_days, usage_positions; DELETE FROM audit_keys"
        )
        now = await self.connection.fetchval("SELECT now()")
        for _ in range(WRITERS):
            # Until somebody waits, all that it writes is late: its ids are of hours ago, and it was heard of just now.
            behind = now - timedelta(seconds=LATE_S)
            one = Writer(await DecisionWriter.open(database_url, DatabaseSettings()), at=behind)
            self.writers.append(one)
            await one.begin(behind)
            await one.heard_of(now)
        self.folders = [UsageFolder(self.database, self.piece) for _ in range(2)]

    async def write(self, index: int, records: list[DecisionRecord]) -> None:
        if self.spools[index]:
            return await self.spool(index, records)
        await self.writers[index].write(*records)
        self.committed += records
        return None

    async def spool(self, index: int, records: list[DecisionRecord]) -> None:
        """From then on all of the writer's go there, until they are replayed."""
        self.spools[index].append(self.writers[index].batch(*records))

    async def lose(self, index: int, records: list[DecisionRecord]) -> None:
        """They have their places in the chain, and nobody will ever see them."""
        if not self.spools[index]:
            self.writers[index].batch(*records)

    async def replay(self, index: int, _: None = None) -> None:
        for batch in self.spools[index]:
            await self.writers[index].connection.replay(batch.rows)
            self.committed += [row.record for row in batch.rows]
        self.spools[index].clear()

    async def tell(self, index: int, _: None = None) -> None:
        if not self.spools[index]:
            await self.writers[index].tell()

    async def wait(self, index: int, seconds: int) -> None:
        self.writers[index].at += timedelta(seconds=seconds)

    async def fold(self, index: int, _: None = None) -> None:
        await self.folders[index % 2].fold()

    async def fold_at_once(self, _: int, __: None = None) -> None:
        await asyncio.gather(*(folder.fold() for folder in self.folders))

    async def restart(self, index: int, _: None = None) -> None:
        self.folders[index % 2] = UsageFolder(self.database, self.piece)


async def tell_it(database_url: str, steps: list[tuple[str, int, Any]], piece: int) -> None:
    database = Database(database_url, DatabaseSettings(), application="test")
    connection = await asyncpg.connect(database_url, server_settings={"timezone": "UTC"})
    story = Story(connection, database, piece)
    try:
        await story.begin(database_url)
        for step, index, what in steps:
            await getattr(story, step)(index, what)
        for index in range(WRITERS):
            await story.replay(index)
            await story.tell(index)
        await story.fold(0)
        assert await usage_rows(connection) == expected_rows(story.committed)
        assert await story.folders[1].fold() == 0
    finally:
        for one in story.writers:
            one.connection.close()
        await connection.close()
        await database.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(
    # The first becomes visible late and is told of by nobody, the second is found at once: it must wait for the first.
    steps=[("write", 0, [decision()]), ("wait", 0, LATE_S), ("write", 0, [decision()]), ("fold", 0, None)],
    piece=1000,
)
@example(
    # The second of three is lost.
    steps=[(step, 0, [decision()]) for step in ("write", "lose", "write")] + [("fold", 0, None)],
    piece=2,
)
@given(steps=stories, piece=st.sampled_from([2, 5, 1000]))
def test_the_sums_are_those_of_the_record(database_url: str, steps: list[tuple[str, int, Any]], piece: int) -> None:
    asyncio.run(tell_it(database_url, steps, piece))
