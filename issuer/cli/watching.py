"""`issuer watch`: what there is, and every change to it, until Ctrl-C."""

import json
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated

import typer

from issuer.cli.connection import Connection, connected
from issuer.cli.following import Event, follow, interruptible
from issuer.cli.named import Named, about, parse_sought, path_of
from issuer.cli.options import AllNamespaces, InNamespace, KindArgument, NameArgument, Selector, selection_of
from issuer.cli.rows import RunningTable, headers_of, row_of
from issuer.model.kinds import Kind


class EventFormat(StrEnum):
    """How `watch` writes events."""

    TABLE = "table"
    JSON = "json"


@connected
def watch(
    connection: Connection,
    kind: KindArgument,
    name: NameArgument = None,
    namespace: InNamespace = None,
    all_namespaces: AllNamespaces = False,
    selector: Selector = None,
    output: Annotated[
        EventFormat, typer.Option("--output", "-o", help="A table that grows, or one JSON event a line.")
    ] = EventFormat.TABLE,
) -> None:
    """Show resources, then every change to them as it happens, until Ctrl-C.

    The issuer may restart meanwhile: the watch goes on where it was.

    Example: issuer watch serviceaccounts -A
    """
    named = parse_sought(kind, name, namespace, all_namespaces=all_namespaces)
    selection = selection_of(selector, named.name)
    show = _json_lines(named.kind) if output is EventFormat.JSON else _table(named)
    with interruptible(), connection.session(write=False) as session, about(named, implied=namespace is None):
        for events in follow(session, path_of(named.kind, named.namespace), selection):
            show(events)


def _json_lines(kind: Kind) -> Callable[[Sequence[Event]], None]:
    def show(events: Sequence[Event]) -> None:
        for event in events:
            whole = {"apiVersion": kind.api_version, "kind": kind.kind, **event["object"]}
            print(json.dumps({**event, "object": whole}), flush=True)

    return show


def _table(named: Named) -> Callable[[Sequence[Event]], None]:
    spaced = named.kind.namespaced and not named.namespace
    table = RunningTable(["EVENT".ljust(len("MODIFIED")), *headers_of(named.kind, with_namespace=spaced)])

    def show(events: Sequence[Event]) -> None:
        table.add([[event["type"], *row_of(named.kind, event["object"], with_namespace=spaced)] for event in events])

    return show
