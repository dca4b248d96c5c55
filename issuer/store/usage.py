"""Usage as it is read, and forgotten when its time is over. It is written by `store.folding` alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.store.tables import record_chains, usage_days, usage_positions

TRIM_BATCH = 5_000

_SUMS = (
    sa.func.sum(usage_days.c.issued).cast(sa.BigInteger).label("issued"),
    sa.func.sum(usage_days.c.refused).cast(sa.BigInteger).label("refused"),
    sa.func.min(usage_days.c.first_at).label("first_at"),
    sa.func.max(usage_days.c.last_at).label("last_at"),
)


@dataclass(frozen=True, slots=True)
class Used:
    """How often, and when first and last. `key` empty: the account itself, or all that have no numbers of their own."""

    what: str
    key: str
    audience: str
    issued: int
    refused: int
    first_at: datetime
    last_at: datetime


async def last_uses(connection: AsyncConnection, account_uid: UUID) -> Mapping[str, datetime]:
    """When each credential of an account was last used; under "" the account, however it proved itself."""
    query = (
        sa.select(usage_days.c.what, usage_days.c.key, _SUMS[-1])
        .where(usage_days.c.account_uid == account_uid, usage_days.c.what.in_(("account", "credential")))
        .group_by(usage_days.c.what, usage_days.c.key)
    )
    rows = (await connection.execute(query)).all()
    return {row.key: row.last_at for row in rows if row.key or row.what == "account"}


async def usage_of(connection: AsyncConnection, account_uid: UUID, since: date) -> list[Used]:
    """Sums over the days from `since` on, the latest use first."""
    keys = usage_days.c.what, usage_days.c.key, usage_days.c.audience
    query = (
        sa.select(*keys, *_SUMS)
        .where(usage_days.c.account_uid == account_uid, usage_days.c.day >= since)
        .group_by(*keys)
        .order_by(_SUMS[-1].desc(), *keys)
    )
    return [Used(**row) for row in (await connection.execute(query)).mappings()]


async def used_on(connection: AsyncConnection, account_uid: UUID, since: date) -> list[tuple[date, int, int]]:
    """Each day of use from `since` on: tokens and refusals, the latest first."""
    query = (
        sa.select(usage_days.c.day, usage_days.c.issued, usage_days.c.refused)
        .where(usage_days.c.account_uid == account_uid, usage_days.c.day >= since, usage_days.c.what == "account")
        .order_by(usage_days.c.day.desc())
    )
    return [(row.day, row.issued, row.refused) for row in await connection.execute(query)]


async def trim_usage(connection: AsyncConnection, keep_days: int) -> bool:
    """Forgets a batch of days older than that, by the database's clock. Whether there may be more."""
    # The index on days finds blocks; which rows of them are to go is in the rows.
    oldest = (
        sa.select(sa.literal_column("ctid", sa.Text))
        .select_from(usage_days)
        .where(usage_days.c.day < sa.func.timezone("UTC", sa.func.now()).cast(sa.Date) - keep_days)
        .limit(TRIM_BATCH)
    )
    batch = sa.func.array(oldest.scalar_subquery())
    gone = await connection.execute(sa.delete(usage_days).where(sa.literal_column("ctid") == sa.any_(batch)))
    return gone.rowcount == TRIM_BATCH


async def trim_positions(connection: AsyncConnection) -> None:
    """Forgets how far writers were folded that nothing is known of any more."""
    known = sa.exists().where(record_chains.c.writer == usage_positions.c.writer)
    await connection.execute(sa.delete(usage_positions).where(~known))
