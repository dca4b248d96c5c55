"""Which objects a LIST or WATCH is about: kind, namespace, `fieldSelector` and `labelSelector`, as one value."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from issuer.model.faults import Fault, Reason
from issuer.model.kinds import Kind
from issuer.model.metadata import LabelKey, LabelValue
from issuer.model.selectors import Requirement, Selector

MAX_REQUIREMENTS = 64
EVERYTHING = Selector()

_KEY = TypeAdapter(LabelKey)
_VALUES = TypeAdapter(list[LabelValue])
# One requirement of a label selector; what follows it is a comma or the end.
_REQUIREMENT = re.compile(
    r"\s*(?:!\s*(?P<absent>[^\s,!=()]+)"
    r"|(?P<key>[^\s,!=()]+)"
    r"(?:\s*(?P<operator>==|=|!=)\s*(?P<value>[^\s,!=()]*)|\s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?"
    r")\s*(?:,(?!\s*\Z)|\Z)"
)
_FIELD = re.compile(r"\s*(metadata\.name|metadata\.namespace)\s*==?\s*([^\s,!=]*)\s*(?:,(?!\s*\Z)|\Z)")


@dataclass(frozen=True, slots=True)
class Filter:
    """Objects of `kind`; `namespace` and `name` None: any. A contradiction of path and field selector is `nothing`."""

    kind: Kind
    namespace: str | None = None
    name: str | None = None
    labels: Selector = EVERYTHING
    nothing: bool = False

    def matches(self, document: Mapping[str, Any] | None) -> bool:
        """Whether the API object is one of them. None, an object that is not there, is not."""
        if document is None or self.nothing or document["kind"] != self.kind.kind:
            return False
        metadata = document["metadata"]
        return (
            (self.namespace is None or metadata.get("namespace") == self.namespace)
            and (self.name is None or metadata["name"] == self.name)
            and self.labels.matches(metadata.get("labels", {}))
        )


def parse_filter(kind: Kind, namespace: str | None, field_selector: str, label_selector: str) -> Filter:
    """The filter of a request. Raises Fault (400)."""
    fields = _fields(field_selector)
    within = {value for value in (namespace, fields.get("metadata.namespace")) if value is not None}
    return Filter(
        kind,
        namespace if namespace is not None else fields.get("metadata.namespace"),
        fields.get("metadata.name"),
        parse_label_selector(label_selector),
        nothing=len(within) > 1 or (bool(within) and not kind.namespaced),
    )


def parse_label_selector(text: str) -> Selector:
    """`tier=critical,env in (prod, stage),!legacy` (Kubernetes label selectors). Raises Fault (400)."""
    requirements = []
    position = 0
    while position < len(text.rstrip()):
        found = _REQUIREMENT.match(text, position)
        if found is None:
            raise Fault(
                Reason.BAD_REQUEST,
                f"labelSelector cannot be read from character {position + 1} on; write it like "
                "tier=critical,env in (prod,stage),!legacy",
            )
        requirements.append(_requirement(found))
        position = found.end()
    if len(requirements) > MAX_REQUIREMENTS:
        raise Fault(Reason.BAD_REQUEST, f"labelSelector is limited to {MAX_REQUIREMENTS} requirements")
    return Selector(tuple(requirements))


def _requirement(found: re.Match[str]) -> Requirement:
    key = found["absent"] or found["key"]
    values: list[str] | None = None
    if found["operator"] is not None:
        values = [found["value"]]
    elif found["set"] is not None:
        values = [value.strip() for value in found["values"].split(",")]
    try:
        _KEY.validate_python(key)
        _VALUES.validate_python(values or [])
    except ValidationError as error:
        raise Fault(Reason.BAD_REQUEST, f"labelSelector: {error.errors()[0]['msg']}") from None
    negated = found["absent"] is not None or found["operator"] == "!=" or found["set"] == "notin"
    return Requirement(key, None if values is None else frozenset(values), negated=negated)


def _fields(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    position = 0
    while position < len(text):
        found = _FIELD.match(text, position)
        if found is None or fields.get(found[1], found[2]) != found[2]:
            raise Fault(
                Reason.BAD_REQUEST, "fieldSelector knows metadata.name=NAME and metadata.namespace=NAMESPACE, once each"
            )
        fields[found[1]] = found[2]
        position = found.end()
    return fields
