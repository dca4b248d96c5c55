"""One decision about a token, as it is kept: who asked, proven how, for what; what was granted or why nothing was.

The bytes a decision stands for are fixed here, once: chains are computed over them, spools hold them, and what the database
gives back is compared with them. Another field is another format.
"""

import json
from datetime import datetime
from typing import NamedTuple, TypeAlias
from uuid import UUID

from issuer.events import TokenIssued, TokenRefused

ISSUED = "issued"
Decided: TypeAlias = TokenIssued | TokenRefused
"""The events of which a record is made: a token, and a refusal that names a caller."""


class DecisionRecord(NamedTuple):
    """A decision, its fields in the order of the table's columns.

    `id`: a UUIDv7; of one writer the later is the greater. `outcome`: `issued`, or the name of the refusal, whose `cause` is
    in our words. `policies`: JSON, pairs of a policy with a say and its revision. `trace_id`: of the caller's trace context.
    """

    id: UUID
    at: datetime
    outcome: str
    cause: str
    account_uid: UUID
    namespace: str
    name: str
    account_revision: int
    method: str
    credential: str
    source: str
    requested_scope: str | None
    requested_audience: str | None
    scope: str | None
    audience: str | None
    ttl_s: int | None
    jti: str | None
    kid: str | None
    policies: str
    trace_id: str | None


_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def record_of(event: Decided, event_id: UUID, at: datetime) -> DecisionRecord:
    """The record of a decision. A refusal must name its caller: of strangers there is only a number."""
    caller = event.caller
    if caller is None:
        raise ValueError("nobody was authenticated: this is no decision about an account")
    issued = event if isinstance(event, TokenIssued) else None
    refused = event if isinstance(event, TokenRefused) else None
    return DecisionRecord(
        event_id,
        at,
        refused.failure if refused is not None else ISSUED,
        refused.cause if refused is not None else "",
        caller.uid,
        caller.namespace,
        caller.name,
        caller.revision,
        caller.method,
        caller.credential,
        caller.source,
        event.requested_scope,
        event.requested_audience,
        issued.scope if issued is not None else None,
        issued.audience if issued is not None else None,
        issued.ttl_s if issued is not None else None,
        issued.jti if issued is not None else None,
        issued.kid if issued is not None else None,
        event.policies,
        caller.trace_id,
    )


def to_bytes(record: DecisionRecord) -> bytes:
    """The decision as one line of JSON, a list of its fields: no two decisions have the same bytes."""
    fields = (record.id.hex, record.at.isoformat(), *record[2:4], record.account_uid.hex, *record[5:])
    return _to_json(fields).encode()


def from_bytes(line: bytes) -> DecisionRecord:
    """The decision those bytes stand for. Raises ValueError for anything else."""
    fields = json.loads(line)
    if not isinstance(fields, list) or len(fields) != len(DecisionRecord._fields):
        raise ValueError("is not a decision of this format")
    try:
        fields[0], fields[1], fields[4] = UUID(fields[0]), datetime.fromisoformat(fields[1]), UUID(fields[4])
    except (AttributeError, TypeError):
        raise ValueError("is not a decision of this format") from None
    return DecisionRecord(*fields)
