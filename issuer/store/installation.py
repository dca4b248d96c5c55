"""The one row that says whether this database was bootstrapped, and with which master key."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.store.tables import installation


async def lock_installation(connection: AsyncConnection) -> bytes | None:
    """The master key's check value, absent before bootstrap. No other write commits until this transaction ends."""
    query = sa.select(installation.c.master_key_check).with_for_update()
    check: bytes | None = (await connection.execute(query)).scalar_one()
    return check


async def read_master_key_check(connection: AsyncConnection) -> bytes | None:
    """The master key's check value, absent before bootstrap."""
    check: bytes | None = (await connection.execute(sa.select(installation.c.master_key_check))).scalar_one()
    return check


async def write_master_key_check(connection: AsyncConnection, blob: bytes) -> None:
    """From here on the database belongs to this master key."""
    await connection.execute(sa.update(installation).values(master_key_check=blob))
