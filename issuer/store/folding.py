"""Usage folded from the record of decisions, exactly once: the numbers and how far they go move in one transaction.

Ids say when something was decided, not when it was committed: writers commit in turns, and what was spooled in an outage comes
hours later. What can be relied upon is a chain (`record.chain`): of one writer the later record has the greater id and the
greater sequence, and becomes visible no earlier. So every writer has a position of its own, and a record is folded when

- it follows the position, without a gap: wherever it was found, nothing of its writer can be missing before it; or
- its sequence was known to be visible before the search began, and the search began at the position: then whatever is
  missing before it does not exist. (A record may be lost for good; what is left of its chain counts.)

`workers.folding` walks through the ids in pieces of bounded size; nothing here depends on clocks or on where a walk begins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.protocol.source import network_of
from issuer.store.partitions import first_id_at

SILENT_S = 600
"""A writer tells its head every 30 s. One that said nothing for so long is taken for gone, and looked at once more, whole."""
WATCHED_S = 86_400
"""Writers are looked at for so long after they were last heard of; longer while they have told of more than is folded."""
MAX_KEYS = 50
"""Credentials, pairs of scope and audience, and sources of an account on one day that have numbers of their own, each; all the
rest is one more, whose key is empty."""
_LOCK = sa.literal(0x1550E75573616765, sa.BigInteger)
"""Any number nobody else uses."""


@dataclass(frozen=True, slots=True)
class Chain:
    """One writer: how far it is folded (`id`, `sequence`), and how far it has told to have come.

    `ended`: it said that it has come to its end; `silent`: it says nothing any more. `complete`: nothing is to be expected.
    """

    writer: UUID
    id: UUID
    sequence: int
    told: int
    told_at: datetime
    ended: bool
    silent: bool
    complete: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """What became of some records in a row. `upto`: where the next ones begin; None: there are no more.

    `held`: writers with records that do not follow their position, and the greatest sequence that was seen.
    """

    upto: UUID | None
    folded: int
    held: Mapping[UUID, int]


# The next piece may be of a day without statistics: a plan made for the last one is none for it. None is worth compiling.
_PLANNED_FOR_THIS_PIECE = sa.text(
    "SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('jit', 'off', true)"
)
_CHAINS = sa.text(
    """
    SELECT c.writer, p.id, coalesce(p.sequence, 0) AS sequence, c.sequence AS told, c.told_at, c.started_at,
           c.ended, c.told_at < now() - make_interval(secs => :silent_s) AS silent,
           coalesce(p.complete, false) AS complete, now() AS now
    FROM record_chains c LEFT JOIN usage_positions p USING (writer)
    WHERE c.told_at > now() - make_interval(secs => :watched_s)
       OR p.writer IS NULL OR NOT p.complete OR c.sequence > p.sequence
    """
)
# One statement, so that all of it is seen at one instant: a later record of a writer never without those before it.
_LOOK = sa.text(
    """
    WITH scanned AS MATERIALIZED (
        SELECT id, writer, sequence, source FROM decision_records WHERE id > :after ORDER BY id LIMIT :most
    ), wanted AS (
        SELECT l.writer, l.known, coalesce(p.sequence, 0) AS folded
        FROM unnest(:writers ::uuid[], :known ::bigint[]) AS l(writer, known)
        LEFT JOIN usage_positions p USING (writer)
    ), fresh AS (
        SELECT s.*, w.folded,
               s.sequence <= w.known OR s.sequence = 1 + lag(s.sequence, 1, w.folded) OVER chain AS follows
        FROM scanned s JOIN wanted w USING (writer) WHERE s.sequence > w.folded
        WINDOW chain AS (PARTITION BY s.writer ORDER BY s.sequence)
    ), judged AS (
        SELECT *, bool_and(follows) OVER (PARTITION BY writer ORDER BY sequence) AS taken FROM fresh
    )
    SELECT s.number, s.upto, j.*
    FROM (SELECT count(*) AS number, (array_agg(id ORDER BY id DESC))[1] AS upto FROM scanned) s
    LEFT JOIN (
        SELECT writer, min(folded) AS low, max(sequence) FILTER (WHERE taken) AS high,
               (array_agg(id ORDER BY sequence DESC) FILTER (WHERE taken))[1] AS id,
               count(*) FILTER (WHERE taken) AS taken,
               max(sequence) FILTER (WHERE NOT taken) AS held,
               array_agg(DISTINCT source) FILTER (WHERE taken) AS sources
        FROM judged GROUP BY writer
    ) j ON true
    """
)
# `known`: has numbers of its own on that day; `number`: the how manieth of those that have not. Every one is looked up by the
# index, and nothing is joined: of how many there are the planner has no idea, and a table of 400 days must not be read.
_FOLD = sa.text(
    """
    WITH folding AS MATERIALIZED (
        SELECT r.account_uid, (r.at AT TIME ZONE 'UTC')::date AS day, r.at, r.outcome = 'issued' AS issued, r.credential,
               n.network, coalesce(r.scope, r.requested_scope) AS scopes,
               coalesce(r.audience, r.requested_audience, '') AS audience
        FROM decision_records r
        JOIN unnest(:writers ::uuid[], :low ::bigint[], :high ::bigint[]) AS t(writer, low, high)
          ON r.writer = t.writer AND r.sequence > t.low AND r.sequence <= t.high
        JOIN unnest(:sources ::text[], :networks ::text[]) AS n(source, network) USING (source)
        WHERE r.id > :after AND r.id <= :upto
    ), uses AS MATERIALIZED (
        SELECT f.account_uid, f.day, u.what, u.key, u.audience, min(f.at) AS first_at, max(f.at) AS last_at,
               count(*) FILTER (WHERE f.issued) AS issued, count(*) FILTER (WHERE NOT f.issued) AS refused
        FROM folding f CROSS JOIN LATERAL (
            VALUES ('account', '', ''), ('credential', f.credential, ''), ('source', f.network, '')
            UNION ALL
            SELECT DISTINCT 'scope', s, f.audience FROM unnest(string_to_array(f.scopes, ' ')) AS s WHERE s <> ''
        ) AS u(what, key, audience)
        GROUP BY 1, 2, 3, 4, 5
    ), placed AS (
        SELECT u.*, row_number() OVER (PARTITION BY account_uid, day, what, known ORDER BY first_at, key, audience) AS number
        FROM (
            SELECT u.*, u.key = '' OR (
                SELECT true FROM usage_days d WHERE (d.account_uid, d.day, d.what, d.key, d.audience)
                                                  = (u.account_uid, u.day, u.what, u.key, u.audience) LIMIT 1
            ) IS NOT NULL AS known
            FROM uses u
        ) u
    ), judged AS (
        SELECT p.*, CASE WHEN known THEN false ELSE number + (
            SELECT count(*) FROM usage_days d
            WHERE (d.account_uid, d.day, d.what) = (p.account_uid, p.day, p.what) AND d.key <> ''
        ) > :most END AS rest
        FROM placed p
    )
    INSERT INTO usage_days AS d (account_uid, day, what, key, audience, issued, refused, first_at, last_at)
    SELECT account_uid, day, what, CASE WHEN rest THEN '' ELSE key END, CASE WHEN rest THEN '' ELSE audience END,
           sum(issued), sum(refused), min(first_at), max(last_at)
    FROM judged GROUP BY 1, 2, 3, 4, 5
    ON CONFLICT (account_uid, day, what, key, audience) DO UPDATE SET
        issued = d.issued + excluded.issued, refused = d.refused + excluded.refused,
        first_at = least(d.first_at, excluded.first_at), last_at = greatest(d.last_at, excluded.last_at)
    """
)
_MOVE = sa.text(
    """
    INSERT INTO usage_positions AS p (writer, id, sequence, complete)
    SELECT writer, id, sequence, complete
    FROM unnest(:writers ::uuid[], :ids ::uuid[], :sequences ::bigint[], :complete ::boolean[])
         AS m(writer, id, sequence, complete)
    ON CONFLICT (writer) DO UPDATE SET
        id = greatest(p.id, excluded.id), sequence = greatest(p.sequence, excluded.sequence),
        complete = excluded.complete AND p.sequence <= excluded.sequence
    """
)


async def load_chains(connection: AsyncConnection) -> tuple[list[Chain], datetime | None]:
    """Every writer of which records may come, and the database's time."""
    rows = (await connection.execute(_CHAINS, {"silent_s": SILENT_S, "watched_s": WATCHED_S})).all()
    chains = [
        Chain(
            row.writer,
            # A replica whose clock is that far behind is not ready, and decides nothing: its records begin later than this.
            row.id or first_id_at(row.started_at - timedelta(hours=1)),
            row.sequence,
            row.told,
            row.told_at,
            row.ended,
            row.silent,
            row.complete,
        )
        for row in rows
    ]
    return chains, rows[0].now if rows else None


async def try_lock_usage(connection: AsyncConnection) -> bool:
    """Whether nobody else folds until the commit."""
    return bool((await connection.execute(sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK)))).scalar_one())


async def fold_piece(connection: AsyncConnection, after: UUID, known: Mapping[UUID, int], most: int) -> Piece:
    """Looks at no more than `most` records behind `after`, and folds those of the writers in `known` that can be.

    `known`: up to which sequence a writer's records are known to be visible, for those that are searched from their
    position; 0 for the others. Wants the lock.
    """
    await connection.execute(_PLANNED_FOR_THIS_PIECE)
    looked = {"after": after, "most": most, "writers": list(known), "known": list(known.values())}
    rows = (await connection.execute(_LOOK, looked)).all()
    upto: UUID | None = rows[0].upto
    taken = [row for row in rows if row.writer is not None and row.high is not None]
    if taken and upto is not None:
        await _fold(connection, after, upto, taken)
    held = {row.writer: row.held for row in rows if row.writer is not None and row.held is not None}
    return Piece(upto if rows[0].number == most else None, sum(row.taken for row in taken), held)


async def finish_chains(connection: AsyncConnection, chains: Sequence[Chain]) -> None:
    """Each writer is folded at least up to the sequence that its chain says, and complete if it says so. Wants the lock."""
    await _move(connection, [(each.writer, each.id, each.sequence, each.complete) for each in chains])


async def _fold(connection: AsyncConnection, after: UUID, upto: UUID, taken: Sequence[Any]) -> None:
    sources = sorted({source for row in taken for source in row.sources})
    await connection.execute(
        _FOLD,
        {
            "after": after,
            "upto": upto,
            "writers": [row.writer for row in taken],
            "low": [row.low for row in taken],
            "high": [row.high for row in taken],
            "sources": sources,
            "networks": [network_of(source) for source in sources],
            "most": MAX_KEYS,
        },
    )
    await _move(connection, [(row.writer, row.id, row.high, False) for row in taken])


async def _move(connection: AsyncConnection, positions: Sequence[tuple[UUID, UUID, int, bool]]) -> None:
    if positions:
        writers, ids, sequences, complete = (list(column) for column in zip(*positions, strict=True))
        moved = {"writers": writers, "ids": ids, "sequences": sequences, "complete": complete}
        await connection.execute(_MOVE, moved)
