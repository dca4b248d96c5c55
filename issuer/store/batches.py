"""Reads of objects that are bounded in bytes, too: any one may have half a MiB, and most have one or two KiB."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

BATCH_BYTES = 16 * 2**20


async def read_batch(
    connection: AsyncConnection,
    query: sa.Select[Any],
    *,
    order_by: Sequence[sa.Column[Any]],
    documents: Sequence[sa.Column[Any]],
    limit: int,
) -> tuple[Sequence[Row[Any]], bool]:
    """The first rows of the query in the order of columns that it selects, and whether there may be more behind them.

    At most `limit` of them, the last of which may be the first whose `documents` bring all of them to BATCH_BYTES: one at
    least, if the query has any.
    """
    size = sum((sa.func.coalesce(sa.func.octet_length(sa.cast(each, sa.Text)), 0) for each in documents), sa.literal(0))
    read = sa.func.sum(size).over(order_by=order_by, rows=(None, 0)).label("bytes_read")
    sized = query.add_columns(read, size.label("bytes")).order_by(*order_by).limit(limit).subquery()
    # A window's result cannot be asked for in the query that makes it.
    bounded = sa.select(sized).where(sized.c.bytes_read - sized.c.bytes < BATCH_BYTES)
    rows = (await connection.execute(bounded.order_by(*(sized.c[each.name] for each in order_by)))).all()
    return rows, bool(rows) and (len(rows) == limit or rows[-1].bytes_read >= BATCH_BYTES)
