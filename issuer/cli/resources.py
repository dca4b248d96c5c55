"""`issuer apply`, `get` and `delete`: resources from files to the admin API and back."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import typer

from issuer.cli.connection import Connection, connected
from issuer.cli.documents import Wanted, namespaces_of, read_manifests
from issuer.cli.effects import examples, in_short
from issuer.cli.named import DEFAULT_NAMESPACE, NOT_FOUND, Named, about, parse_target, path_of
from issuer.cli.output import (
    FAILED,
    CommandError,
    Format,
    UsageError,
    age,
    cell,
    note,
    print_document,
    print_table,
    report,
)
from issuer.cli.session import RefusedError, Session
from issuer.model.kinds import NAMESPACE, Kind

T = TypeVar("T")

Files = Annotated[
    list[str] | None,
    typer.Option(
        "--filename",
        "-f",
        metavar="PATH",
        help="File, folder (*.yaml, *.yml, *.json) or - for standard input; repeatable.",
    ),
]
Recursive = Annotated[bool, typer.Option("--recursive", "-R", help="Also the folders inside folders.")]
InNamespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", metavar="NAME", help=f"Namespace; `{DEFAULT_NAMESPACE}` when left out."),
]
KindArgument = Annotated[
    str, typer.Argument(metavar="KIND[/NAME]", help="Kind: serviceaccount or sa, namespace, authpolicy, scope, …")
]
Force = Annotated[bool, typer.Option("--force", help="Also when another tool manages the account (spec.managedBy).")]


@connected
def apply(
    connection: Connection,
    filename: Files = None,
    namespace: InNamespace = None,
    recursive: Recursive = False,
    create_namespaces: Annotated[
        bool, typer.Option("--create-namespaces", help="First make the namespaces that do not exist yet.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would happen; for a policy, to whom.")
    ] = False,
) -> None:
    """Create or change resources, so that they become what the files say.

    Everything is read before anything is written. Fields a file does not name keep their value.

    Example: issuer apply -f manifests/ --create-namespaces
    """
    wanted = read_manifests(filename or (), namespace, recursive=recursive)
    wanted.sort(key=lambda each: each.named.kind is not NAMESPACE)
    if create_namespaces:
        wanted = [*namespaces_of(wanted), *wanted]
    with connection.session(write=True) as session:
        _try_all(wanted, lambda each: _apply_one(session, each, dry_run=dry_run))


@connected
def get(
    connection: Connection,
    kind: KindArgument,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One object; all of them when left out.")] = None,
    namespace: InNamespace = None,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="From every namespace.")] = False,
    output: Annotated[Format, typer.Option("--output", "-o", help="How to write them.")] = Format.TABLE,
) -> None:
    """Show resources.

    Example: issuer get serviceaccounts -A

    Example: issuer get sa/payment-service -n payments-prod -o yaml
    """
    row, called = parse_target(kind, name)
    if called and all_namespaces and row.namespaced:
        raise UsageError("one object lives in one namespace: use -n NAMESPACE instead of -A")
    named = Named(row, "" if all_namespaces or not row.namespaced else namespace or DEFAULT_NAMESPACE, called)
    with connection.session(write=False) as session, about(named, implied=namespace is None):
        if called:
            named.check()
            found = session.call("GET", named.path)
            shown, items = found, [found]
        else:
            items = [{"apiVersion": row.api_version, "kind": row.kind, **item} for item in session.list(named.path)]
            shown = {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items}
    if output is not Format.TABLE:
        print_document(shown, output)
    elif items:
        _print_rows(row, items, with_namespace=all_namespaces and row.namespaced)
    else:
        note(f"There are no {row.plural}{named.place}." + (" -A looks in all namespaces." if named.namespace else ""))


@connected
def delete(
    connection: Connection,
    kind: Annotated[str | None, typer.Argument(metavar="KIND[/NAME]", help="Kind, as in `issuer get`.")] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The object's name.")] = None,
    filename: Files = None,
    namespace: InNamespace = None,
    recursive: Recursive = False,
    ignore_not_found: Annotated[
        bool, typer.Option("--ignore-not-found", help="What is not there is no failure.")
    ] = False,
    force: Force = False,
) -> None:
    """Delete resources, by name or all that stand in files. A deleted account gets no token from this moment on.

    Example: issuer delete serviceaccount payment-service -n payments-prod
    """
    if (kind is None) == (not filename):
        raise UsageError("say what to delete: either KIND NAME or -f PATH", next_step="issuer delete --help")
    if kind is None:
        targets = [each.named for each in read_manifests(filename or (), namespace, recursive=recursive)]
        targets.sort(key=lambda each: each.kind is NAMESPACE)
    else:
        row, called = parse_target(kind, name)
        named = Named(row, (namespace or DEFAULT_NAMESPACE) if row.namespaced else "", called)
        named.check()
        targets = [named]
    with connection.session(write=True) as session:
        params = {"force": "true"} if force else {}

        def delete_one(target: Named) -> None:
            with about(target, implied=namespace is None and not filename):
                _delete_one(session, target, params, ignore_not_found=ignore_not_found)

        _try_all(targets, delete_one)


def _try_all(targets: Sequence[T], act: Callable[[T], None]) -> None:
    """Every target is tried, and the command fails if any was refused. Without an issuer the rest is not tried."""
    failed = 0
    for index, target in enumerate(targets):
        try:
            act(target)
        except RefusedError as refused:
            report(refused)
            failed += 1
        except CommandError:
            if index + 1 < len(targets):
                note(f"stopped at {target}; {len(targets) - index - 1} more were not tried")
            raise
    if failed:
        raise typer.Exit(FAILED)


def _apply_one(session: Session, wanted: Wanted, *, dry_run: bool) -> None:
    named, params = wanted.named, {"dryRun": "All"} if dry_run else {}
    with about(named, hint=f"add --create-namespaces, or first make the namespace {named.namespace}"):
        before = _found(session, named)
        if before is None:
            created = _created(session, wanted, params)
            if created is not None:
                _say(named, "created", created, dry_run=dry_run)
                return
            before = session.call("GET", named.path)  # somebody else was faster
        if wanted.only_if_absent:
            return
        after = session.call("PATCH", named.path, body=wanted.body(), merge=True, params=params)
    moved = _written(before) != _written(after)
    _say(named, "configured" if moved else "unchanged", after, dry_run=dry_run)


def _say(named: Named, done: str, document: Mapping[str, Any], *, dry_run: bool) -> None:
    """One line for one object; for a policy that is only tried also what it would do."""
    effect = (document.get("status") or {}).get("effect") if dry_run else None
    print(f"{named} {'would be ' if dry_run else ''}{done}{named.place}{': ' + in_short(effect) if effect else ''}")
    for line in examples(effect) if effect else ():
        print(f"  {line}")


def _found(session: Session, named: Named) -> dict[str, Any] | None:
    try:
        return session.call("GET", named.path)
    except RefusedError as refused:
        if refused.code != NOT_FOUND:
            raise
        return None


def _created(session: Session, wanted: Wanted, params: Mapping[str, str]) -> dict[str, Any] | None:
    """The new object; None when it exists meanwhile."""
    collection = path_of(wanted.named.kind, wanted.named.namespace)
    try:
        return session.call("POST", collection, body=wanted.body(), params=params)
    except RefusedError as refused:
        if refused.reason != "AlreadyExists":
            raise
        return None


def _written(document: Mapping[str, Any]) -> Any:
    """What people write of an object: a dry run has no resourceVersion that could have moved."""
    metadata = document.get("metadata", {})
    return [document.get("spec"), *(metadata.get(part) for part in ("labels", "annotations", "finalizers"))]


def _delete_one(session: Session, named: Named, params: Mapping[str, str], *, ignore_not_found: bool) -> None:
    try:
        answer = session.call("DELETE", named.path, params=params)
    except RefusedError as refused:
        if refused.code == NOT_FOUND and ignore_not_found:
            return
        raise
    finalizers = (answer.get("metadata") or {}).get("finalizers")
    print(f"{named} deleted" + (f" (waits for {', '.join(finalizers)})" if finalizers else ""))


def _print_rows(kind: Kind, items: Sequence[Mapping[str, Any]], *, with_namespace: bool) -> None:
    now_s = time.time()
    columns = ([("NAMESPACE", "metadata.namespace")] if with_namespace else []) + [
        ("NAME", "metadata.name"),
        *kind.columns,
    ]
    rows = [
        [*(cell(item, path) for _, path in columns), age(item.get("metadata", {}).get("creationTimestamp"), now_s)]
        for item in items
    ]
    print_table([*(header for header, _ in columns), "AGE"], rows)
