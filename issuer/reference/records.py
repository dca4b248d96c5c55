"""The table of requests about what happened: audit records, decision records, and what is only counted."""

from dataclasses import replace

from issuer.administration.decisions import DECISION_RECORD
from issuer.administration.records import AUDIT_RECORD
from issuer.administration.usage import REFUSAL_COUNT
from issuer.model.faults import Reason
from issuer.reference.operation import ANY_CALL, GROUP_ROOT, ONE, Operation

_RECORDS = Operation(
    "get",
    f"{GROUP_ROOT}/namespaces/{{namespace}}/{AUDIT_RECORD.plural}",
    "listNamespacedAuditRecord",
    "List what was done to the objects of a namespace, the newest first",
    ("AuditRecordList",),
    verb="list",
    kind=AUDIT_RECORD,
    query=("recordKind", "recordName", "recordUid", "recordLimit"),
    refusals=ONE | {Reason.BAD_REQUEST},
)
AUDIT = (
    _RECORDS,
    replace(
        _RECORDS,
        path=f"{GROUP_ROOT}/{AUDIT_RECORD.plural}",
        id="listAuditRecordForAllNamespaces",
        summary="List what was done, the newest first",
    ),
)
"""Who did what to which object."""

_DECISIONS = replace(
    _RECORDS,
    path=f"{GROUP_ROOT}/namespaces/{{namespace}}/{DECISION_RECORD.plural}",
    id="listNamespacedDecisionRecord",
    summary="Search the tokens that accounts of a namespace got or were refused, the newest first",
    answer=("DecisionRecordList",),
    kind=DECISION_RECORD,
    query=(
        "decisionAccount",
        "decisionUid",
        "decisionOutcome",
        "decisionJti",
        "decisionScope",
        "decisionAudience",
        "decisionCredential",
        "decisionKid",
        "decisionTraceId",
        "decisionFrom",
        "decisionUntil",
        "decisionLimit",
        "decisionContinue",
    ),
)
DECISIONS = (
    _DECISIONS,
    replace(
        _DECISIONS,
        path=f"{GROUP_ROOT}/{DECISION_RECORD.plural}",
        id="listDecisionRecordForAllNamespaces",
        summary="Search the tokens that were issued or refused, the newest first",
    ),
)
"""Who got which token."""

REFUSALS = Operation(
    "get",
    f"{GROUP_ROOT}/{REFUSAL_COUNT.plural}",
    "listRefusalCount",
    "List how often strangers were refused, minute by minute, the newest first",
    ("RefusalCountList",),
    verb="list",
    kind=REFUSAL_COUNT,
    query=("refusalFrom", "refusalUntil", "refusalLimit"),
    refusals=ANY_CALL | {Reason.BAD_REQUEST},
)
"""Who got none."""
