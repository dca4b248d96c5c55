"""Audit records as `issuer describe` tells them: who did what, and in short what that changed."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from issuer.cli.lastapplied import ANNOTATION
from issuer.cli.named import Named
from issuer.cli.session import Session
from issuer.model.resource import API_VERSION

RECENT = 10

_LONGEST_VALUE = 40
_LONGEST_STORY = 5
"""Changes of one record that are told; of more only the number."""


def recent_records(session: Session, named: Named, uid: str) -> list[dict[str, Any]]:
    """The newest records of this very object, newest first; one of the same name that is gone is another."""
    within = f"/namespaces/{named.namespace}" if named.namespace else ""
    path = f"/apis/{API_VERSION}{within}/auditrecords"
    return list(session.call("GET", path, params={"uid": uid, "limit": str(RECENT)})["items"])


def in_short(record: Mapping[str, Any]) -> str:
    """`spec.disabled: false → true`."""
    before, after = record.get("before"), record.get("after")
    note = record.get("note") or {}
    told = [f"{key} {_value(value)}" for key, value in note.items() if not isinstance(value, bool)]
    told += [key for key, value in note.items() if value is True]
    if before is not None and after is not None:
        told += _differences(_told_parts(before), _told_parts(after))
    if len(told) > _LONGEST_STORY:
        told = [*told[:_LONGEST_STORY], f"and {len(told) - _LONGEST_STORY} more"]
    return ", ".join(told)


def principal_of(record: Mapping[str, Any]) -> str:
    """Who acted, as in `issuer-system/admin`."""
    return str((record.get("principal") or {}).get("name", ""))


def _told_parts(document: Mapping[str, Any]) -> dict[str, Any]:
    """What is worth telling of an object: what people write, and its phase. All else follows from that."""
    metadata = document.get("metadata") or {}
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != ANNOTATION}
    return {
        "metadata": {
            "labels": metadata.get("labels") or {},
            "annotations": annotations,
            "finalizers": metadata.get("finalizers") or [],
            "ownerReferences": metadata.get("ownerReferences") or [],
        },
        "spec": document.get("spec") or {},
        "status": {"phase": (document.get("status") or {}).get("phase")},
    }


def _differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in (*before, *(key for key in after if key not in before)):
            yield from _differences(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    elif before != after:
        if isinstance(before, list) and isinstance(after, list):
            gone = [f"-{_value(each)}" for each in before if each not in after]
            come = [f"+{_value(each)}" for each in after if each not in before]
            yield f"{path}: {' '.join(gone + come) or 'another order'}"
        else:
            yield f"{path}: {_value(before)} → {_value(after)}"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
