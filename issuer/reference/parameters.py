"""What may stand in paths and queries. A test finds every name the code reads of a query, and looks for it here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from issuer.administration.decisions import LIMIT as DEFAULT_DECISION_LIMIT
from issuer.administration.decisions import MAX_LIMIT as DECISION_LIMIT
from issuer.administration.decisions import OUTCOMES
from issuer.administration.queries import WINDOW
from issuer.administration.reading import LIST_LIMIT, MAX_LIST_LIMIT
from issuer.administration.records import LIMIT as DEFAULT_RECORD_LIMIT
from issuer.administration.records import MAX_LIMIT as RECORD_LIMIT
from issuer.administration.usage import DAYS, MAX_DAYS, REFUSAL_LIMIT
from issuer.model.kinds import RECORDED_KINDS
from issuer.model.metadata import DNS_SUBDOMAIN


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: what it means, and its schema. `name` where it is not the key it stands at."""

    description: str
    schema: Mapping[str, Any]
    name: str = ""


_TEXT = {"type": "string"}
_SWITCH = {"type": "boolean", "default": False}
_NAME = {"type": "string", "pattern": f"^{DNS_SUBDOMAIN.pattern}$", "minLength": 1, "maxLength": 253}
_WORD = {"type": "string", "minLength": 1, "maxLength": 512}
_INSTANT = {"type": "string", "format": "date-time"}
_REVISION = {"type": "string", "pattern": "^[0-9]{0,18}$"}

QUERY: Mapping[str, Parameter] = {
    "labelSelector": Parameter(
        "Only objects with these labels: `tier=backend,env in (prod,stage),team,!legacy`. Requirements add up.", _TEXT
    ),
    "fieldSelector": Parameter(
        "Only objects of this name or namespace: `metadata.name=x`, `metadata.namespace=y`, or both.", _TEXT
    ),
    "limit": Parameter(
        f"How many objects a page holds at most; {LIST_LIMIT} when left out, never more than {MAX_LIST_LIMIT}. Great "
        "objects make a page shorter: only one without `metadata.continue` is the last.",
        {"type": "integer", "minimum": 0, "maximum": 999_999_999},
    ),
    "continue": Parameter(
        "`metadata.continue` of the page before. The selectors must be the same; every page shows the first one's revision.",
        _TEXT,
    ),
    "resourceVersion": Parameter(
        "In a list: the revision it must at least show (`resourceVersionMatch` says otherwise). In a watch: the revision it "
        "goes on from; without one it begins with everything there is, as ADDED. One that is too old is answered with 410.",
        _REVISION,
    ),
    "resourceVersionMatch": Parameter(
        "Whether `resourceVersion` is the least revision a list must show, or the very one.",
        {"type": "string", "enum": ["NotOlderThan", "Exact"]},
    ),
    "watch": Parameter(
        "Whether to answer with a stream of changes, one WatchEvent as JSON on each line. An object that stops matching a "
        "selector is DELETED.",
        _SWITCH,
    ),
    "allowWatchBookmarks": Parameter("Whether a watch says now and then how far it is.", _SWITCH),
    "timeoutSeconds": Parameter(
        "When a watch ends; after half an hour to an hour when left out.",
        {"type": "integer", "minimum": 0, "maximum": 999_999_999},
    ),
    "dryRun": Parameter(
        "`All`: everything is checked and answered, nothing is written. The dry run of a policy says whom it would narrow or "
        "refuse, in `status.effect`.",
        {"type": "string", "enum": ["All"]},
    ),
    "managedBy": Parameter(
        "The uid in `spec.managedBy`: says that the request comes from the account's own driver.", _TEXT
    ),
    "force": Parameter("Whether to go ahead although another driver manages the account.", _SWITCH),
    "emergency": Parameter(
        "Whether the next key signs although verifiers may not know it yet: their answers are 401 until they do.",
        _SWITCH,
    ),
    "fieldManager": Parameter("Accepted because Kubernetes tools send it; ignored.", _TEXT),
    "fieldValidation": Parameter(
        "Accepted because Kubernetes tools send it; unknown fields are errors, whatever it says.", _TEXT
    ),
    "recordKind": Parameter(
        "Only records about objects of this kind; `MasterKey`: what `issuer rekey` did.",
        {"type": "string", "enum": list(RECORDED_KINDS)},
        "kind",
    ),
    "recordName": Parameter("Only records about objects of this name.", _NAME, "name"),
    "recordUid": Parameter("Only records about this very object.", {"type": "string", "format": "uuid"}, "uid"),
    "recordLimit": Parameter(
        "How many records at most.",
        {"type": "integer", "minimum": 1, "maximum": RECORD_LIMIT, "default": DEFAULT_RECORD_LIMIT},
        "limit",
    ),
    "decisionAccount": Parameter(
        "Only decisions about the account that has this name now; where none has it, about those that had. An account that is "
        "gone is found by its uid.",
        _NAME,
        "account",
    ),
    "decisionUid": Parameter("Only decisions about this very account.", {"type": "string", "format": "uuid"}, "uid"),
    "decisionOutcome": Parameter(
        "Only tokens (`issued`), only refusals (`refused`), or those of one cause.",
        {"type": "string", "enum": list(OUTCOMES)},
        "outcome",
    ),
    "decisionJti": Parameter("Only the token with this id.", _WORD, "jti"),
    "decisionScope": Parameter("Only those with this scope: granted, or asked for and refused.", _WORD, "scope"),
    "decisionAudience": Parameter("Only those for this audience.", _WORD, "audience"),
    "decisionCredential": Parameter("Only those for which this was presented: `secret/3`.", _WORD, "credential"),
    "decisionKid": Parameter("Only tokens that this key signed.", _WORD, "kid"),
    "decisionTraceId": Parameter(
        "Only those of this trace (W3C Trace Context).", {"type": "string", "pattern": "^[0-9a-f]{32}$"}, "traceId"
    ),
    "decisionFrom": Parameter(
        f"Only from this instant on; {int(WINDOW.total_seconds() // 3600)} hours before `until` or now when left out.",
        _INSTANT,
        "from",
    ),
    "decisionUntil": Parameter("Only before this instant.", _INSTANT, "until"),
    "decisionLimit": Parameter(
        "How many records a page holds at most.",
        {"type": "integer", "minimum": 1, "maximum": DECISION_LIMIT, "default": DEFAULT_DECISION_LIMIT},
        "limit",
    ),
    "decisionContinue": Parameter(
        "`metadata.continue` of the page before; everything else but `limit` must be the same.", _TEXT, "continue"
    ),
    "days": Parameter(
        "How many days are summed up, today included.",
        {"type": "integer", "minimum": 1, "maximum": MAX_DAYS, "default": DAYS},
    ),
    "refusalFrom": Parameter("Only minutes from this instant on.", _INSTANT, "from"),
    "refusalUntil": Parameter("Only minutes before this instant.", _INSTANT, "until"),
    "refusalLimit": Parameter(
        "How many counts at most.",
        {"type": "integer", "minimum": 1, "maximum": REFUSAL_LIMIT, "default": REFUSAL_LIMIT},
        "limit",
    ),
    "verbose": Parameter("Says it of each process; whatever its value. Needs a token.", _TEXT),
    "propagationPolicy": Parameter("Accepted because Kubernetes tools send it; ignored.", _TEXT),
    "gracePeriodSeconds": Parameter("Accepted because Kubernetes tools send it; ignored.", _TEXT),
}

PATH: Mapping[str, Parameter] = {
    "namespace": Parameter("The namespace.", {**_NAME, "maxLength": 63}),
    "name": Parameter("The object's name.", _NAME),
    "version": Parameter("The secret version.", {"type": "integer", "minimum": 1, "maximum": 999_999_999}),
}
