"""`issuer get` and `delete`: resources from the admin API to people, and away."""

from collections.abc import Mapping
from typing import Annotated

import typer

from issuer.cli.completion import complete_kinds, complete_names
from issuer.cli.connection import Connection, connected
from issuer.cli.documents import read_manifests
from issuer.cli.named import NOT_FOUND, about, parse_sought
from issuer.cli.options import (
    AllNamespaces,
    Files,
    InNamespace,
    KindArgument,
    NameArgument,
    Recursive,
    Selector,
    selection_of,
)
from issuer.cli.output import Format, UsageError, note, print_document
from issuer.cli.rows import print_rows
from issuer.cli.selecting import Target, select
from issuer.cli.session import RefusedError, Session
from issuer.cli.several import try_all
from issuer.cli.versions import CREDENTIALS, show_credentials
from issuer.model.kinds import NAMESPACE

Force = Annotated[bool, typer.Option("--force", help="Also when another tool manages the account (spec.managedBy).")]


@connected
def get(
    connection: Connection,
    kind: KindArgument,
    name: NameArgument = None,
    namespace: InNamespace = None,
    all_namespaces: AllNamespaces = False,
    selector: Selector = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="How to write them.")] = Format.TABLE,
) -> None:
    """Show resources.

    Example: issuer get serviceaccounts -A

    Example: issuer get serviceaccounts -A -l team=payments

    Example: issuer get sa/payment-service -n payments-prod -o yaml

    Example: issuer get credentials payments-prod/payment-service
    """
    if kind.lower() in CREDENTIALS:
        show_credentials(connection, None if all_namespaces or selector else name, namespace, output)
        return
    named = parse_sought(kind, name, namespace, all_namespaces=all_namespaces)
    row, selection = named.kind, selection_of(selector, named.name)
    with connection.session(write=False) as session, about(named, implied=namespace is None):
        if named.name:
            found = session.call("GET", named.path)
            shown, items = found, [found]
        else:
            listed = session.list(named.path, selection)
            items = [{"apiVersion": row.api_version, "kind": row.kind, **item} for item in listed]
            shown = {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items}
    if output is not Format.TABLE:
        print_document(shown, output)
    elif items:
        print_rows(row, items, with_namespace=all_namespaces and row.namespaced)
    else:
        matching = f" that match -l {selector}" if selector else ""
        elsewhere = " -A looks in all namespaces." if named.namespace else ""
        note(f"There are no {row.plural}{named.place}{matching}.{elsewhere}")


@connected
def delete(
    connection: Connection,
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND[/NAME]", help="Kind, as in `issuer get`.", autocompletion=complete_kinds),
    ] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The object's name; or -l.", autocompletion=complete_names)
    ] = None,
    filename: Files = None,
    namespace: InNamespace = None,
    recursive: Recursive = False,
    selector: Selector = None,
    ignore_not_found: Annotated[
        bool, typer.Option("--ignore-not-found", help="What is not there is no failure.")
    ] = False,
    force: Force = False,
) -> None:
    """Delete resources: by name, all that stand in files, or all of a kind with certain labels.

    A deleted account gets no token from this moment on.

    Example: issuer delete serviceaccount payment-service -n payments-prod

    Example: issuer delete serviceaccounts -l team=payments -n payments-prod
    """
    if (kind is None) == (not filename) or (selector is not None and kind is None):
        raise UsageError("say what to delete: KIND NAME, KIND -l SELECTOR or -f PATH", next_step="issuer delete --help")
    named = None if kind is None else parse_sought(kind, name, namespace, all_namespaces=False)
    selection = selection_of(selector, named.name if named else "")
    targets: list[Target] = []
    if named is None:
        targets = [Target(each.named) for each in read_manifests(filename or (), namespace, recursive=recursive)]
        targets.sort(key=lambda each: each.named.kind is NAMESPACE)
    elif selector is None:
        if not named.name:
            raise UsageError(f"which {named.kind.kind}? Give a name, or -l SELECTOR", next_step="issuer delete --help")
        targets = [Target(named)]
    with connection.session(write=True) as session:
        if named and selector:
            with about(named, implied=namespace is None):
                targets = select(session, named, selection)
        if not targets and named:
            note(f"There are no {named.kind.plural}{named.place} that match -l {selector}.")
        params = {"force": "true"} if force else {}

        def delete_one(target: Target) -> None:
            with about(target.named, implied=namespace is None and not filename):
                _delete_one(session, target, params, ignore_not_found=ignore_not_found)

        try_all(targets, delete_one)


def _delete_one(session: Session, target: Target, params: Mapping[str, str], *, ignore_not_found: bool) -> None:
    try:
        answer = session.call("DELETE", target.named.path, body=target.deletion(), params=params)
    except RefusedError as refused:
        if refused.code == NOT_FOUND and ignore_not_found:
            return
        raise
    finalizers = (answer.get("metadata") or {}).get("finalizers")
    print(f"{target} deleted" + (f" (waits for {', '.join(finalizers)})" if finalizers else ""))
