"""The list of audit records: who did what to which object (DESIGN section 3). They outlive what they are about."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from issuer.administration.authorize import Principal, authorize
from issuer.administration.queries import ObjectName, parse_query
from issuer.model.kinds import RECORDED_KINDS, Kind
from issuer.model.resource import API_VERSION, GROUP
from issuer.model.times import format_time
from issuer.store.audit import AuditRecord, RecordFilter, newest_records
from issuer.store.database import Database

AUDIT_RECORD = Kind("AuditRecord", "auditrecords", None, namespaced=True, writable=False)
"""How the records are addressed. No row of the table of kinds: nobody writes, names or watches them."""
LIMIT = 50
MAX_LIMIT = 500


class RecordQuery(BaseModel):
    """What the query may say; all of it narrows the list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal[RECORDED_KINDS] | None = None  # type: ignore[valid-type]
    name: ObjectName | None = None
    uid: UUID | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = LIMIT


class AuditRecords:
    """Records of what was done through the write path."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, principal: Principal, namespace: str, query: Sequence[tuple[str, str]]
    ) -> list[dict[str, Any]]:
        """The newest records first, of one namespace's objects or of all (""), as API objects. Raises Fault.

        A namespace that does not exist (any more) is no fault: its records are still there.
        """
        authorize(principal, "list", GROUP, AUDIT_RECORD.plural, namespace, "")
        parsed = parse_query(RecordQuery, AUDIT_RECORD, query)
        wanted = RecordFilter(namespace or None, parsed.kind, parsed.name, parsed.uid)
        async with self._database.transaction() as connection:
            return [_to_json(record) for record in await newest_records(connection, wanted, parsed.limit)]


def _to_json(record: AuditRecord) -> dict[str, Any]:
    within = {"namespace": record.namespace} if record.namespace else {}
    parts: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": AUDIT_RECORD.kind,
        "metadata": {"name": str(record.id), **within, "creationTimestamp": format_time(record.at)},
        "principal": record.principal,
        "verb": record.verb,
        "subject": {"kind": record.kind, **within, "name": record.name, "uid": str(record.uid) if record.uid else None},
        "revision": str(record.revision) if record.revision is not None else None,
        "before": record.before,
        "after": record.after,
        "note": record.note or None,
    }
    return {key: value for key, value in parts.items() if value is not None}
