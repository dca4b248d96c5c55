"""What `issuer apply` sends: a merge patch from what was last applied, what is wanted now, and what is there.

    applied   what the manifest said the last time        it named these fields; one it no longer names is removed
    wanted    what the manifest says now                  every value of it is enforced; null removes
    live      what the issuer holds                       fields that neither ever named belong to others and stay

Values in, values out (RFC 7396): objects merge field by field, everything else, lists too, is replaced whole.
"""

import json
from collections.abc import Mapping
from typing import Any

from issuer.model.kinds import SERVICE_ACCOUNT


def three_way_patch(applied: Mapping[str, Any], wanted: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """The smallest JSON merge patch that makes `live` what the manifest means; empty when it is that already."""
    patch = {
        name: removal
        for name in applied
        if name in live and name not in wanted and (removal := _removal(applied[name], live[name])) != {}
    }
    for name, value in wanted.items():
        there = live.get(name)
        if value is None:
            if name in live:
                patch[name] = None
        elif isinstance(value, dict) and isinstance(there, dict):
            before = applied.get(name)
            if inner := three_way_patch(before if isinstance(before, dict) else {}, value, there):
                patch[name] = inner
        elif name not in live or not is_same(value, there):
            patch[name] = value
    return patch


def _removal(applied: Any, live: Any) -> Any:
    """The patch that takes from `live` what `applied` named and leaves what others added; null takes it whole.

    Kinder than kubectl, which takes an object whole as soon as the manifest drops it, labels of other tools included.
    """
    if not isinstance(applied, dict) or not isinstance(live, dict):
        return None
    inner = {
        name: removal for name in applied if name in live and (removal := _removal(applied[name], live[name])) != {}
    }
    left = live.keys() - {name for name, removal in inner.items() if removal is None}
    return inner if left else None


def stays_disabled(applied: Mapping[str, Any] | None, wanted: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    """Whether a live `disabled: true` of an account is somebody else's, a responder's, and not the manifest's to undo.

    It is the manifest's when the manifest itself disabled the account the last time, or says something new about
    `disabled` since then. `applied` None: nobody knows what was said before, so nothing is known to be new.
    """
    if live.get("kind") != SERVICE_ACCOUNT.kind or _disabled(live) is not True or _disabled(wanted) is True:
        return False
    said, before = _disabled(wanted), None if applied is None else _disabled(applied)
    if before is True:
        return False
    return applied is None or said is None or said is before


def with_disabled(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest as if it said `disabled: true`. What is no object is left for the issuer to refuse."""
    spec = wanted.get("spec") or {}
    return {**wanted, "spec": {**spec, "disabled": True}} if isinstance(spec, dict) else dict(wanted)


def is_same(one: Any, other: Any) -> bool:
    """Whether both are the same JSON value; Python's own `==` takes `true` for 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _disabled(document: Mapping[str, Any]) -> Any:
    spec = document.get("spec")
    return spec.get("disabled") if isinstance(spec, dict) else None
