"""Audit records as they are read. They are written with the change itself (`store.resources`), and never changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from issuer.store.tables import audit_records


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """Which records are wanted: those whose subject has every part that is given. `namespace` None: everywhere."""

    namespace: str | None
    kind: str | None
    name: str | None
    uid: UUID | None


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """Who did what to which object, and how it was before and after. No secret is in it."""

    id: UUID
    at: datetime
    revision: int | None
    principal: Mapping[str, Any]
    verb: str
    kind: str
    namespace: str
    name: str
    uid: UUID | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    note: Mapping[str, Any]


async def newest_records(connection: AsyncConnection, wanted: RecordFilter, limit: int) -> list[AuditRecord]:
    """At most `limit` records, the newest first: by id, which begins with the clock of the replica that wrote it."""
    query = sa.select(audit_records).order_by(audit_records.c.id.desc()).limit(limit)
    for column in ("namespace", "kind", "name", "uid"):
        value = getattr(wanted, column)
        if value is not None:
            query = query.where(audit_records.c[column] == value)
    return [AuditRecord(**row) for row in (await connection.execute(query)).mappings()]
