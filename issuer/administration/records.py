"""The list of audit records: who did what to which object (DESIGN section 3). They outlive what they are about."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from issuer.administration.authorize import Principal, authorize
from issuer.model.faults import Cause, Fault, Reason, causes_of
from issuer.model.kinds import RECORDED_KINDS, Kind
from issuer.model.metadata import is_dns_subdomain
from issuer.model.resource import API_VERSION, GROUP
from issuer.model.times import format_time
from issuer.store.audit import AuditRecord, RecordFilter, newest_records
from issuer.store.database import Database

AUDIT_RECORD = Kind("AuditRecord", "auditrecords", None, namespaced=True, writable=False)
"""How the records are addressed. No row of the table of kinds: nobody writes, names or watches them."""
LIMIT = 50
MAX_LIMIT = 500


def _possible_name(name: str) -> str:
    if not is_dns_subdomain(name):
        raise PydanticCustomError("name", "must be a name that an object can have")
    return name


class RecordQuery(BaseModel):
    """What the query may say; all of it narrows the list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal[RECORDED_KINDS] | None = None  # type: ignore[valid-type]
    name: Annotated[str, AfterValidator(_possible_name)] | None = None
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
        parsed = _parse_query(query)
        wanted = RecordFilter(namespace or None, parsed.kind, parsed.name, parsed.uid)
        async with self._database.transaction() as connection:
            return [_to_json(record) for record in await newest_records(connection, wanted, parsed.limit)]


def _parse_query(query: Sequence[tuple[str, str]]) -> RecordQuery:
    names = [name for name, _ in query]
    causes = [
        Cause(name, "FieldValueDuplicate", "stands there twice")
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    try:
        parsed = RecordQuery.model_validate(dict(query))
    except ValidationError as error:
        causes += causes_of(error)
    else:
        if not causes:
            return parsed
    said = "; ".join(f"{cause.field}: {cause.message}" for cause in causes)
    raise Fault(Reason.BAD_REQUEST, f"the query cannot be used: {said}", kind=AUDIT_RECORD.kind, causes=causes)


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
