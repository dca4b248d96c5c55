"""The clock that schedules follow: the database's, so that replicas agree on what is due."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

Clock: TypeAlias = Callable[[AsyncConnection], Awaitable[datetime]]
"""The instant of a transaction."""


async def database_clock(connection: AsyncConnection) -> datetime:
    """When the transaction began, by the database."""
    instant: datetime = (await connection.execute(sa.select(sa.func.now()))).scalar_one()
    return instant
