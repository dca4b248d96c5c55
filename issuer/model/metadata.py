"""`metadata`: what a writer may say about an object of any kind, checked as Kubernetes checks it."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

_DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*")
_LABEL_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_MAX_ANNOTATIONS_BYTES = 262_144


class Written(BaseModel):
    """The base of everything read from a manifest: camelCase, frozen, unknown fields are faults."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=to_camel, validate_default=True)

    def to_json(self) -> dict[str, Any]:
        """As stored and answered: camelCase, absent fields left out, defaults in place."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def is_dns_subdomain(text: str, longest: int = 253) -> bool:
    """Whether `text` is a DNS-1123 subdomain of at most `longest` characters."""
    return len(text) <= longest and _SUBDOMAIN.fullmatch(text) is not None


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
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > _MAX_ANNOTATIONS_BYTES:
        raise PydanticCustomError("string_too_long", "all annotations together are limited to 256 KiB")
    return annotations


LabelKey = Annotated[str, AfterValidator(_label_key)]
LabelValue = Annotated[str, AfterValidator(_label_value)]
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
    kind: Name
    name: Name
    uid: Name
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Written):
    """What a writer may say. The fields the issuer owns are accepted, so that what was read can be written back."""

    name: Name
    namespace: Name | None = None
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=64)] = {}
    annotations: Annotated[dict[LabelKey, str], AfterValidator(_bounded_annotations)] = {}
    owner_references: Annotated[list[OwnerReference], Field(max_length=64)] = []
    finalizers: Annotated[list[LabelKey], Field(max_length=64)] = []
    # Preconditions on a replace.
    uid: Name | None = None
    resource_version: Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,17})$")] | None = None
    # Owned by the issuer; dropped.
    generation: int | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    managed_fields: list[Any] | None = None
    self_link: str | None = None
