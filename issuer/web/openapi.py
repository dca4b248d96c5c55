"""The OpenAPI document of the admin port, from the table of requests and the models.

Version 3.0.3: `reference.dialect` says why. Paths are relative to the document's own server, so that it is true behind any
host name; only the token endpoint is named whole, because it is on another port.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from issuer.model.faults import Reason
from issuer.model.scopes import ADMIN_AUDIENCE, ADMIN_READ_SCOPE, ADMIN_SCOPE
from issuer.protocol.metadata import TOKEN_PATH
from issuer.reference.errors import MEANINGS
from issuer.reference.operation import Operation
from issuer.reference.operations import operations
from issuer.reference.parameters import PATH, QUERY, Parameter
from issuer.reference.schemas import component_schemas, group_version_kind, reference

_DESCRIPTION = f"""\
Resources in the conventions of the Kubernetes API: metadata, spec and status, optimistic concurrency by resourceVersion,
lists and watches, merge patches, dry runs, and errors as Status objects that name every fault at once.

Every request needs an access token of this issuer for the audience `{ADMIN_AUDIENCE}`: ask the token endpoint with
`grant_type=client_credentials` and `resource={ADMIN_AUDIENCE}`, as an account in `issuer-system` that holds
`{ADMIN_SCOPE}`, or `{ADMIN_READ_SCOPE}` for reading.

Bodies are JSON, or YAML that could be JSON. Answers are YAML when `Accept` asks for it.
"""
_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait before trying again.", "schema": {"type": "integer", "minimum": 0}}
}
_HEADERS: Mapping[Reason, Mapping[str, Any]] = {
    Reason.UNAUTHORIZED: {
        "WWW-Authenticate": {"description": "How to authenticate (RFC 6750).", "schema": {"type": "string"}}
    },
    Reason.TOO_MANY_REQUESTS: _RETRY_AFTER,
    Reason.SERVICE_UNAVAILABLE: _RETRY_AFTER,
}
_READ = ("application/json", "application/yaml")
_TEXTS: Mapping[str, tuple[str, ...]] = {
    "/reference": ("text/markdown", "text/html"),
    "/metrics": ("text/plain", "application/openmetrics-text"),
}
_BODIES: Mapping[str, tuple[str, ...]] = {"patch": ("application/merge-patch+json",)}


def openapi_document(issuer: str, version: str) -> Mapping[str, Any]:
    """The document. `issuer`: the URL that the token endpoint stands below."""
    paths: dict[str, dict[str, Any]] = {}
    for each in operations():
        item = paths.setdefault(each.path, {"parameters": _path_parameters(each.path)})
        item[each.method] = _operation(each)
    return {
        "openapi": "3.0.3",
        "info": {"title": "Issuer", "version": version, "description": _DESCRIPTION, "license": _LICENSE},
        "servers": [{"url": "/", "description": "The admin port."}],
        "paths": paths,
        "components": {
            "schemas": {**component_schemas(), "OpenApi": {"type": "object", "additionalProperties": True}},
            "responses": {reason.name: _refusal(reason) for reason in MEANINGS},
            "parameters": {name: _parameter(name, "query", each) for name, each in QUERY.items()},
            "securitySchemes": _security_schemes(issuer),
        },
    }


_LICENSE = {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}


def _security_schemes(issuer: str) -> dict[str, Any]:
    scopes = {
        ADMIN_SCOPE: "Read and write everything, secrets included.",
        ADMIN_READ_SCOPE: "Read everything but secrets.",
    }
    return {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": f"An access token of this issuer for the audience `{ADMIN_AUDIENCE}`.",
        },
        "clientCredentials": {
            "type": "oauth2",
            "description": f"Send `resource={ADMIN_AUDIENCE}` beside the grant type.",
            "flows": {"clientCredentials": {"tokenUrl": issuer + TOKEN_PATH, "scopes": scopes}},
        },
    }


def _operation(each: Operation) -> dict[str, Any]:
    said: dict[str, Any] = {
        "operationId": each.id,
        "summary": each.summary,
        "tags": [each.kind.kind if each.kind else "About"],
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in each.query],
        "responses": {str(each.code): _answer(each), **_refusals(each)},
        "security": [{"bearer": []}, {"clientCredentials": [each.scope]}] if each.guarded else [],
    }
    if each.kind is not None:
        said["x-kubernetes-action"] = each.verb
        said["x-kubernetes-group-version-kind"] = group_version_kind(each.kind)
    if each.body:
        accepted = _BODIES.get(each.method, _READ)
        # Where nothing need be sent, null is nothing.
        optional = {"type": "object", "allOf": [reference(each.body)], "nullable": True}
        schema = reference(each.body) if each.body_required else optional
        content = {media_type: {"schema": schema} for media_type in accepted}
        said["requestBody"] = {"required": each.body_required, "content": content}
    return said


def _answer(each: Operation) -> dict[str, Any]:
    said: dict[str, Any] = {"description": HTTPStatus(each.code).phrase, "content": _content(each)}
    if each.verb in {"create", "update", "patch"} and not each.subresource:
        text = "What the writer should know although it was accepted."
        said["headers"] = {"Warning": {"description": text, "schema": {"type": "string"}}}
    return said


def _content(each: Operation) -> dict[str, Any]:
    if not each.answer:
        return {media_type: {"schema": {"type": "string"}} for media_type in _TEXTS.get(each.path, ("text/plain",))}
    schemas = [reference(name) for name in each.answer]
    schema = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
    content = {media_type: {"schema": schema} for media_type in _READ}
    if "watch" in each.query:
        content["application/json;stream=watch"] = {"schema": reference("WatchEvent")}
    return content


def _refusals(each: Operation) -> dict[str, Any]:
    said: dict[str, Any] = {
        str(reason.code): {"$ref": f"#/components/responses/{reason.name}"}
        for reason in sorted(each.refusals, key=lambda reason: reason.code)
    }
    if not each.answer and Reason.SERVICE_UNAVAILABLE in each.refusals:
        # Health is read by people and probes.
        not_now = {"description": "Not now; the text says why.", "headers": _RETRY_AFTER, "content": _content(each)}
        said[str(Reason.SERVICE_UNAVAILABLE.code)] = not_now
    return said


def _refusal(reason: Reason) -> dict[str, Any]:
    said = {
        "description": MEANINGS[reason],
        "content": {media_type: {"schema": reference("Status")} for media_type in _READ},
    }
    return {**said, "headers": _HEADERS[reason]} if reason in _HEADERS else said


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {**_parameter(name, "path", each), "required": True} for name, each in PATH.items() if f"{{{name}}}" in path
    ]


def _parameter(name: str, place: str, parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name or name,
        "in": place,
        "description": parameter.description,
        "schema": parameter.schema,
    }
