"""Objects of all kinds, and the one statement by which they change.

One counter orders all writes. Whoever writes takes its row lock in the transaction's *last* statement, so that the lock is
held for a commit and no longer, and a later revision can never become visible before an earlier one. That statement is
`commit_changes`: objects, change log, audit record, counter and NOTIFY, together or not at all.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Row
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.model.kinds import BY_KIND, KINDS, Kind
from issuer.model.resource import Resource
from issuer.model.times import format_time
from issuer.store.tables import audit_records, installation, resources

CHANNEL = "issuer_revision"
MAX_CHANGES = 100
"""Objects one transaction may change: the counter's lock is short, whatever is being done."""

_API_VERSION = {kind.kind: kind.api_version for kind in KINDS}


class AlreadyExists(Exception):
    """Another object has the name, or the value no two may share (`field` names it)."""

    def __init__(self, field_name: str) -> None:
        super().__init__(field_name)
        self.field = field_name


@dataclass(frozen=True, slots=True)
class Change:
    """One object before and after: no before is a creation, no after a removal. `revision` is 0 until it is committed."""

    before: Resource | None
    after: Resource | None
    revision: int = 0

    @property
    def subject(self) -> Resource:
        """The object the change is about."""
        subject = self.after or self.before
        if subject is None:
            raise ValueError("a change of nothing")
        return subject

    @property
    def type(self) -> Literal["ADDED", "MODIFIED", "DELETED"]:
        """As watchers name it."""
        return "ADDED" if self.before is None else "DELETED" if self.after is None else "MODIFIED"


@dataclass(frozen=True, slots=True)
class Subject:
    """What a record is about where that is no object of the API."""

    kind: str
    name: str
    namespace: str = ""
    uid: UUID | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what to which object. Written with the change itself; `note` holds what the objects do not show."""

    id: UUID
    principal: Mapping[str, Any]
    verb: str
    subject: Resource | Subject
    note: Mapping[str, Any] = field(default_factory=dict)


async def find(
    connection: AsyncConnection,
    kind: Kind,
    namespace: str,
    name: str,
    *,
    lock: Literal["update", "share"] | None = None,
) -> Resource | None:
    """The object, or None. With a lock, nobody else changes it (`update`) or removes it (`share`) until the commit."""
    query = sa.select(resources).where(
        resources.c.kind == kind.kind, resources.c.namespace == namespace, resources.c.name == name
    )
    if lock == "update":
        query = query.with_for_update()
    elif lock == "share":
        query = query.with_for_update(read=True)
    row = (await connection.execute(query)).one_or_none()
    return resource_of(row) if row is not None else None


async def find_by_uid(connection: AsyncConnection, uid: UUID, *, lock: bool = False) -> Resource | None:
    """The object with the uid, or None."""
    query = sa.select(resources).where(resources.c.uid == uid)
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    return resource_of(row) if row is not None else None


async def list_of_kind(
    connection: AsyncConnection, kind: Kind, namespace: str | None, *, after: tuple[str, str] | None = None, limit: int
) -> list[Resource]:
    """Objects of the kind by namespace and name, at most `limit`, those behind `after`. `namespace` None: everywhere."""
    query = sa.select(resources).where(resources.c.kind == kind.kind)
    if namespace is not None:
        query = query.where(resources.c.namespace == namespace)
    if after is not None:
        query = query.where(sa.tuple_(resources.c.namespace, resources.c.name) > sa.tuple_(*map(sa.literal, after)))
    query = query.order_by(resources.c.namespace, resources.c.name).limit(limit)
    return [resource_of(row) for row in await connection.execute(query)]


async def contents_of_namespace(connection: AsyncConnection, namespace: str, limit: int) -> list[Resource]:
    """Objects in the namespace to be ended, locked; those being deleted already, or held by another, left out."""
    query = (
        sa.select(resources)
        .where(resources.c.namespace == namespace, resources.c.deleted_at.is_(None))
        .order_by(resources.c.kind, resources.c.name)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [resource_of(row) for row in await connection.execute(query)]


async def expired_accounts(connection: AsyncConnection, now: datetime, limit: int) -> list[Resource]:
    """Accounts whose `expiresAt` has come and whose stored status does not say so, locked; those held by another left out."""
    expires_at = resources.c.document.op("#>>")(sa.text("'{spec,expiresAt}'"))
    query = (
        sa.select(resources)
        # In the words of the index.
        .where(sa.text("kind = 'ServiceAccount' AND document #>> '{status,phase}' IN ('Pending', 'Active')"))
        .where(expires_at.is_not(None), expires_at <= format_time(now))
        .order_by(expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [resource_of(row) for row in await connection.execute(query)]


async def current_revision(connection: AsyncConnection) -> int:
    """The newest committed revision."""
    revision: int = (await connection.execute(sa.select(installation.c.revision))).scalar_one()
    return revision


_COMMIT = sa.text(
    """
    WITH change AS (
        SELECT * FROM json_to_recordset(CAST(:changes AS json)) AS c(
            ordinal int, type text, uid uuid, kind text, namespace text, name text, generation bigint,
            created_at timestamptz, deleted_at timestamptz, labels jsonb, document json, unique_value text,
            before json, after json, previous_revision bigint, audit_id uuid, principal jsonb, verb text, note jsonb)
    ), counter AS (
        UPDATE installation SET revision = revision + (SELECT count(*) FROM change)
        RETURNING revision AS last, revision - (SELECT count(*) FROM change) AS base
    ), removed AS (
        DELETE FROM resources r USING change c, counter WHERE c.type = 'DELETED' AND r.uid = c.uid
    ), modified AS (
        UPDATE resources r
        SET revision = counter.base + c.ordinal, generation = c.generation, deleted_at = c.deleted_at,
            labels = c.labels, document = c.document
        FROM change c, counter WHERE c.type = 'MODIFIED' AND r.uid = c.uid
    ), added AS (
        INSERT INTO resources (uid, kind, namespace, name, revision, generation, created_at, deleted_at, labels, document,
                               unique_value)
        SELECT c.uid, c.kind, c.namespace, c.name, counter.base + c.ordinal, c.generation, c.created_at, c.deleted_at,
               c.labels, c.document, c.unique_value
        FROM change c, counter WHERE c.type = 'ADDED'
    ), logged AS (
        INSERT INTO changes (revision, type, kind, namespace, name, uid, before, after, previous_revision)
        SELECT counter.base + c.ordinal, c.type, c.kind, c.namespace, c.name, c.uid, c.before, c.after,
               c.previous_revision
        FROM change c, counter
    ), audited AS (
        INSERT INTO audit_records (id, revision, principal, verb, kind, namespace, name, uid, before, after, note)
        SELECT c.audit_id, counter.base + c.ordinal, c.principal, c.verb, c.kind, c.namespace, c.name, c.uid,
               c.before, c.after, c.note
        FROM change c, counter
    )
    SELECT counter.base, pg_notify(:channel, counter.last::text) FROM counter
    """
)


async def commit_changes(
    connection: AsyncConnection, changes: Sequence[tuple[Change, AuditEntry]]
) -> tuple[Change, ...]:
    """Writes the changes with their audit records as the next revisions, in order; the transaction's last statement.

    The same changes with the revisions they got. Raises AlreadyExists.
    """
    if not 0 < len(changes) <= MAX_CHANGES:
        raise ValueError(f"a transaction changes 1 to {MAX_CHANGES} objects")
    rows = [_row(ordinal, change, entry) for ordinal, (change, entry) in enumerate(changes, 1)]
    try:
        result = await connection.execute(_COMMIT, {"changes": json.dumps(rows), "channel": CHANNEL})
    except IntegrityError as error:
        constraint = str(getattr(error.orig.__cause__, "constraint_name", "")) if error.orig is not None else ""
        if constraint == "resources_name_key":
            raise AlreadyExists("metadata.name") from None
        if constraint == "resources_unique_value_key":
            unique = BY_KIND[changes[0][0].subject.api_version, changes[0][0].subject.kind].unique
            raise AlreadyExists(f"spec.{unique}") from None
        raise
    base = result.one().base
    return tuple(
        Change(
            change.before,
            replace(change.after, revision=base + ordinal) if change.after is not None else None,
            base + ordinal,
        )
        for ordinal, (change, _) in enumerate(changes, 1)
    )


async def record_audit(connection: AsyncConnection, entry: AuditEntry) -> None:
    """An audit record of something that changed no object: a secret was shown again, blobs were sealed anew."""
    await connection.execute(
        sa.insert(audit_records).values(
            id=entry.id,
            principal=dict(entry.principal),
            verb=entry.verb,
            kind=entry.subject.kind,
            namespace=entry.subject.namespace,
            name=entry.subject.name,
            uid=entry.subject.uid,
            note=dict(entry.note),
        )
    )


def _row(ordinal: int, change: Change, entry: AuditEntry) -> dict[str, Any]:
    subject = change.subject
    unique = BY_KIND[subject.api_version, subject.kind].unique
    return {
        "ordinal": ordinal,
        "type": change.type,
        "uid": str(subject.uid),
        "kind": subject.kind,
        "namespace": subject.namespace,
        "name": subject.name,
        "generation": subject.generation,
        "created_at": subject.created_at.isoformat(),
        "deleted_at": subject.deleted_at.isoformat() if subject.deleted_at else None,
        "labels": dict(subject.labels),
        "document": {
            "annotations": dict(subject.annotations),
            "ownerReferences": list(subject.owner_references),
            "finalizers": list(subject.finalizers),
            "spec": dict(subject.spec),
            "status": dict(subject.status),
        },
        "unique_value": subject.spec.get(unique) if unique else None,
        "before": change.before.to_document() if change.before else None,
        "after": change.after.to_document() if change.after else None,
        "previous_revision": change.before.revision if change.before else None,
        "audit_id": str(entry.id),
        "principal": dict(entry.principal),
        "verb": entry.verb,
        "note": dict(entry.note),
    }


def resource_of(row: Row[Any]) -> Resource:
    """The value of a row of `resources`."""
    document = row.document
    return Resource(
        api_version=_API_VERSION[row.kind],
        kind=row.kind,
        namespace=row.namespace,
        name=row.name,
        uid=row.uid,
        created_at=row.created_at,
        spec=document["spec"],
        status=document["status"],
        labels=row.labels,
        annotations=document["annotations"],
        owner_references=tuple(document["ownerReferences"]),
        finalizers=tuple(document["finalizers"]),
        generation=row.generation,
        revision=row.revision,
        deleted_at=row.deleted_at,
    )
