"""What a test asks the database itself."""

from dataclasses import dataclass
from typing import Any

import asyncpg


@dataclass(frozen=True)
class Counts:
    """How much there is: whatever was written moves at least one of these."""

    revision: int
    resources: int
    changes: int
    audit_records: int
    secrets: int


async def query(database_url: str, statement: str, *values: Any) -> list[Any]:
    """The rows."""
    connection = await asyncpg.connect(database_url)
    try:
        return list(await connection.fetch(statement, *values))
    finally:
        await connection.close()


async def execute(database_url: str, statements: str) -> None:
    """Several statements, in one transaction."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


async def count_rows(database_url: str) -> Counts:
    """The revision and the rows of every table a write can touch."""
    (row,) = await query(
        database_url,
        """SELECT (SELECT revision FROM installation), (SELECT count(*) FROM resources), (SELECT count(*) FROM changes),
                  (SELECT count(*) FROM audit_records), (SELECT count(*) FROM secret_versions)""",
    )
    return Counts(*row)
