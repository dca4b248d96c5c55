"""The record of what was last applied: on the object, in the annotation and the writing of kubectl's client-side apply.

So kubectl, Argo CD and `issuer apply` can take turns on one object. The format is that of `GetModifiedConfiguration` in
k8s.io/kubectl: the manifest as Go's encoder writes it, without this annotation, with an `annotations` object even when it is
empty, and a line feed at the end.
"""

import json
from collections.abc import Mapping
from typing import Any

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"

# What the issuer owns: left out, so that what `issuer get -o yaml` wrote can be applied again, here or elsewhere.
_OWNED_METADATA = frozenset(
    {
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
        "selfLink",
    }
)
# Go escapes these for the sake of HTML; they stand nowhere in JSON but inside strings.
_GO_ESCAPES = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})


def authored(document: Mapping[str, Any]) -> dict[str, Any]:
    """What people write of an object: without status, what the issuer owns of its metadata, and this record.

    All else stays, however wrong, so that the issuer sees and names it.
    """
    kept = {key: value for key, value in document.items() if key != "status"}
    metadata = kept.get("metadata")
    if isinstance(metadata, dict):
        parts = {key: _without_record(key, value) for key, value in metadata.items() if key not in _OWNED_METADATA}
        kept["metadata"] = {
            key: value for key, value in parts.items() if key != "annotations" or value not in (None, {})
        }
    return kept


def _without_record(key: str, value: Any) -> Any:
    if key != "annotations" or not isinstance(value, dict):
        return value
    return {name: each for name, each in value.items() if name != ANNOTATION}


def recorded(live: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was last applied to the object, None when nothing was. Raises ValueError when the record cannot be read."""
    text = ((live.get("metadata") or {}).get("annotations") or {}).get(ANNOTATION)
    if text is None:
        return None
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 - the text is wrong, not the caller
    return authored(document)


def record_of(manifest: Mapping[str, Any]) -> str:
    """The annotation's value for a manifest as `authored` gives it."""
    metadata = manifest["metadata"]
    whole = {**manifest, "metadata": {**metadata, "annotations": metadata.get("annotations") or {}}}
    return json.dumps(whole, sort_keys=True, ensure_ascii=False, separators=(",", ":")).translate(_GO_ESCAPES) + "\n"


def with_record(document: Mapping[str, Any], record: str) -> dict[str, Any]:
    """The document, a manifest or a merge patch, that also writes the record.

    Annotations that are no object stay as they are: the issuer refuses them by name.
    """
    metadata = document.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    if not isinstance(annotations, dict):
        return dict(document)
    return {**document, "metadata": {**metadata, "annotations": {**annotations, ANNOTATION: record}}}
