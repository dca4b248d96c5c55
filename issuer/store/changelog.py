"""The change log: what was written, revision by revision, kept for a day. Watches and lists at a revision live on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.model.filters import Filter
from issuer.store.batches import read_batch
from issuer.store.tables import changes, installation

TRIM_BATCH = 1000


class RevisionGone(Exception):
    """What was written after this revision is not known any more, or the revision was never reached here."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One write: the API object before and after it, both without `resourceVersion`. No before: new; no after: removed."""

    revision: int
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None

    @property
    def subject(self) -> Mapping[str, Any]:
        """The object the write is about, as it is after it if it still is."""
        subject = self.after or self.before
        if subject is None:
            raise ValueError("a write of nothing")
        return subject


async def require_kept(connection: AsyncConnection, revision: int) -> int:
    """The newest revision, if everything after `revision` is still in the log. Raises RevisionGone."""
    row = (await connection.execute(sa.select(installation.c.revision, installation.c.trimmed_to))).one()
    if not row.trimmed_to <= revision <= row.revision:
        raise RevisionGone
    return int(row.revision)


async def read_log(
    connection: AsyncConnection, after: int, upto: int, limit: int, wanted: Filter | None = None
) -> tuple[list[Logged], int]:
    """A batch of the writes of the revisions in (after, upto], in order, and the revision it is complete to.

    At most `limit` of them, and of `wanted` only those that may concern it. Raises RevisionGone. Wants a repeatable-read
    transaction.
    """
    await require_kept(connection, after)
    query = sa.select(changes.c.revision, changes.c.before, changes.c.after).where(
        changes.c.revision > after, changes.c.revision <= upto
    )
    if wanted is not None:
        query = query.where(changes.c.kind == wanted.kind.kind)
        if wanted.namespace is not None:
            query = query.where(changes.c.namespace == wanted.namespace)
        if wanted.name is not None:
            query = query.where(changes.c.name == wanted.name)
    documents = changes.c.before, changes.c.after
    rows, more = await read_batch(connection, query, order_by=[changes.c.revision], documents=documents, limit=limit)
    return [Logged(row.revision, row.before, row.after) for row in rows], rows[-1].revision if more else upto


_TRIM = sa.text(
    """
    WITH oldest AS (
        SELECT revision, at FROM changes ORDER BY revision LIMIT :batch
    ), gone AS (
        DELETE FROM changes c USING oldest o
        WHERE c.revision = o.revision AND o.at < now() - make_interval(secs => :keep_s)
        RETURNING c.revision
    ), last AS (
        SELECT max(revision) AS revision, count(*) AS number FROM gone
    ), noted AS (
        UPDATE installation SET trimmed_to = last.revision FROM last WHERE last.number > 0
    )
    SELECT number FROM last
    """
)


async def trim_log(connection: AsyncConnection, keep_s: float) -> bool:
    """Forgets a batch of writes older than `keep_s`, by the database's clock. Whether there may be more."""
    number: int = (await connection.execute(_TRIM, {"batch": TRIM_BATCH, "keep_s": keep_s})).scalar_one()
    return number == TRIM_BATCH
