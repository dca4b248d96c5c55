"""`issuer describe`: one object for people, with its recent events and what somebody should do something about."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from issuer.cli.connection import Connection, connected
from issuer.cli.lastapplied import ANNOTATION
from issuer.cli.named import DEFAULT_NAMESPACE, Named, about
from issuer.cli.options import InNamespace
from issuer.cli.output import print_table, printable, when
from issuer.cli.records import in_short, principal_of, recent_records
from issuer.cli.targets import OneKind, OneName, parse_object
from issuer.cli.usage import print_usage, usage_of
from issuer.cli.versions import awaits_delivery, print_versions, versions_of
from issuer.manifests import to_yaml
from issuer.model.kinds import SERVICE_ACCOUNT
from issuer.model.times import parse_time

NEAR_S = 14 * 86_400
"""What ends or falls due within this time is worth a warning."""

_INDENT = 2
_APART = frozenset({"conditions", "credentials", "effective"})
"""Parts of a status that have a section of their own."""


@connected
def describe(connection: Connection, kind: OneKind, name: OneName = None, namespace: InNamespace = None) -> None:
    """Show everything about one object: what it is, how it stands, and who changed what lately.

    Example: issuer describe serviceaccount payment-service -n payments-prod

    Example: issuer describe payments-prod/payment-service
    """
    named = parse_object(kind, name, namespace)
    implied = namespace is None and named.namespace == DEFAULT_NAMESPACE
    with connection.session(write=False) as session, about(named, implied=implied):
        found = session.call("GET", named.path)
        usage = usage_of(session, named)
        records = recent_records(session, named, str(found["metadata"]["uid"]))
    now_s = time.time()
    _print_head(named, found, now_s)
    _print_block("Spec", found.get("spec"))
    status = found.get("status") or {}
    _print_block("Status", {key: value for key, value in status.items() if key not in _APART})
    _print_conditions(status.get("conditions") or (), now_s)
    _print_block("Effective, after policy", status.get("effective"))
    if versions_of(found):
        _print_title("Credentials")
        print_versions(found, indent=_INDENT)
    if usage is not None:
        _print_title(f"Usage since {usage['since']}")
        print_usage(usage, now_s, indent=_INDENT)
    _print_records(records, now_s)
    if warnings := list(warnings_of(named, found, now_s)):
        _print_title("Warnings")
        for warning in warnings:
            print(" " * _INDENT + printable(warning))


def warnings_of(named: Named, found: Mapping[str, Any], now_s: float) -> Iterator[str]:
    """What somebody should know or do something about, most urgent first."""
    metadata = found["metadata"]
    if since := metadata.get("deletionTimestamp"):
        waits = ", ".join(metadata.get("finalizers") or ()) or "its contents"
        yield f"It is being deleted since {when(since, now_s)} and waits for {waits}."
    if named.kind is SERVICE_ACCOUNT:
        yield from _warnings_of_account(f"{named.namespace}/{named.name}", found, now_s)


def _warnings_of_account(account: str, found: Mapping[str, Any], now_s: float) -> Iterator[str]:
    spec, status = found.get("spec") or {}, found.get("status") or {}
    if spec.get("disabled"):
        yield "It is disabled and gets no token: spec.disabled."
    yield from _warnings_of_dates(spec, status, now_s)
    if awaits_delivery(found):
        version = versions_of(found)[-1]["version"] if versions_of(found) else "?"
        yield (
            f"AwaitingDelivery: nobody said that version {version} of its secret is stored. `issuer rotate {account} "
            "--out FILE` delivers it; with --resume when it was handed out before."
        )
    effective = status.get("effective") or {}
    withheld = [scope for scope in spec.get("scopes") or () if scope not in (effective.get("scopes") or ())]
    if effective and "accessTokenTTL" not in effective:
        yield f"No token would be granted to it now: `issuer explain {account}` says why."
    elif effective and withheld:
        yield f"Its spec lists {', '.join(withheld)}, but that is not granted: `issuer explain {account}` says why."


def _warnings_of_dates(spec: Mapping[str, Any], status: Mapping[str, Any], now_s: float) -> Iterator[str]:
    for instant, past, coming in (
        (spec.get("expiresAt"), "It expired and gets no token", "It expires and gets no token from then on"),
        (spec.get("reviewBy"), "Its review is overdue", "Its review is due"),
        (status.get("nextCredentialRotation"), "The rotation of its secret is overdue", ""),
    ):
        if not instant:
            continue
        left_s = parse_time(instant).timestamp() - now_s
        if left_s <= 0:
            yield f"{past}: {when(instant, now_s)}."
        elif coming and left_s <= NEAR_S:
            yield f"{coming}: {when(instant, now_s)}."


def _print_head(named: Named, found: Mapping[str, Any], now_s: float) -> None:
    metadata = found["metadata"]
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != ANNOTATION}
    owners = [f"{each.get('kind')}/{each.get('name')}" for each in metadata.get("ownerReferences") or ()]
    rows: list[tuple[str, Sequence[str]]] = [
        ("Name", [named.name]),
        ("Namespace", [named.namespace]),
        ("Kind", [f"{named.kind.kind} ({named.kind.api_version})"]),
        ("UID", [str(metadata["uid"])]),
        ("Created", [when(metadata.get("creationTimestamp"), now_s)]),
        ("Generation", [f"{metadata.get('generation', '')} (resourceVersion {metadata.get('resourceVersion', '')})"]),
        ("Labels", _pairs(metadata.get("labels") or {})),
        ("Annotations", _pairs(annotations)),
        ("Owners", owners),
        ("Finalizers", metadata.get("finalizers") or ()),
    ]
    lines = [
        [f"{label}:" if index == 0 else "", value]
        for label, values in rows
        for index, value in enumerate(values)
        if value
    ]
    print_table(["", ""], lines, show_header=False)


def _print_conditions(conditions: Sequence[Mapping[str, Any]], now_s: float) -> None:
    if not conditions:
        return
    parts = ["type", "status", "reason", *(["message"] if any(each.get("message") for each in conditions) else [])]
    rows = [
        [*(str(each.get(part) or "") for part in parts), when(each.get("lastTransitionTime"), now_s)]
        for each in conditions
    ]
    _print_title("Conditions")
    print_table([*(part.upper() for part in parts), "SINCE"], rows, indent=_INDENT)


def _print_records(records: Sequence[Mapping[str, Any]], now_s: float) -> None:
    _print_title("Recent events")
    if not records:
        print(" " * _INDENT + "none are kept")
        return
    rows = [
        [
            when(record["metadata"].get("creationTimestamp"), now_s),
            principal_of(record),
            str(record.get("verb", "")),
            in_short(record),
        ]
        for record in records
    ]
    print_table(["WHEN", "WHO", "DID", "WHAT CHANGED"], rows, indent=_INDENT)


def _print_block(title: str, document: Any) -> None:
    """A part of the object as YAML."""
    if not document:
        return
    _print_title(title)
    for line in to_yaml(document).splitlines():
        print(" " * _INDENT + printable(line))


def _print_title(title: str) -> None:
    print(f"\n{title}:")


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]
