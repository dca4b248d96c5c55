"""JSON Schemas of everything the admin API reads and answers, by name, in the dialect of OpenAPI 3.0."""

from collections.abc import Mapping
from functools import cache
from inspect import getdoc

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from issuer.administration.explanation import Question
from issuer.administration.keys import CompromiseRequest
from issuer.administration.secrets import HandOutRequest
from issuer.manifests import parse_documents
from issuer.model.answers import (
    AuditRecordList,
    CompromisedKey,
    Config,
    Credential,
    DeleteOptions,
    Explanation,
    ListMeta,
    Status,
)
from issuer.model.conditions import Condition
from issuer.model.examples import EXAMPLES
from issuer.model.kinds import KINDS, Kind
from issuer.model.metadata import ObjectMeta
from issuer.model.recorded import DecisionRecordList, RefusalCountList, Usage
from issuer.protocol.authentication import METHOD_NAMES
from issuer.reference.dialect import Schema, in_openapi_3_0
from issuer.reference.discovery import APIGroup, APIGroupList, APIResourceList, APIVersions, VersionInfo

_MODELS: tuple[type[BaseModel], ...] = (
    ObjectMeta,
    ListMeta,
    Condition,
    Status,
    DeleteOptions,
    HandOutRequest,
    Credential,
    CompromiseRequest,
    CompromisedKey,
    Config,
    Question,
    Explanation,
    AuditRecordList,
    DecisionRecordList,
    RefusalCountList,
    Usage,
    APIVersions,
    APIGroup,
    APIGroupList,
    APIResourceList,
    VersionInfo,
)


def reference(name: str) -> Schema:
    """A reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


@cache
def component_schemas() -> Mapping[str, Schema]:
    """Every schema by its name: models, and for each kind the object and its list."""
    of_kinds = [model for kind in KINDS for model in (kind.spec, kind.status) if model is not None]
    _, found = models_json_schema(
        [(model, "validation") for model in dict.fromkeys((*of_kinds, *_MODELS))],
        ref_template="#/components/schemas/{model}",
    )
    schemas = {name: in_openapi_3_0(schema) for name, schema in found["$defs"].items()}
    # The one rule that stands in a table above the models.
    schemas["Authentication"]["properties"]["methods"]["items"]["enum"] = sorted(METHOD_NAMES)
    for kind in KINDS:
        schemas[kind.kind] = _object_of(kind)
        schemas[f"{kind.kind}List"] = _list_of(kind)
    schemas |= {"Patch": _PATCH, "StatusUpdate": _STATUS_UPDATE, "WatchEvent": _WATCH_EVENT}
    return dict(sorted(schemas.items()))


def group_version_kind(kind: Kind) -> dict[str, str]:
    """As `x-kubernetes-group-version-kind` says it."""
    group, _, version = kind.api_version.rpartition("/")
    return {"group": group, "version": version, "kind": kind.kind}


def _object_of(kind: Kind) -> Schema:
    wanted = kind.spec is not None and any(field.is_required() for field in kind.spec.model_fields.values())
    spec: Schema = (
        _NAMESPACE_SPEC
        if kind.spec is None
        else {
            "allOf": [reference(kind.spec.__name__)],
            "description": getdoc(kind.spec),
        }
    )
    properties: Schema = {
        "apiVersion": {"type": "string", "enum": [kind.api_version], "description": "Group and version."},
        "kind": {"type": "string", "enum": [kind.kind], "description": "The kind."},
        "metadata": {"allOf": [reference("ObjectMeta")], "description": getdoc(ObjectMeta)},
        "spec": spec if wanted else {"type": "object", **spec, "nullable": True},
    }
    if kind.status is not None:
        # Dropped from a main write, as in Kubernetes: it has a path of its own.
        properties["status"] = {
            "allOf": [reference(kind.status.__name__)],
            "readOnly": True,
            "description": getdoc(kind.status),
        }
    return {
        "type": "object",
        "description": kind.description,
        "required": ["metadata", "spec"] if wanted else ["metadata"],
        "properties": properties,
        "additionalProperties": False,
        "example": parse_documents(EXAMPLES[kind.kind])[0],
        "x-kubernetes-group-version-kind": [group_version_kind(kind)],
    }


def _list_of(kind: Kind) -> Schema:
    name = f"{kind.kind}List"
    return {
        "type": "object",
        "description": f"One page of a list of {kind.plural}.",
        "required": ["apiVersion", "kind", "metadata", "items"],
        "properties": {
            "apiVersion": {"type": "string", "enum": [kind.api_version], "description": "Group and version."},
            "kind": {"type": "string", "enum": [name], "description": "The kind."},
            "metadata": reference("ListMeta"),
            "items": {"type": "array", "items": reference(kind.kind), "description": "By namespace and name."},
        },
        "additionalProperties": False,
        "x-kubernetes-group-version-kind": [{**group_version_kind(kind), "kind": name}],
    }


_NAMESPACE_SPEC: Schema = {
    "description": "Nothing. `finalizers` is accepted because Kubernetes tools send it, and ignored.",
    "properties": {"finalizers": {"description": "Ignored."}},
    "additionalProperties": False,
}
_PATCH: Schema = {
    "type": "object",
    "description": "A JSON merge patch (RFC 7396): null removes, objects merge, everything else replaces. The object that "
    "comes of it is checked as a whole.",
    "additionalProperties": True,
    "example": {"metadata": {"labels": {"tier": "backend"}}},
}
_STATUS_UPDATE: Schema = {
    "type": "object",
    "description": "An object with the conditions its driver owns; they merge by type. What the issuer owns may be sent along "
    "as it was read.",
    "required": ["status"],
    "properties": {
        "metadata": {
            "type": "object",
            "nullable": True,
            "description": "`uid` and `resourceVersion` are preconditions; the rest is ignored.",
            "additionalProperties": True,
        },
        "status": {
            "type": "object",
            "description": "Of the fields beside `conditions` none may be changed.",
            "properties": {
                "conditions": {
                    "type": "array",
                    "items": reference("Condition"),
                    "description": "A driver owns `ConfigProvisioned`.",
                }
            },
            "additionalProperties": True,
        },
    },
    "additionalProperties": True,
}
_WATCH_EVENT: Schema = {
    "type": "object",
    "description": "One line of a watch.",
    "required": ["type", "object"],
    "properties": {
        "type": {
            "type": "string",
            "enum": ["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"],
            "description": "`BOOKMARK` only says how far the watch is; `ERROR` is the last one.",
        },
        "object": {
            "type": "object",
            "description": "The object; of `BOOKMARK` only its `metadata.resourceVersion`, of `ERROR` a Status.",
            "additionalProperties": True,
        },
    },
    "additionalProperties": False,
}
