"""Decisions as they are searched: the newest first, page by page, never more rows at a time than SCANNED.

Only ids and accounts have an index; everything else is looked for among the rows of a stretch of time. A search that finds
nothing in SCANNED rows says where it stopped, and goes on from there when it is asked to: none takes the time of a whole day.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.model.kinds import SERVICE_ACCOUNT
from issuer.record.decision import ISSUED, DecisionRecord
from issuer.store.tables import decision_records, resources

SCANNED = 50_000


@dataclass(frozen=True, slots=True)
class DecisionFilter:
    """Which decisions are wanted: those with all of `equal`, column by column.

    `scope`: one of those that were granted, or asked for where none was. `audience` likewise. `refused`: whatever the cause.
    """

    refused: bool = False
    scope: str | None = None
    audience: str | None = None
    equal: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """One page. `rest`: what was not looked at yet lies before this id; None: nothing."""

    records: Sequence[DecisionRecord]
    rest: UUID | None


_COLUMNS = [
    # As it was written: chains are computed over that.
    sa.cast(decision_records.c[name], sa.Text).label(name) if name == "policies" else decision_records.c[name]
    for name in DecisionRecord._fields
]


async def find_decisions(
    connection: AsyncConnection, wanted: DecisionFilter, least: UUID, before: UUID | None, limit: int
) -> Found:
    """At most `limit` decisions with ids in [least, before), the newest first."""
    stretch = sa.select(*_COLUMNS).where(decision_records.c.id >= least)
    if before is not None:
        stretch = stretch.where(decision_records.c.id < before)
    account = wanted.equal.get("account_uid")
    if account is not None:
        stretch = stretch.where(decision_records.c.account_uid == account)
    stretch = stretch.order_by(decision_records.c.id.desc()).limit(SCANNED)
    within = stretch.subquery()
    query = _narrowed(sa.select(within), within.c, wanted).order_by(within.c.id.desc()).limit(limit)
    records = [DecisionRecord(**row) for row in (await connection.execute(query)).mappings()]
    if len(records) == limit:
        return Found(records, records[-1].id)
    end = sa.select(stretch.with_only_columns(decision_records.c.id).offset(SCANNED - 1).limit(1).subquery())
    return Found(records, (await connection.execute(end)).scalar_one_or_none())


async def account_uid_of(connection: AsyncConnection, namespace: str, name: str) -> UUID | None:
    """The uid of the account that has the name now."""
    query = sa.select(resources.c.uid).where(
        resources.c.kind == SERVICE_ACCOUNT.kind, resources.c.namespace == namespace, resources.c.name == name
    )
    found: UUID | None = (await connection.execute(query)).scalar_one_or_none()
    return found


def _narrowed(query: Any, columns: Any, wanted: DecisionFilter) -> Any:
    for name, value in wanted.equal.items():
        query = query.where(columns[name] == value)
    if wanted.refused:
        query = query.where(columns.outcome != ISSUED)
    if wanted.scope is not None:
        scopes = sa.func.string_to_array(sa.func.coalesce(columns.scope, columns.requested_scope), " ")
        query = query.where(wanted.scope == sa.any_(scopes))
    if wanted.audience is not None:
        query = query.where(sa.func.coalesce(columns.audience, columns.requested_audience) == wanted.audience)
    return query
