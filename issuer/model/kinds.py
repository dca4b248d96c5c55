"""The table of resource kinds. A new kind is one module for its `spec` and one row here."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import getdoc
from typing import Any

from pydantic import BaseModel, ValidationError

from issuer.model.authpolicy import AuthPolicySpec, ClusterAuthPolicySpec, cluster_policy_warnings, policy_warnings
from issuer.model.faults import Cause, Fault, Reason, causes_of, invalid
from issuer.model.keyset import KeySetSpec
from issuer.model.metadata import ManifestContext, ObjectMeta, is_dns_label, is_dns_subdomain
from issuer.model.resource import API_VERSION
from issuer.model.scope import ScopeSpec
from issuer.model.scopes import SYSTEM_NAMESPACE
from issuer.model.serviceaccount import LONGEST_NAME, ServiceAccountSpec
from issuer.model.status import KeySetStatus, NamespaceStatus, PolicyStatus, ServiceAccountStatus

MAX_OBJECT_BYTES = 524_288
"""Of metadata and spec as JSON: half of the largest request, so that whatever is stored can be sent back with room to edit."""


def _no_warnings(_: Mapping[str, Any]) -> list[str]:
    return []


@dataclass(frozen=True, slots=True)
class Kind:
    """One row: how the kind is addressed, what its `spec` and `status` hold, and what may be done with it.

    `immutable` names the spec fields fixed at creation; `unique` one whose value no two objects may share.
    `about`: what it is, where no `spec` says so. `reaches_system`: whether objects of it may stand in `issuer-system`.
    `warnings`: what its writer should know.
    `columns` are the extra columns of `issuer get`: header and path into the object.
    """

    kind: str
    plural: str
    spec: type[BaseModel] | None
    status: type[BaseModel] | None = None
    about: str = ""
    api_version: str = API_VERSION
    namespaced: bool = False
    writable: bool = True
    longest_name: int = 253
    short: tuple[str, ...] = ()
    immutable: tuple[str, ...] = ()
    unique: str | None = None
    reaches_system: bool = True
    warnings: Callable[[Mapping[str, Any]], list[str]] = _no_warnings
    columns: tuple[tuple[str, str], ...] = ()

    @property
    def description(self) -> str:
        """What the kind is, for people."""
        return self.about or getdoc(self.spec) or ""

    def accepts_name(self, name: str) -> bool:
        """Whether an object of this kind may be called `name`."""
        return is_dns_label(name) if self is NAMESPACE else is_dns_subdomain(name, self.longest_name)


NAMESPACE = Kind(
    "Namespace",
    "namespaces",
    None,
    NamespaceStatus,
    "A place of its own for accounts and policies. Deleting it refuses their tokens at once and removes everything in it.",
    api_version="v1",
    short=("ns",),
    columns=(("PHASE", "status.phase"),),
)
SERVICE_ACCOUNT = Kind(
    "ServiceAccount",
    "serviceaccounts",
    ServiceAccountSpec,
    ServiceAccountStatus,
    namespaced=True,
    longest_name=LONGEST_NAME,
    short=("sa",),
    columns=(
        ("PHASE", "status.phase"),
        ("CLIENT ID", "status.clientId"),
        ("SCOPES", "spec.scopes"),
        ("NEXT ROTATION", "status.nextCredentialRotation"),
    ),
)
SCOPE = Kind(
    "Scope",
    "scopes",
    ScopeSpec,
    immutable=("scope",),
    unique="scope",
    columns=(("SCOPE", "spec.scope"), ("RISK", "spec.risk"), ("AUDIENCES", "spec.audiences")),
)
KEY_SET = Kind(
    "KeySet",
    "keysets",
    KeySetSpec,
    KeySetStatus,
    columns=(
        ("ALGORITHM", "spec.algorithm"),
        ("AUDIENCES", "spec.audiences"),
        ("NEXT ROTATION", "status.nextRotation"),
        ("NEXT STEP", "status.next.step"),
    ),
)
_POLICY_COLUMNS = (("MAX TTL", "spec.tokenSettings.maxAccessTokenTTL"), ("ALLOWED SCOPES", "spec.scopes.allowed"))
AUTH_POLICY = Kind(
    "AuthPolicy",
    "authpolicies",
    AuthPolicySpec,
    PolicyStatus,
    namespaced=True,
    reaches_system=False,
    warnings=policy_warnings,
    columns=_POLICY_COLUMNS,
)
CLUSTER_AUTH_POLICY = Kind(
    "ClusterAuthPolicy",
    "clusterauthpolicies",
    ClusterAuthPolicySpec,
    PolicyStatus,
    warnings=cluster_policy_warnings,
    columns=_POLICY_COLUMNS,
)
POLICY_KINDS = (AUTH_POLICY, CLUSTER_AUTH_POLICY)

KINDS = (NAMESPACE, SERVICE_ACCOUNT, AUTH_POLICY, CLUSTER_AUTH_POLICY, SCOPE, KEY_SET)
MASTER_KEY = "MasterKey"
"""No kind of the API: what the records of `issuer rekey` are about, named by its id."""
RECORDED_KINDS = (*(kind.kind for kind in KINDS), MASTER_KEY)
"""What audit records can be about."""
BY_PLURAL: Mapping[tuple[str, str], Kind] = {(kind.api_version, kind.plural): kind for kind in KINDS}
BY_KIND: Mapping[tuple[str, str], Kind] = {(kind.api_version, kind.kind): kind for kind in KINDS}

if len(BY_PLURAL) != len(KINDS) or len(BY_KIND) != len(KINDS):  # pragma: no cover
    raise RuntimeError("two rows of the table of kinds have the same name")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A checked document: metadata as a value, spec as stored, defaults filled in."""

    kind: Kind
    metadata: ObjectMeta
    spec: Mapping[str, Any]


def kind_named(text: str) -> Kind | None:
    """The kind a person means by `serviceaccounts`, `serviceaccount`, `ServiceAccount` or `sa`."""
    wanted = text.lower()
    return next((kind for kind in KINDS if wanted in {kind.plural, kind.kind.lower(), *kind.short}), None)


def parse_manifest(kind: Kind, document: Any, *, namespace: str, name: str | None, methods: frozenset[str]) -> Manifest:
    """The document as a manifest of `kind` in `namespace`. Raises Fault naming every bad field at once.

    `name` is the one in the request's path, None on create. `status` is dropped, as in Kubernetes: it has its own path.
    """
    if not isinstance(document, dict):
        raise Fault(Reason.BAD_REQUEST, f"the body must be one {kind.kind} object", kind=kind.kind)
    causes = _causes_of_frame(kind, document)
    metadata, metadata_causes = _parse_metadata(kind, document, namespace, name)
    causes += metadata_causes
    raw_metadata = document.get("metadata")
    called = name or (raw_metadata.get("name") if isinstance(raw_metadata, dict) else None)
    called = called if isinstance(called, str) else ""
    spec: dict[str, Any] = {}
    if kind.spec is not None:
        raw_spec = document.get("spec")
        context = ManifestContext(namespace=namespace, name=called, methods=methods)
        try:
            parsed = kind.spec.model_validate({} if raw_spec is None else raw_spec, context=context)
            spec = parsed.model_dump(mode="json", by_alias=True, exclude_none=True)
        except ValidationError as error:
            causes += causes_of(error, "spec")
    if causes or metadata is None:
        raise invalid(kind.kind, called, causes)
    size = len(json.dumps([metadata.to_json(), spec], ensure_ascii=False).encode())
    if size > MAX_OBJECT_BYTES:
        # Each part has its own bound, but all of them together would be more than one request could write back.
        said = f"the object takes {size} bytes, and at most {MAX_OBJECT_BYTES} are stored: shorten it, or make several"
        raise Fault(Reason.TOO_LARGE, said, kind=kind.kind, name=called)
    return Manifest(kind, metadata, spec)


def _causes_of_frame(kind: Kind, document: Mapping[str, Any]) -> list[Cause]:
    causes = []
    if document.get("apiVersion", kind.api_version) != kind.api_version:
        causes.append(Cause("apiVersion", "FieldValueInvalid", f"must be {kind.api_version}"))
    if document.get("kind", kind.kind) != kind.kind:
        causes.append(Cause("kind", "FieldValueInvalid", f"must be {kind.kind}"))
    known = {"apiVersion", "kind", "metadata", "spec", "status"}
    causes += [Cause(field, "FieldValueForbidden", "unknown field") for field in document if field not in known]
    spec = document.get("spec")
    if kind.spec is None and isinstance(spec, dict):
        # A Namespace of Kubernetes carries spec.finalizers; nothing in it concerns us, and nothing is stored of it.
        unknown = (field for field in spec if field != "finalizers")
        causes += [Cause(f"spec.{field}", "FieldValueForbidden", "unknown field") for field in unknown]
    elif kind.spec is None and spec is not None:
        causes.append(Cause("spec", "FieldValueTypeInvalid", "must be an object"))
    return causes


def _parse_metadata(
    kind: Kind, document: Mapping[str, Any], namespace: str, name: str | None
) -> tuple[ObjectMeta | None, list[Cause]]:
    raw = document.get("metadata")
    filled = {**raw, "name": raw.get("name", name)} if isinstance(raw, dict) and (name or "name" in raw) else raw
    try:
        metadata = ObjectMeta.model_validate({} if filled is None else filled)
    except ValidationError as error:
        return None, causes_of(error, "metadata")
    causes = []
    if not kind.accepts_name(metadata.name):
        shape = "DNS-1123 label of at most 63" if kind is NAMESPACE else f"DNS-1123 name of at most {kind.longest_name}"
        causes.append(Cause("metadata.name", "FieldValueInvalid", f"must be a {shape} characters"))
    if name is not None and metadata.name != name:
        causes.append(Cause("metadata.name", "FieldValueInvalid", f"must be {name}, as in the request's path"))
    if namespace == SYSTEM_NAMESPACE and not kind.reaches_system:
        causes.append(
            Cause(
                "metadata.namespace",
                "FieldValueForbidden",
                f"in {SYSTEM_NAMESPACE} there is no {kind.kind}: a ClusterAuthPolicy with appliesToSystem reaches it",
            )
        )
    if (metadata.namespace or namespace) != namespace:
        wanted = f"must be {namespace}, as in the request's path" if namespace else f"{kind.kind} has no namespace"
        causes.append(Cause("metadata.namespace", "FieldValueInvalid", wanted))
    return metadata, causes
