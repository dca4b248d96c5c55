"""The table of requests: every path and method of the admin port, with what it reads, answers and refuses.

From it come the OpenAPI document, the discovery documents and the reference page. A test holds it against the routes that
are really served: a path without a row here, or a row without a path, does not pass.
"""

from collections.abc import Iterator
from dataclasses import replace

from issuer.model.faults import Reason
from issuer.model.kinds import KEY_SET, KINDS, NAMESPACE, SERVICE_ACCOUNT, Kind
from issuer.model.resource import GROUP
from issuer.reference.operation import GROUP_ROOT, ONE, Operation
from issuer.reference.records import AUDIT, DECISIONS, REFUSALS

_LISTING = (
    "labelSelector",
    "fieldSelector",
    "limit",
    "continue",
    "resourceVersion",
    "resourceVersionMatch",
    "watch",
    "allowWatchBookmarks",
    "timeoutSeconds",
)
_WRITING = ("dryRun", "fieldManager", "fieldValidation")
_WITH_BODY = ONE | {Reason.BAD_REQUEST, Reason.TOO_LARGE, Reason.UNSUPPORTED_MEDIA_TYPE, Reason.INVALID}
_CHANGE = _WITH_BODY | {Reason.CONFLICT}


def operations() -> tuple[Operation, ...]:
    """The whole table, in the order of the table of kinds."""
    return (*DOCUMENTS, *(each for kind in KINDS for each in operations_of(kind)), *AUDIT, *DECISIONS, REFUSALS)


def operations_of(kind: Kind) -> tuple[Operation, ...]:
    """What can be done with a kind and its sub-resources."""
    subresources = {SERVICE_ACCOUNT: _ACCOUNT_SUBRESOURCES, KEY_SET: _KEYSET_SUBRESOURCES}.get(kind, ())
    return tuple(replace(each, kind=kind) for each in (*_of_objects(kind), *subresources))


def _of_objects(kind: Kind) -> Iterator[Operation]:
    """Named as Kubernetes names them: `listNamespacedServiceAccount`."""
    root = "/api/v1" if kind is NAMESPACE else GROUP_ROOT
    reach = f"Namespaced{kind.kind}" if kind.namespaced else kind.kind
    many = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
    one = f"{many}/{{name}}"
    listed = ONE | {Reason.BAD_REQUEST, Reason.EXPIRED, Reason.INVALID, Reason.TOO_MANY_REQUESTS}
    listing = Operation(
        "get",
        many,
        f"list{reach}",
        f"List or watch {kind.plural}",
        (f"{kind.kind}List",),
        verb="list",
        query=_LISTING,
        refusals=listed,
    )
    yield listing
    if kind.namespaced:
        summary = f"List or watch {kind.plural} of all namespaces"
        yield replace(listing, path=f"{root}/{kind.plural}", id=f"list{kind.kind}ForAllNamespaces", summary=summary)
    yield Operation("get", one, f"read{reach}", f"Read a {kind.kind}", (kind.kind,), refusals=ONE)
    if not kind.writable:
        return
    replacing = Operation(
        "put",
        one,
        f"replace{reach}",
        f"Replace a {kind.kind}",
        (kind.kind,),
        verb="update",
        query=_WRITING,
        body=kind.kind,
        refusals=_CHANGE,
    )
    yield replace(
        replacing,
        method="post",
        path=many,
        id=f"create{reach}",
        summary=f"Create a {kind.kind}",
        code=201,
        verb="create",
    )
    yield replacing
    yield replace(
        replacing,
        method="patch",
        id=f"patch{reach}",
        summary=f"Change parts of a {kind.kind}",
        verb="patch",
        body="Patch",
    )
    yield replace(
        replacing,
        method="delete",
        id=f"delete{reach}",
        summary=f"Delete a {kind.kind}",
        # The object, while it waits for its finalizers or contents.
        answer=("Status", kind.kind),
        verb="delete",
        query=("dryRun", "managedBy", "force", "propagationPolicy", "gracePeriodSeconds"),
        body="DeleteOptions",
        body_required=False,
    )


_ACCOUNT = f"{GROUP_ROOT}/namespaces/{{namespace}}/{SERVICE_ACCOUNT.plural}/{{name}}"
_STATUS = Operation(
    "get",
    f"{_ACCOUNT}/status",
    "readNamespacedServiceAccountStatus",
    "Read a ServiceAccount for its status",
    ("ServiceAccount",),
    subresource="status",
    refusals=ONE,
)
_STATUS_WRITE = replace(
    _STATUS,
    method="put",
    id="replaceNamespacedServiceAccountStatus",
    summary="Write the conditions that a driver owns",
    verb="update",
    query=_WRITING,
    body="StatusUpdate",
    refusals=_CHANGE,
)
_SECRET = Operation(
    "post",
    f"{_ACCOUNT}/credentials",
    "createNamespacedServiceAccountCredentials",
    "Get the next secret: one that nobody was given yet, else a new one",
    ("Credential",),
    code=201,
    verb="create",
    subresource="credentials",
    query=("managedBy", "force"),
    body="HandOutRequest",
    body_required=False,
    refusals=_CHANGE,
)
_KNOWN_SECRET = replace(_SECRET, code=200, query=(), body="", refusals=ONE | {Reason.BAD_REQUEST, Reason.CONFLICT})
_ACCOUNT_SUBRESOURCES = (
    _STATUS,
    _STATUS_WRITE,
    replace(_STATUS_WRITE, method="patch", id="patchNamespacedServiceAccountStatus", verb="patch"),
    Operation(
        "get",
        f"{_ACCOUNT}/config",
        "readNamespacedServiceAccountConfig",
        "Read what a workload needs beside its secret",
        ("Config",),
        subresource="config",
        refusals=ONE,
    ),
    Operation(
        "get",
        f"{_ACCOUNT}/usage",
        "readNamespacedServiceAccountUsage",
        "Read how often an account was used, when, by what, for what and from where",
        ("Usage",),
        subresource="usage",
        query=("days",),
        refusals=ONE | {Reason.BAD_REQUEST},
    ),
    Operation(
        "post",
        f"{_ACCOUNT}/explain",
        "explainNamespacedServiceAccount",
        "Explain what a token request would get, and by which line of which policy",
        ("Explanation",),
        subresource="explain",
        body="Question",
        body_required=False,
        refusals=_WITH_BODY,
    ),
    _SECRET,
    replace(
        _KNOWN_SECRET,
        method="get",
        path=f"{_ACCOUNT}/credentials/current",
        id="readNamespacedServiceAccountCurrentCredentials",
        summary="Read the newest secret again, until it is acknowledged",
        verb="get",
    ),
    replace(
        _KNOWN_SECRET,
        path=f"{_ACCOUNT}/credentials/{{version}}/acknowledge",
        id="acknowledgeNamespacedServiceAccountCredentials",
        summary="Say that a secret is stored, so that the one before it may go",
        answer=("ServiceAccount",),
    ),
)

_ROTATE = Operation(
    "post",
    f"{GROUP_ROOT}/{KEY_SET.plural}/{{name}}/rotate",
    "rotateKeySet",
    "Let the next key sign now, if every verifier knows it; in an emergency whether they do or not",
    ("KeySet",),
    verb="create",
    subresource="rotate",
    query=("dryRun", "emergency"),
    refusals=(_CHANGE | {Reason.BAD_REQUEST}) - {Reason.INVALID},
)
_KEYSET_SUBRESOURCES = (
    _ROTATE,
    replace(
        _ROTATE,
        path=f"{GROUP_ROOT}/{KEY_SET.plural}/{{name}}/compromise",
        id="compromiseKeySet",
        summary="Take a key that others may have out of the JWKS at once; if it signed, the next one does",
        answer=("CompromisedKey",),
        subresource="compromise",
        query=("dryRun",),
        body="CompromiseRequest",
        refusals=_WITH_BODY,
    ),
)

_HEALTH = Operation("get", "/livez", "getLivez", "Whether the process runs", (), refusals=frozenset(), guarded=False)
_DOCUMENT = Operation("get", "/version", "getVersion", "The version of this issuer", ("VersionInfo",))
DOCUMENTS = (
    _HEALTH,
    replace(
        _HEALTH,
        path="/readyz",
        id="getReadyz",
        summary="Whether tokens can be issued; if not, why",
        query=("verbose",),
        refusals=frozenset({Reason.SERVICE_UNAVAILABLE, Reason.UNAUTHORIZED}),
    ),
    replace(_HEALTH, path="/metrics", id="getMetrics", summary="Metrics of all processes, for Prometheus"),
    replace(_HEALTH, path="/reference", id="getReference", summary="The reference page, as Markdown or HTML"),
    replace(_DOCUMENT, path="/openapi/v3", id="getOpenApi", summary="This document", answer=("OpenApi",)),
    _DOCUMENT,
    replace(_DOCUMENT, path="/api", id="getCoreVersions", summary="Versions of the core API", answer=("APIVersions",)),
    replace(
        _DOCUMENT, path="/api/v1", id="getCoreResources", summary="Kinds of the core API", answer=("APIResourceList",)
    ),
    replace(_DOCUMENT, path="/apis", id="getGroups", summary="API groups", answer=("APIGroupList",)),
    replace(_DOCUMENT, path=f"/apis/{GROUP}", id="getGroup", summary="Versions of the group", answer=("APIGroup",)),
    replace(
        _DOCUMENT, path=GROUP_ROOT, id="getGroupResources", summary="Kinds of the group", answer=("APIResourceList",)
    ),
)
"""About the API itself, health and metrics."""
