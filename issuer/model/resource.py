"""The stored shape all kinds share, and its two readings: the API object and the row's document."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from issuer.model.times import format_time

GROUP = "auth.nauthera.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


@dataclass(frozen=True, slots=True)
class Resource:
    """One object of any kind. `namespace` is empty for cluster-scoped kinds; `revision` is 0 until it is stored."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: UUID
    created_at: datetime
    spec: Mapping[str, Any]
    status: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    owner_references: tuple[Mapping[str, Any], ...] = ()
    finalizers: tuple[str, ...] = ()
    generation: int = 1
    revision: int = 0
    deleted_at: datetime | None = None

    @property
    def client_id(self) -> str:
        """The OAuth client_id of an account: its uid, so it is made once and never comes back."""
        return client_id_of(self.uid)

    def with_status(self, status: Mapping[str, Any]) -> Self:
        """The same object with another status; the generation stays."""
        return replace(self, status=status)

    def metadata(self) -> dict[str, Any]:
        """`metadata` without `resourceVersion`, empty parts left out."""
        deleted_at = format_time(self.deleted_at) if self.deleted_at else None
        parts: dict[str, Any] = {
            "name": self.name,
            "namespace": self.namespace,
            "uid": str(self.uid),
            "generation": self.generation,
            "creationTimestamp": format_time(self.created_at),
            "deletionTimestamp": deleted_at,
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
            "ownerReferences": list(self.owner_references),
            "finalizers": list(self.finalizers),
        }
        return {key: value for key, value in parts.items() if value}

    def to_document(self) -> dict[str, Any]:
        """The API object without `resourceVersion`: what the change log and the audit record keep."""
        document: dict[str, Any] = {"apiVersion": self.api_version, "kind": self.kind, "metadata": self.metadata()}
        if self.spec:
            document["spec"] = dict(self.spec)
        if self.status:
            document["status"] = dict(self.status)
        return document

    def to_json(self) -> dict[str, Any]:
        """The API object, whole."""
        document = self.to_document()
        if self.revision:
            document["metadata"]["resourceVersion"] = str(self.revision)
        return document

    def says_the_same_as(self, other: Self) -> bool:
        """Whether writing `self` over `other` would change nothing."""
        return self.to_document() == other.to_document()


CLIENT_ID_PREFIX = "sa-"
# A version 4 UUID as RFC 9562 writes it, and no other way to write the same one.
_CLIENT_ID = re.compile(
    rf"{CLIENT_ID_PREFIX}[0-9a-f]{{8}}-[0-9a-f]{{4}}-4[0-9a-f]{{3}}-[89ab][0-9a-f]{{3}}-[0-9a-f]{{12}}"
)


def client_id_of(uid: UUID) -> str:
    """`sa-<uuid4>`."""
    return f"{CLIENT_ID_PREFIX}{uid}"


def is_client_id(text: str) -> bool:
    """Whether it has exactly the shape we give out."""
    return _CLIENT_ID.fullmatch(text) is not None


def parse_client_id(client_id: str) -> UUID | None:
    """The uid behind a client_id, or None when it has not exactly the shape we give out."""
    return UUID(client_id.removeprefix(CLIENT_ID_PREFIX)) if is_client_id(client_id) else None
