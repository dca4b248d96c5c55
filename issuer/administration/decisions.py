"""The list of decision records: every token that was issued, and every refusal of an account that had proven who it is."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from issuer.administration.authorize import Principal, authorize
from issuer.administration.queries import ObjectName, Pairs, Stretch, Text, parse_query
from issuer.failures import Failure
from issuer.model.durations import format_duration
from issuer.model.kinds import Kind
from issuer.model.resource import API_VERSION, GROUP
from issuer.model.times import format_time
from issuer.record.decision import ISSUED, DecisionRecord
from issuer.store.database import Database
from issuer.store.partitions import first_id_at
from issuer.store.search import DecisionFilter, account_uid_of, find_decisions

DECISION_RECORD = Kind("DecisionRecord", "decisionrecords", None, namespaced=True, writable=False)
"""How the records are addressed. No row of the table of kinds: nobody writes, names or watches them."""
LIMIT = 50
MAX_LIMIT = 500
REFUSED = "refused"
OUTCOMES = (ISSUED, REFUSED, *sorted(failure.name.lower() for failure in Failure))


class DecisionQuery(Stretch):
    """What the query may say; all of it narrows the list."""

    account: ObjectName | None = None
    uid: UUID | None = None
    outcome: Literal[OUTCOMES] | None = None  # type: ignore[valid-type]
    jti: Text | None = None
    scope: Text | None = None
    audience: Text | None = None
    credential: Text | None = None
    kid: Text | None = None
    trace_id: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = LIMIT


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins, before a record, and where the list ends."""

    before: UUID
    least: UUID


@dataclass(frozen=True, slots=True)
class DecisionPage:
    """Records as API objects. `rest`: where what was not looked at yet begins; None: there is no more."""

    items: list[dict[str, Any]]
    rest: Place | None


class DecisionRecords:
    """The record of token decisions, to be searched."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    async def list(self, principal: Principal, namespace: str, query: Pairs, place: Place | None) -> DecisionPage:
        """A page, the newest first, of one namespace's accounts or of all (""). Raises Fault.

        It may hold less than the limit, even nothing, although there is a rest: a page is also over when enough was looked at.
        """
        authorize(principal, "list", GROUP, DECISION_RECORD.plural, namespace, "")
        parsed = parse_query(DecisionQuery, DECISION_RECORD, query)
        if place is None:
            least = first_id_at(parsed.begin(self._now()))
            before = first_id_at(parsed.until) if parsed.until is not None else None
        else:
            least, before = place.least, place.before
        async with self._database.transaction() as connection:
            equal: dict[str, Any] = {"namespace": namespace} if namespace else {}
            if parsed.account is not None:
                uid = await account_uid_of(connection, namespace, parsed.account) if namespace else None
                equal |= {"account_uid": uid} if uid is not None else {"name": parsed.account}
            wanted = _filter_of(parsed, equal)
            found = await find_decisions(connection, wanted, least, before, parsed.limit)
        rest = Place(found.rest, least) if found.rest is not None else None
        return DecisionPage([_to_json(record) for record in found.records], rest)


def _filter_of(parsed: DecisionQuery, equal: dict[str, Any]) -> DecisionFilter:
    named = {
        "outcome": parsed.outcome if parsed.outcome != REFUSED else None,
        "jti": parsed.jti,
        "credential": parsed.credential,
        "kid": parsed.kid,
        "trace_id": parsed.trace_id,
        **({"account_uid": parsed.uid} if parsed.uid is not None else {}),
    }
    return DecisionFilter(
        parsed.outcome == REFUSED,
        parsed.scope,
        parsed.audience,
        {**equal, **{name: value for name, value in named.items() if value is not None}},
    )


def _to_json(record: DecisionRecord) -> dict[str, Any]:
    requested = {"scope": record.requested_scope, "audience": record.requested_audience}
    granted = {
        "scope": record.scope,
        "audience": record.audience,
        "accessTokenTTL": format_duration(record.ttl_s) if record.ttl_s is not None else None,
        "jti": record.jti,
        "kid": record.kid,
    }
    parts: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": DECISION_RECORD.kind,
        "metadata": {
            "name": str(record.id),
            "namespace": record.namespace,
            "creationTimestamp": format_time(record.at),
        },
        "outcome": record.outcome,
        "cause": record.cause or None,
        "account": {
            "name": record.name,
            "uid": str(record.account_uid),
            "resourceVersion": str(record.account_revision),
        },
        "method": record.method,
        "credential": record.credential,
        "source": record.source,
        "requested": {key: value for key, value in requested.items() if value is not None},
        "granted": {key: value for key, value in granted.items() if value is not None} or None,
        "policies": [{"policy": policy, "revision": str(revision)} for policy, revision in json.loads(record.policies)],
        "traceId": record.trace_id,
    }
    return {key: value for key, value in parts.items() if value is not None}
