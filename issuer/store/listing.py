"""Pages of a LIST, every one as of the revision the first was read at.

A page is what is stored now with everything written since taken back: the change log keeps each object as it was before.
Wants a repeatable-read transaction, so that the objects and the log are of one instant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.model.filters import Filter
from issuer.model.selectors import Requirement
from issuer.store.batches import read_batch
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
    """Objects as they were at revision `at` (None: now), those behind `after`. Raises RevisionGone.

    At most `limit` of them, and fewer where they are great: a page is bounded in bytes, too.
    """
    revision = await current_revision(connection)
    if at is not None:
        await require_kept(connection, at)
    stored = sa.select(resources).where(*_reach(wanted, resources.c, resources.c.labels, after))
    parts: list[_Part] = []
    if at is not None and at < revision:
        since = sa.and_(changes.c.revision > at, changes.c.kind == wanted.kind.kind)
        stored = stored.where(~sa.exists().where(since, changes.c.uid == resources.c.uid))
        parts.append(await _taken_back(connection, wanted, since, after, limit + 1))
    order = resources.c.namespace, resources.c.name
    rows, more = await read_batch(connection, stored, order_by=order, documents=[resources.c.document], limit=limit + 1)
    parts.append(([resource_of(row).to_json() for row in rows], more))
    items, more = _merged(parts, limit)
    return Page(items, revision if at is None else at, _place(items[-1]) if more else None)


_Part: TypeAlias = tuple[list[dict[str, Any]], bool]
"""Objects by namespace and name, and whether there may be more behind them."""


def _merged(parts: Sequence[_Part], limit: int) -> _Part:
    """At most `limit` objects of all parts, none of them behind the end of a part that has more."""
    items = sorted((each for items, _ in parts for each in items), key=_place)
    known_to = min((_place(items[-1]) for items, more in parts if more), default=None)
    known = items if known_to is None else [each for each in items if _place(each) <= known_to]
    return known[:limit], known_to is not None or len(known) > limit


async def _taken_back(
    connection: AsyncConnection,
    wanted: Filter,
    since: sa.ColumnElement[bool],
    after: tuple[str, str] | None,
    limit: int,
) -> _Part:
    """What was changed `since`, as it was before its first change."""
    firsts = sa.select(sa.func.min(changes.c.revision)).where(since).group_by(changes.c.uid)
    labels = changes.c.before.op("#>")(sa.text("'{metadata,labels}'")).cast(JSONB)
    order = changes.c.namespace, changes.c.name
    query = sa.select(*order, changes.c.before, changes.c.previous_revision).where(
        changes.c.revision.in_(firsts),
        changes.c.before.is_not(None),
        *_reach(wanted, changes.c, sa.func.coalesce(labels, sa.text("'{}'::jsonb")), after),
    )
    rows, more = await read_batch(connection, query, order_by=order, documents=[changes.c.before], limit=limit)
    return [with_version(row.before, row.previous_revision) for row in rows], more


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
