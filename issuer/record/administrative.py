"""Records of what administrators did, as the bytes their one chain is computed over.

They are written by the transaction that they are about, and sealed a moment later, in the order of their revisions: a MAC
inside that transaction would make every write wait for the one before.
"""

import json
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

ADMIN_CHAIN = UUID(int=0)
"""The writer of the chain of all administrative records: no process has this id."""


class AdministrativeRecord(NamedTuple):
    """One row of `audit_records`, its documents as PostgreSQL writes them: what is parsed and written again is another text."""

    id: UUID
    at: datetime
    revision: int | None
    principal: str
    verb: str
    kind: str
    namespace: str
    name: str
    uid: UUID | None
    before: str | None
    after: str | None
    note: str


def administrative_bytes(record: AdministrativeRecord) -> bytes:
    """The record as one line of JSON, a list of its fields; no decision has the same bytes."""
    uid = record.uid.hex if record.uid is not None else None
    fields = ("admin", record.id.hex, record.at.isoformat(), *record[2:8], uid, *record[9:])
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
