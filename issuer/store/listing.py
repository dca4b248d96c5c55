"""Pages of a LIST, every one as of the revision the first was read at.

A page is what is stored now with everything written since taken back: the change log keeps each object as it was before.
Wants a repeatable-read transaction, so that the objects and the log are of one instant.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.model.filters import Filter
from issuer.model.selectors import Requirement
from issuer.store.changelog import require_kept
from issuer.store.resources import current_revision, resource_of
from issuer.store.tables import changes, resources


@dataclass(frozen=True, slots=True)
class Page:
    """API objects by namespace and name. `after`: behind what the next page begins, None at the end."""

    items: list[dict[str, Any]]
    revision: int
    after: tuple[str, str] | None


async def read_page(
    connection: AsyncConnection,
    wanted: Filter,
    *,
    limit: int,
    at: int | None = None,
    after: tuple[str, str] | None = None,
) -> Page:
    """At most `limit` objects as they were at revision `at` (None: now), those behind `after`. Raises RevisionGone."""
    revision = await current_revision(connection)
    if at is not None:
        await require_kept(connection, at)
    stored = sa.select(resources).where(*_reach(wanted, resources.c, resources.c.labels, after))
    taken_back: list[dict[str, Any]] = []
    if at is not None and at < revision:
        since = sa.and_(changes.c.revision > at, changes.c.kind == wanted.kind.kind)
        stored = stored.where(~sa.exists().where(since, changes.c.uid == resources.c.uid))
        taken_back = await _taken_back(connection, wanted, since, after, limit + 1)
    ordered = stored.order_by(resources.c.namespace, resources.c.name).limit(limit + 1)
    found = [resource_of(row).to_json() for row in await connection.execute(ordered)]
    if taken_back:
        found = sorted([*found, *taken_back], key=_place)
    items = found[:limit]
    return Page(items, revision if at is None else at, _place(items[-1]) if len(found) > limit else None)


async def _taken_back(
    connection: AsyncConnection,
    wanted: Filter,
    since: sa.ColumnElement[bool],
    after: tuple[str, str] | None,
    limit: int,
) -> list[dict[str, Any]]:
    """What was changed `since`, as it was before its first change."""
    firsts = sa.select(sa.func.min(changes.c.revision)).where(since).group_by(changes.c.uid)
    labels = changes.c.before.op("#>")(sa.text("'{metadata,labels}'")).cast(JSONB)
    query = (
        sa.select(changes.c.before, changes.c.previous_revision)
        .where(
            changes.c.revision.in_(firsts),
            changes.c.before.is_not(None),
            *_reach(wanted, changes.c, sa.func.coalesce(labels, sa.text("'{}'::jsonb")), after),
        )
        .order_by(changes.c.namespace, changes.c.name)
        .limit(limit)
    )
    return [with_version(row.before, row.previous_revision) for row in await connection.execute(query)]


def with_version(document: Mapping[str, Any], revision: int) -> dict[str, Any]:
    """An object of the change log as the API shows it."""
    return {**document, "metadata": {**document["metadata"], "resourceVersion": str(revision)}}


def _place(document: Mapping[str, Any]) -> tuple[str, str]:
    metadata = document["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _reach(
    wanted: Filter, columns: Any, labels: sa.ColumnElement[Any], after: tuple[str, str] | None
) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = [columns.kind == wanted.kind.kind]
    if wanted.nothing:
        conditions.append(sa.false())
    if wanted.namespace is not None:
        conditions.append(columns.namespace == wanted.namespace)
    if wanted.name is not None:
        conditions.append(columns.name == wanted.name)
    if after is not None:
        conditions.append(sa.tuple_(columns.namespace, columns.name) > sa.tuple_(*map(sa.literal, after)))
    return [*conditions, *(_holds(requirement, labels) for requirement in wanted.labels.requirements)]


def _holds(requirement: Requirement, labels: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Written so that an index on the labels serves it."""
    label = sa.type_coerce(labels, JSONB)
    held: sa.ColumnElement[bool] = (
        label.has_key(requirement.key)
        if requirement.values is None
        else sa.or_(*(label.contains({requirement.key: value}) for value in sorted(requirement.values)))
    )
    return ~held if requirement.negated else held
