"""What controllers of secrets look for: due rotations, ended holds, overdue deliveries, accounts whose policies have changed.

Each by an index of its own. Rows are locked as they are found; those another holds are left to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.model.kinds import NAMESPACE, POLICY_KINDS, SERVICE_ACCOUNT
from issuer.model.resource import Resource
from issuer.model.times import format_time
from issuer.store.resources import resource_of
from issuer.store.tables import changes, installation, resources, rotation_walk, secret_versions

_NEXT_ROTATION = resources.c.document.op("#>>")(sa.text("'{status,nextCredentialRotation}'"))
_IS_ACCOUNT = resources.c.kind == sa.text(f"'{SERVICE_ACCOUNT.kind}'")  # in the words of the indexes


async def due_accounts(connection: AsyncConnection, now: datetime, limit: int) -> list[Resource]:
    """Accounts whose stored `nextCredentialRotation` has come, the longest due first, locked."""
    query = (
        sa.select(resources)
        .where(_IS_ACCOUNT, _NEXT_ROTATION.is_not(None), format_time(now) >= _NEXT_ROTATION)
        .order_by(_NEXT_ROTATION)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [resource_of(row) for row in await connection.execute(query)]


async def accounts_with_ended_holds(connection: AsyncConnection, now: datetime, limit: int) -> list[Resource]:
    """Accounts whose pending version holds its predecessor no longer, locked."""
    ended = sa.and_(
        secret_versions.c.activated_at.is_(None),
        secret_versions.c.cut_at.is_(None),
        secret_versions.c.hold_until <= now,
    )
    return await _of_versions(connection, ended, secret_versions.c.hold_until, limit)


async def accounts_with_overdue_deliveries(
    connection: AsyncConnection, made_by: datetime, limit: int
) -> list[Resource]:
    """Accounts whose newest version waits for its driver since `made_by` or before, and nobody was told; locked."""
    # Only the newest version, and only until it is acknowledged, has a plaintext.
    overdue = sa.and_(
        secret_versions.c.sealed.is_not(None),
        secret_versions.c.overdue_at.is_(None),
        secret_versions.c.created_at <= made_by,
    )
    return await _of_versions(connection, overdue, secret_versions.c.created_at, limit)


async def _of_versions(
    connection: AsyncConnection, condition: sa.ColumnElement[bool], order: Any, limit: int
) -> list[Resource]:
    query = (
        sa.select(resources)
        .join(secret_versions, secret_versions.c.account_uid == resources.c.uid)
        .where(condition)
        .order_by(order)
        .limit(limit)
        .with_for_update(of=resources, skip_locked=True)
    )
    return [resource_of(row) for row in await connection.execute(query)]


# --- following policies -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Walk:
    """How far accounts follow policies. `done`: all of them as of this revision.

    `target`: the revision a walk through the accounts brings them to, None when nobody walks; `namespaces`: those it looks
    into, None for all; `after`: the last account it has seen.
    """

    done: int
    target: int | None = None
    namespaces: tuple[str, ...] | None = None
    after: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Written:
    """A policy or a namespace before and after a write, as the API shows it."""

    kind: str
    namespace: str
    name: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


async def claim_walk(connection: AsyncConnection) -> Walk | None:
    """The walk, locked: one replica takes its next steps. None while another does."""
    query = sa.select(rotation_walk).with_for_update(skip_locked=True)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    namespaces = tuple(row.namespaces) if row.namespaces is not None else None
    return Walk(row.done, row.target, namespaces, (row.after_namespace, row.after_name))


async def save_walk(connection: AsyncConnection, walk: Walk) -> None:
    """How far the walk has come; wants it to be claimed."""
    namespace, name = walk.after
    await connection.execute(
        sa.update(rotation_walk).values(
            done=walk.done,
            target=walk.target,
            namespaces=list(walk.namespaces) if walk.namespaces is not None else None,
            after_namespace=namespace,
            after_name=name,
        )
    )


async def policies_written(connection: AsyncConnection, since: int, upto: int) -> list[Written] | None:
    """Writes of policies and namespaces with a revision in (since, upto]; None when the log does not go back so far."""
    kinds = [NAMESPACE.kind, *(kind.kind for kind in POLICY_KINDS)]
    query = (
        sa.select(changes)
        .where(changes.c.revision > since, changes.c.revision <= upto, changes.c.kind.in_(kinds))
        .order_by(changes.c.revision)
    )
    rows = (await connection.execute(query)).all()
    # After the rows: what is trimmed between the two statements was in them.
    trimmed_to: int = (await connection.execute(sa.select(installation.c.trimmed_to))).scalar_one()
    if trimmed_to > since:
        return None
    return [Written(row.kind, row.namespace, row.name, row.before, row.after) for row in rows]


async def accounts_after(
    connection: AsyncConnection, after: tuple[str, str], namespaces: Sequence[str] | None, limit: int
) -> list[Resource]:
    """Accounts behind `after`, by namespace and name, not locked."""
    place = sa.tuple_(resources.c.namespace, resources.c.name)
    query = sa.select(resources).where(
        resources.c.kind == SERVICE_ACCOUNT.kind, place > sa.tuple_(*map(sa.literal, after))
    )
    if namespaces is not None:
        query = query.where(resources.c.namespace.in_(namespaces))
    query = query.order_by(resources.c.namespace, resources.c.name).limit(limit)
    return [resource_of(row) for row in await connection.execute(query)]


async def lock_accounts(connection: AsyncConnection, uids: Sequence[UUID]) -> list[Resource]:
    """Those of the accounts that still exist, as they are now, locked; waits for who holds them."""
    query = sa.select(resources).where(resources.c.uid.in_(uids)).order_by(resources.c.uid).with_for_update()
    return [resource_of(row) for row in await connection.execute(query)]
