"""`metadata`: what a writer may say about an object of any kind, checked as Kubernetes checks it."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from issuer.model.shapes import READ_ONLY, shaped

_DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
DNS_SUBDOMAIN = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*")
_LABEL_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
MAX_ANNOTATIONS_BYTES = 262_144


class Written(BaseModel):
    """The base of everything read from a manifest: camelCase, frozen, unknown fields are faults."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    def to_json(self) -> dict[str, Any]:
        """As stored and answered: camelCase, absent fields left out, defaults in place."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def is_dns_subdomain(text: str, longest: int = 253) -> bool:
    """Whether `text` is a DNS-1123 subdomain of at most `longest` characters."""
    return len(text) <= longest and DNS_SUBDOMAIN.fullmatch(text) is not None


def is_dns_label(text: str) -> bool:
    """Whether `text` is a DNS-1123 label (a namespace's name): at most 63 characters, no dots."""
    return "." not in text and is_dns_subdomain(text, 63)


def _label_key(key: str) -> str:
    prefix, slash, name = key.rpartition("/")
    if not _LABEL_NAME.fullmatch(name) or (slash and not is_dns_subdomain(prefix)):
        raise PydanticCustomError("label", "a key must be a Kubernetes qualified name such as team or example.com/team")
    return key


def _label_value(value: str) -> str:
    if value and not _LABEL_NAME.fullmatch(value):
        raise PydanticCustomError("label", "a label value has at most 63 letters, digits, '-', '_' and '.'")
    return value


def _bounded_annotations(annotations: dict[str, str]) -> dict[str, str]:
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > MAX_ANNOTATIONS_BYTES:
        raise PydanticCustomError("string_too_long", "all annotations together are limited to 256 KiB")
    return annotations


LabelKey = Annotated[
    str,
    AfterValidator(_label_key),
    shaped(rf"^(?:{DNS_SUBDOMAIN.pattern}/)?{_LABEL_NAME.pattern}$", shortest=1, longest=317),
]
LabelValue = Annotated[str, AfterValidator(_label_value), shaped(rf"^(?:{_LABEL_NAME.pattern})?$", longest=63)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=253)]


@dataclass(frozen=True, slots=True)
class ManifestContext:
    """What the rules of a kind need beside its fields. `methods`: client authentication methods with a row in the table."""

    namespace: str
    name: str
    methods: frozenset[str]


def context_of(info: ValidationInfo) -> ManifestContext:
    """The context a manifest is validated with."""
    if not isinstance(info.context, ManifestContext):
        raise TypeError("a manifest is validated with its ManifestContext")
    return info.context


class OwnerReference(Written):
    """Another object this one belongs to; kept for drivers, never acted upon here."""

    api_version: Name
    """The owner's group and version."""
    kind: Name
    """The owner's kind."""
    name: Name
    """The owner's name."""
    uid: Name
    """The owner's uid."""
    controller: bool | None = None
    """Whether the owner is the one that manages this object."""
    block_owner_deletion: bool | None = None
    """Whether the owner should outlive this object."""


class ObjectMeta(Written):
    """What every object says of itself.

    The fields that the issuer owns may be sent along, so that what was read can be written back; they are ignored.
    """

    name: Annotated[Name, shaped(f"^{DNS_SUBDOMAIN.pattern}$", shortest=1, longest=253)]
    """Unique among the objects of its kind in its namespace, and fixed. A DNS-1123 name."""
    namespace: Annotated[Name, shaped(f"^{_DNS_LABEL}$", shortest=1, longest=63)] | None = None
    """The namespace in the request's path; nothing for kinds that have none."""
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=64)] = {}
    """What selectors match."""
    annotations: Annotated[dict[LabelKey, str], AfterValidator(_bounded_annotations)] = {}
    """Whatever a tool or a person wants to keep beside the object; at most 256 KiB in all."""
    owner_references: Annotated[list[OwnerReference], Field(max_length=64)] = []
    """Objects of a driver's that this one belongs to; kept, never acted upon."""
    finalizers: Annotated[list[LabelKey], Field(max_length=64)] = []
    """While one is left, a deleted object stays, marked by `deletionTimestamp`."""
    uid: Name | None = None
    """Made once and never reused. In a replace a precondition: 409 unless it is this very object."""
    resource_version: Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,17})$")] | None = None
    """The revision of its last change. In a replace or patch a precondition: 409 when somebody was faster."""
    # Owned by the issuer; dropped.
    generation: Annotated[int | None, READ_ONLY] = None
    """Counts the changes of `spec`."""
    creation_timestamp: Annotated[str | None, READ_ONLY] = None
    """When it was created."""
    deletion_timestamp: Annotated[str | None, READ_ONLY] = None
    """When it was deleted, while it waits for its finalizers or contents."""
    deletion_grace_period_seconds: Annotated[int | None, READ_ONLY] = None
    """Never set; accepted because Kubernetes tools send it."""
    managed_fields: Annotated[list[Any] | None, READ_ONLY] = None
    """Never set; accepted because Kubernetes tools send it."""
    self_link: Annotated[str | None, READ_ONLY] = None
    """Never set; accepted because Kubernetes tools send it."""
