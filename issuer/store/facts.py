"""What a database says about itself, for `issuer check`: read only, and with no privilege but that of the server's own user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from issuer.credentials import Versions
from issuer.model.kinds import KEY_SET, NAMESPACE, POLICY_KINDS, SERVICE_ACCOUNT
from issuer.model.resource import Resource
from issuer.model.scopes import ADMIN_SCOPE, SYSTEM_NAMESPACE
from issuer.signing.keyring import KeyRecord
from issuer.store.database import Connection, Database
from issuer.store.installation import read_master_key_check
from issuer.store.keys import load_records
from issuer.store.partitions import day_of
from issuer.store.resources import find, resource_of
from issuer.store.sealed import count_sealed
from issuer.store.secrets import load_versions_of
from issuer.store.tables import decision_records, resources, secret_versions

_VERSION_TABLE = "alembic_version"
_WRITTEN = ("SELECT", "INSERT", "UPDATE", "DELETE")

NEEDED_PRIVILEGES: Mapping[str, Sequence[str]] = {
    _VERSION_TABLE: ("SELECT",),
    "installation": ("SELECT", "UPDATE"),
    "resources": _WRITTEN,
    "changes": ("SELECT", "INSERT", "DELETE"),
    "audit_records": ("SELECT", "INSERT", "DELETE"),
    "audit_seals": ("SELECT", "INSERT", "DELETE"),
    "audit_keys": ("SELECT", "INSERT", "UPDATE"),
    "record_chains": _WRITTEN,
    "record_exports": ("SELECT", "INSERT", "UPDATE"),
    "decision_records": ("SELECT", "INSERT"),
    "checkpoints": ("SELECT", "INSERT", "DELETE"),
    "peppers": ("SELECT", "INSERT", "UPDATE"),
    "secret_versions": _WRITTEN,
    "signing_keys": _WRITTEN,
    "rotation_walk": ("SELECT", "UPDATE"),
    "usage_days": _WRITTEN,
    "usage_positions": _WRITTEN,
    "refusal_counts": _WRITTEN,
}
"""What `serve`, `bootstrap` and `rekey` do to each table. `migrate` owns them."""

NEEDED_FUNCTIONS = ("pg_control_system()", "pg_control_checkpoint()")
"""By which a replica notices a failover or a restore; everybody may call them unless that was taken away."""

MAX_COUNTED = 1000


@dataclass(frozen=True, slots=True)
class Standby:
    """A connection that receives the write-ahead log. `sync_state` None: this user may not see it."""

    name: str | None
    sync_state: str | None


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server and our connection to it. `connection_limit`: those that this user may open, on this database.

    `missing_privileges` are GRANTs without their role. `schema_versions`: empty without a schema, None where unreadable.
    """

    version: str
    version_number: int
    now: datetime
    encoding: str
    encrypted: bool
    synchronous_commit: str
    fsync: str
    statement_timeout_ms: int
    synchronous_standby_names: str
    standbys: tuple[Standby, ...]
    connection_limit: int
    missing_privileges: tuple[str, ...]
    may_create: bool
    schema_versions: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class StoredFacts:
    """What stands in the tables. `sealed`: how many values each master key seals, by its id.

    `administrators`: accounts that hold the scope for it, with their secrets; `system_labels`: of the namespace they are in.
    `undelivered`: accounts that wait too long for their secret, by name. Of either at most MAX_COUNTED. `oldest_decisions`:
    the day of the oldest decision there is.
    """

    master_key_check: bytes | None = field(repr=False)
    sealed: Mapping[str, int]
    keys: tuple[KeyRecord, ...]
    keysets: tuple[Resource, ...]
    policies: tuple[Resource, ...]
    administrators: tuple[tuple[Resource, Versions], ...]
    system_labels: Mapping[str, str]
    undelivered: tuple[str, ...]
    oldest_decisions: date | None


# Only what every user may read. `setting` is in the parameter's own unit, `current_setting` would be for people.
_SERVER = sa.text(
    """
    SELECT current_setting('server_version') AS version,
           current_setting('server_version_num')::int AS version_number,
           pg_encoding_to_char(d.encoding) AS encoding,
           coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS encrypted,
           current_setting('synchronous_commit') AS synchronous_commit,
           current_setting('fsync') AS fsync,
           (SELECT setting::bigint FROM pg_settings WHERE name = 'statement_timeout') AS statement_timeout_ms,
           current_setting('synchronous_standby_names') AS synchronous_standby_names,
           least(
               current_setting('max_connections')::int
               - current_setting('superuser_reserved_connections')::int
               - coalesce(current_setting('reserved_connections', true)::int, 0),
               (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user),
               nullif(d.datconnlimit, -1)
           ) AS connection_limit,
           coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
           to_regclass(:version_table) IS NOT NULL AS has_schema
    FROM pg_database d WHERE d.datname = current_database()
    """
)
# Whoever reads the log logically is a consumer of changes, not a copy of this server; nor is a backup that is being taken.
_STANDBYS = sa.text(
    """
    SELECT application_name AS name, sync_state FROM pg_stat_replication r
    WHERE state IS DISTINCT FROM 'backup'
      AND NOT EXISTS (SELECT 1 FROM pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')
    ORDER BY application_name
    """
)
_MISSING_TABLE_PRIVILEGES = sa.text(
    """
    SELECT w.privilege || ' ON ' || w.relation FROM unnest(:relations ::text[], :privileges ::text[]) AS w(relation, privilege)
    WHERE to_regclass(w.relation) IS NOT NULL AND NOT has_table_privilege(to_regclass(w.relation), w.privilege)
    """
)
_MISSING_FUNCTION_PRIVILEGES = sa.text(
    """
    SELECT 'EXECUTE ON FUNCTION ' || f FROM unnest(:functions ::text[]) AS f
    WHERE NOT has_function_privilege('pg_catalog.' || f, 'EXECUTE')
    """
)


# Only its owner, or a member of that role, may take a day away from the table.
_MISSING_OWNERSHIP = sa.text(
    """
    SELECT pg_get_userbyid(relowner) || ', the role that owns decision_records and so drops its days' FROM pg_class
    WHERE oid = to_regclass('decision_records') AND NOT pg_has_role(relowner, 'USAGE')
    """
)


async def read_server(database: Database) -> ServerFacts:
    """The server's facts. Raises DatabaseUnavailable."""
    async with database.transaction() as connection:
        await _read_only(connection)
        return await _server_facts(connection)


async def read_clock(database: Database) -> datetime:
    """The database's clock, over a connection that is already open when `read_server` came before."""
    async with database.transaction() as connection:
        clock: datetime = (await connection.execute(sa.select(sa.func.clock_timestamp()))).scalar_one()
        return clock


async def read_stored(database: Database, undelivered_for: timedelta) -> StoredFacts:
    """What the tables hold. Wants a schema this program knows, and the right to read it. Raises DatabaseUnavailable."""
    async with database.transaction(isolation="REPEATABLE READ") as connection:
        await _read_only(connection)
        kinds = [KEY_SET.kind, *(kind.kind for kind in POLICY_KINDS)]
        query = (
            sa.select(resources).where(resources.c.kind.in_(kinds)).order_by(resources.c.namespace, resources.c.name)
        )
        found = [resource_of(row) for row in await connection.execute(query)]
        namespace = await find(connection, NAMESPACE, "", SYSTEM_NAMESPACE)
        return StoredFacts(
            master_key_check=await read_master_key_check(connection),
            sealed={name: sum(counts.values()) for name, counts in (await count_sealed(connection)).items()},
            keys=tuple(await load_records(connection)),
            keysets=tuple(each for each in found if each.kind == KEY_SET.kind),
            policies=tuple(each for each in found if each.kind != KEY_SET.kind),
            administrators=await _administrators(connection),
            system_labels=namespace.labels if namespace is not None else {},
            undelivered=await _undelivered(connection, undelivered_for),
            oldest_decisions=await _oldest_decisions(connection),
        )


async def _read_only(connection: Connection) -> None:
    """PostgreSQL itself sees to it that nothing is written."""
    await connection.execute(sa.text("SET TRANSACTION READ ONLY"))


async def _server_facts(connection: Connection) -> ServerFacts:
    row = (await connection.execute(_SERVER, {"version_table": _VERSION_TABLE})).one()
    standbys = (await connection.execute(_STANDBYS)).all()
    missing = await _missing_privileges(connection)
    versions: tuple[str, ...] | None = ()
    if row.has_schema and f"SELECT ON {_VERSION_TABLE}" in missing:
        versions = None
    elif row.has_schema:
        versions = tuple((await connection.execute(sa.text(f"SELECT version_num FROM {_VERSION_TABLE}"))).scalars())  # noqa: S608
    return ServerFacts(
        version=row.version,
        version_number=row.version_number,
        now=(await connection.execute(sa.select(sa.func.clock_timestamp()))).scalar_one(),
        encoding=row.encoding,
        encrypted=row.encrypted,
        synchronous_commit=row.synchronous_commit,
        fsync=row.fsync,
        statement_timeout_ms=row.statement_timeout_ms,
        synchronous_standby_names=row.synchronous_standby_names,
        standbys=tuple(Standby(each.name, each.sync_state) for each in standbys),
        connection_limit=row.connection_limit,
        missing_privileges=missing,
        may_create=row.may_create,
        schema_versions=versions,
    )


async def _missing_privileges(connection: Connection) -> tuple[str, ...]:
    pairs = [(table, privilege) for table, needed in NEEDED_PRIVILEGES.items() for privilege in needed]
    tables = {"relations": [table for table, _ in pairs], "privileges": [privilege for _, privilege in pairs]}
    of_tables = await connection.execute(_MISSING_TABLE_PRIVILEGES, tables)
    of_functions = await connection.execute(_MISSING_FUNCTION_PRIVILEGES, {"functions": list(NEEDED_FUNCTIONS)})
    ownership = await connection.execute(_MISSING_OWNERSHIP)
    return (*of_tables.scalars(), *of_functions.scalars(), *ownership.scalars())


async def _administrators(connection: Connection) -> tuple[tuple[Resource, Versions], ...]:
    """Whatever keeps them from a token; but one that is being deleted gets none any more."""
    query = (
        sa.select(resources)
        .where(
            resources.c.kind == SERVICE_ACCOUNT.kind,
            resources.c.namespace == SYSTEM_NAMESPACE,
            resources.c.deleted_at.is_(None),
            sa.cast(resources.c.document["spec"]["scopes"], JSONB).contains([ADMIN_SCOPE]),
        )
        .order_by(resources.c.name)
        .limit(MAX_COUNTED)
    )
    accounts = [resource_of(row) for row in await connection.execute(query)]
    versions = await load_versions_of(connection, [account.uid for account in accounts])
    return tuple((account, versions[account.uid]) for account in accounts)


async def _undelivered(connection: Connection, waiting_for: timedelta) -> tuple[str, ...]:
    """Accounts whose newest secret nobody has acknowledged for so long: only it, and only until then, has a plaintext."""
    query = (
        sa.select(resources.c.namespace + "/" + resources.c.name)
        .join(secret_versions, secret_versions.c.account_uid == resources.c.uid)
        .where(
            resources.c.kind == SERVICE_ACCOUNT.kind,
            resources.c.deleted_at.is_(None),
            secret_versions.c.sealed.is_not(None),
            secret_versions.c.created_at < sa.func.now() - waiting_for,
        )
        .order_by(secret_versions.c.created_at)
        .limit(MAX_COUNTED)
    )
    return tuple((await connection.execute(query)).scalars())


async def _oldest_decisions(connection: Connection) -> date | None:
    query = sa.select(decision_records.c.id).order_by(decision_records.c.id).limit(1)
    oldest = (await connection.execute(query)).scalar_one_or_none()
    return day_of(oldest) if oldest is not None else None
