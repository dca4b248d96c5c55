"""What the token path is built from: the pulse it polls, the rows of a snapshot, many accounts by one query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from sys import intern
from types import MappingProxyType
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.credentials import SecretVersion
from issuer.model.kinds import KEY_SET, NAMESPACE, POLICY_KINDS, SCOPE, SERVICE_ACCOUNT
from issuer.model.resource import Resource
from issuer.store.changelog import RevisionGone, require_kept
from issuer.store.keys import StoredKey, load_keys
from issuer.store.resources import current_revision, resource_of
from issuer.store.secrets import load_peppers, version_of
from issuer.store.tables import changes, resources, secret_versions


@dataclass(frozen=True, slots=True)
class Pulse:
    """Which database this is and how far it has come.

    `identity` (system identifier, timeline, epoch) changes with a failover or a restore; a standby's timeline is empty.
    `written_at`: when its newest write was; `known_written_at`: the same of the revision the reader knows already; None
    where the log has no such row.
    """

    identity: tuple[str, ...]
    in_recovery: bool
    revision: int
    written_at: datetime | None
    known_written_at: datetime | None
    bootstrapped: bool


@dataclass(frozen=True, slots=True)
class Position:
    """How far one history of writes has been read."""

    identity: tuple[str, ...]
    revision: int
    written_at: datetime | None

    def departure(self, pulse: Pulse) -> str | None:
        """None when the pulse, taken from here on, is of the same history and not behind; else what is different.

        After a restore the counter may have come past our revision again, with other writes: their times give them away.
        """
        if pulse.identity != self.identity:
            return "identity"
        if pulse.revision < self.revision:
            return "revision"
        rewritten = None not in {self.written_at, pulse.known_written_at} and pulse.known_written_at != self.written_at
        return "history" if rewritten else None


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
    """An account with its secret versions: version, pepper id and HMAC, oldest first.

    Kept by the hundred thousand: without status, on which no token depends, and with texts that many accounts have only once.
    """

    account: Resource
    secrets: tuple[tuple[SecretVersion, str, bytes], ...] = field(repr=False)


_PULSE = sa.text(
    """
    SELECT s.system_identifier::text AS system, i.epoch::text AS epoch, pg_is_in_recovery() AS in_recovery,
           -- Where writes go now. The control file's timeline follows a promotion at the next checkpoint only.
           CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END AS timeline,
           i.revision AS pulse_revision, i.master_key_check IS NOT NULL AS bootstrapped,
           (SELECT at FROM changes WHERE revision = i.revision) AS written_at,
           (SELECT at FROM changes WHERE revision = :known_revision) AS known_written_at
    FROM installation i, pg_control_system() s
    """
).columns(
    system=sa.Text,
    epoch=sa.Text,
    in_recovery=sa.Boolean,
    timeline=sa.Text,
    pulse_revision=sa.BigInteger,
    bootstrapped=sa.Boolean,
    written_at=sa.DateTime(timezone=True),
    known_written_at=sa.DateTime(timezone=True),
)


async def read_pulse(connection: AsyncConnection, known_revision: int) -> Pulse:
    """One row, a few microseconds for PostgreSQL, readable without privilege."""
    return _pulse_of((await connection.execute(_PULSE, {"known_revision": known_revision})).one())


def _pulse_of(row: Row[Any]) -> Pulse:
    return Pulse(
        identity=(row.system, row.timeline, row.epoch),
        in_recovery=row.in_recovery,
        revision=row.pulse_revision,
        written_at=row.written_at,
        known_written_at=row.known_written_at,
        bootstrapped=row.bootstrapped,
    )


# One row, however many there are: taking 10,000 apart would keep tokens waiting for 30 ms after every write of a policy.
_NAMESPACES = sa.select(
    sa.type_coerce(sa.func.json_object_agg(resources.c.name, resources.c.labels), sa.JSON).label("labels"),
    sa.func.array_agg(resources.c.name).filter(resources.c.deleted_at.is_not(None)).label("terminating"),
).where(resources.c.kind == NAMESPACE.kind)


async def read_world(connection: AsyncConnection) -> WorldRows:
    """Every row a snapshot needs. Wants a repeatable-read transaction, so that all are of one revision."""
    revision = await current_revision(connection)
    policy_kinds = [kind.kind for kind in POLICY_KINDS]
    small = sa.select(resources).where(resources.c.kind.in_([SCOPE.kind, KEY_SET.kind, *policy_kinds]))
    found = [resource_of(row) for row in await connection.execute(small.order_by(resources.c.name))]
    namespaces = (await connection.execute(_NAMESPACES)).one()
    return WorldRows(
        revision=revision,
        scopes=[each for each in found if each.kind == SCOPE.kind],
        keysets=[each for each in found if each.kind == KEY_SET.kind],
        policies=[each for each in found if each.kind in policy_kinds],
        namespace_labels=namespaces.labels or {},
        terminating=frozenset(namespaces.terminating or ()),
        keys=await load_keys(connection),
        peppers=await load_peppers(connection),
    )


_NO_STATUS: Mapping[str, Any] = MappingProxyType({})
_pulse = _PULSE.subquery("pulse")
_ACCOUNTS = (
    sa.select(_pulse, resources, *(column.label(f"secret_{column.name}") for column in secret_versions.c))
    .select_from(
        _pulse.outerjoin(
            resources,
            sa.and_(
                resources.c.uid == sa.any_(sa.bindparam("uids", type_=sa.ARRAY(sa.UUID(as_uuid=True)))),
                resources.c.kind == SERVICE_ACCOUNT.kind,
            ),
        ).outerjoin(secret_versions, secret_versions.c.account_uid == resources.c.uid)
    )
    .order_by(resources.c.uid, secret_versions.c.version)
)


async def read_accounts(
    connection: AsyncConnection, uids: Sequence[UUID], known_revision: int
) -> tuple[Pulse, list[AccountRows]]:
    """Those of the accounts that exist, with their secrets, and the pulse of the database that said so: by one query."""
    rows = (await connection.execute(_ACCOUNTS, {"uids": uids, "known_revision": known_revision})).all()
    accounts = []
    for uid, of_account in groupby(rows, attrgetter("uid")):
        if uid is not None:
            each = list(of_account)
            secrets = tuple(
                (version_of(row, "secret_"), row.secret_pepper_id, row.secret_hmac)
                for row in each
                if row.secret_version is not None
            )
            accounts.append(AccountRows(_lean(resource_of(each[0])), secrets))
    return _pulse_of(rows[0]), accounts


def _lean(account: Resource) -> Resource:
    return replace(account, namespace=intern(account.namespace), spec=_shared(account.spec), status=_NO_STATUS)


def _shared(value: Any) -> Any:
    """The same JSON value; what it has in common with others in keys and texts is the same object."""
    if isinstance(value, str):
        return intern(value)
    if isinstance(value, dict):
        return {intern(key): _shared(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_shared(each) for each in value]
    return value


@dataclass(frozen=True, slots=True)
class Changed:
    """What was written since a revision. `uids` None: too much to list, everything may have changed."""

    uids: frozenset[UUID] | None
    world: bool


async def read_changed(connection: AsyncConnection, since: int, most: int = 10_000) -> Changed:
    """The accounts written after `since`, and whether anything a snapshot is made of was.

    Everything may have been, when the log does not go back so far: this process slept for a day.
    """
    query = (
        sa.select(changes.c.uid, changes.c.kind)
        .where(changes.c.revision > since)
        .order_by(changes.c.revision)
        .limit(most + 1)
    )
    rows = (await connection.execute(query)).all()
    try:
        # After the rows: what is trimmed between the two statements was in them.
        await require_kept(connection, since)
    except RevisionGone:
        return Changed(None, world=True)
    if len(rows) > most:
        return Changed(None, world=True)
    return Changed(
        frozenset(row.uid for row in rows if row.kind == SERVICE_ACCOUNT.kind),
        world=any(row.kind != SERVICE_ACCOUNT.kind for row in rows),
    )
