"""What the token path is built from: the pulse it polls, the rows of a snapshot, one account by one query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.credentials import SecretVersion
from issuer.model.kinds import KEY_SET, NAMESPACE, POLICY_KINDS, SCOPE, SERVICE_ACCOUNT
from issuer.model.resource import Resource
from issuer.store.keys import StoredKey, load_keys
from issuer.store.resources import current_revision, resource_of
from issuer.store.secrets import load_peppers, version_of
from issuer.store.tables import changes, resources, secret_versions


@dataclass(frozen=True, slots=True)
class Pulse:
    """Which database this is and how far it has come. `identity` changes with a failover or a restore."""

    identity: tuple[str, ...]
    revision: int
    bootstrapped: bool


@dataclass(frozen=True, slots=True)
class WorldRows:
    """Everything a snapshot is compiled from, as of one revision."""

    revision: int
    scopes: Sequence[Resource]
    policies: Sequence[Resource]
    namespace_labels: Mapping[str, Mapping[str, str]]
    keysets: Sequence[Resource]
    terminating: frozenset[str]
    keys: Sequence[StoredKey] = field(repr=False)
    peppers: Sequence[tuple[str, bytes]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class AccountRows:
    """An account with its secret versions: version, pepper id and HMAC, oldest first."""

    account: Resource
    secrets: tuple[tuple[SecretVersion, str, bytes], ...] = field(repr=False)


_PULSE = sa.text(
    """
    SELECT s.system_identifier::text AS system, c.timeline_id::text AS timeline, pg_is_in_recovery()::text AS recovery,
           i.epoch::text AS epoch, i.revision, i.master_key_check IS NOT NULL AS bootstrapped
    FROM installation i, pg_control_system() s, pg_control_checkpoint() c
    """
)


async def read_pulse(connection: AsyncConnection) -> Pulse:
    """One row, a few microseconds for PostgreSQL, readable without privilege."""
    row = (await connection.execute(_PULSE)).one()
    return Pulse((row.system, row.timeline, row.recovery, row.epoch), row.revision, row.bootstrapped)


async def read_world(connection: AsyncConnection) -> WorldRows:
    """Every row a snapshot needs. Wants a repeatable-read transaction, so that all are of one revision."""
    revision = await current_revision(connection)
    policy_kinds = [kind.kind for kind in POLICY_KINDS]
    small = sa.select(resources).where(resources.c.kind.in_([SCOPE.kind, KEY_SET.kind, *policy_kinds]))
    found = [resource_of(row) for row in await connection.execute(small.order_by(resources.c.name))]
    lean = sa.select(resources.c.name, resources.c.labels, resources.c.deleted_at)
    namespaces = (await connection.execute(lean.where(resources.c.kind == NAMESPACE.kind))).all()
    return WorldRows(
        revision=revision,
        scopes=[each for each in found if each.kind == SCOPE.kind],
        keysets=[each for each in found if each.kind == KEY_SET.kind],
        policies=[each for each in found if each.kind in policy_kinds],
        namespace_labels={row.name: row.labels for row in namespaces},
        terminating=frozenset(row.name for row in namespaces if row.deleted_at is not None),
        keys=await load_keys(connection),
        peppers=await load_peppers(connection),
    )


async def read_account(connection: AsyncConnection, uid: UUID) -> AccountRows | None:
    """The account and its secrets, by one query."""
    query = (
        sa.select(resources, *(column.label(f"secret_{column.name}") for column in secret_versions.c))
        .outerjoin(secret_versions, secret_versions.c.account_uid == resources.c.uid)
        .where(resources.c.uid == uid, resources.c.kind == SERVICE_ACCOUNT.kind)
        .order_by(secret_versions.c.version)
    )
    rows = (await connection.execute(query)).all()
    if not rows:
        return None
    secrets = tuple(
        (version_of(row, "secret_"), row.secret_pepper_id, row.secret_hmac)
        for row in rows
        if row.secret_version is not None
    )
    return AccountRows(resource_of(rows[0]), secrets)


@dataclass(frozen=True, slots=True)
class Changed:
    """What was written since a revision. `uids` None: too much to list, everything may have changed."""

    uids: frozenset[UUID] | None
    world: bool


async def read_changed(connection: AsyncConnection, since: int, most: int = 10_000) -> Changed:
    """The accounts written after `since`, and whether anything a snapshot is made of was."""
    query = (
        sa.select(changes.c.uid, changes.c.kind)
        .where(changes.c.revision > since)
        .order_by(changes.c.revision)
        .limit(most + 1)
    )
    rows = (await connection.execute(query)).all()
    if len(rows) > most:
        return Changed(None, world=True)
    return Changed(
        frozenset(row.uid for row in rows if row.kind == SERVICE_ACCOUNT.kind),
        world=any(row.kind != SERVICE_ACCOUNT.kind for row in rows),
    )
