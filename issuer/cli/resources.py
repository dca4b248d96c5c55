"""`issuer apply`, `get` and `delete`: resources from files to the admin API and back."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

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
from issuer.cli.session import Connection, RefusedError, Session, connected, path_of
from issuer.manifests import ManifestError, parse_documents, parse_json
from issuer.model.kinds import BY_KIND, KINDS, NAMESPACE, Kind, kind_named
from issuer.model.metadata import is_dns_label

DEFAULT_NAMESPACE = "default"
STDIN = "-"
NOT_FOUND = 404

T = TypeVar("T")

_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
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
    typer.Option("--namespace", "-n", metavar="NAME", help="Namespace; `default` when left out."),
]
KindArgument = Annotated[
    str, typer.Argument(metavar="KIND[/NAME]", help="Kind: serviceaccount or sa, namespace, scope, …")
]
Force = Annotated[bool, typer.Option("--force", help="Also when another tool manages the account (spec.managedBy).")]


@dataclass(frozen=True, slots=True)
class Named:
    """One object by its address."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.kind.lower()}/{self.name}"

    @property
    def place(self) -> str:
        """` in payments-prod`, or nothing for what has no namespace."""
        return f" in {self.namespace}" if self.namespace else ""

    @property
    def path(self) -> str:
        """The object's path in the admin API; without a name its collection's."""
        return path_of(self.kind, self.namespace, self.name)

    def check(self) -> None:
        """Raises UsageError for impossible names, an empty one above all: it would mean the whole collection."""
        if not self.kind.accepts_name(self.name):
            raise UsageError(f"{self.name!r} cannot be the name of a {self.kind.kind}")
        if self.kind.namespaced and not is_dns_label(self.namespace):
            raise UsageError(f"{self.namespace!r} cannot be the name of a namespace")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One object as its author wrote it."""

    named: Named
    document: Mapping[str, Any]
    only_if_absent: bool = False

    def __str__(self) -> str:
        return str(self.named)


@contextmanager
def about(named: Named, *, hint: str = "`issuer get namespaces` shows which there are") -> Iterator[None]:
    """A refusal inside says which object it is about; `hint` helps when its namespace does not exist."""
    try:
        yield
    except RefusedError as refused:
        subject = str(named) if named.name else named.kind.plural
        refused.message = f"{subject}{named.place}: {refused.message}"
        if refused.code == NOT_FOUND and not refused.next_step:
            missing_namespace = named.namespace and (refused.kind == NAMESPACE.kind or not named.name)
            listing = f"issuer get {named.kind.plural}" + (f" -n {named.namespace}" if named.namespace else "")
            refused.next_step = hint if missing_namespace else f"`{listing}` shows which there are"
        raise


@connected
def apply(
    connection: Connection,
    filename: Files = None,
    namespace: InNamespace = None,
    recursive: Recursive = False,
    create_namespaces: Annotated[
        bool, typer.Option("--create-namespaces", help="First make the namespaces that do not exist yet.")
    ] = False,
) -> None:
    """Create or change resources, so that they become what the files say.

    Everything is read before anything is written. Fields a file does not name keep their value.

    Example: issuer apply -f manifests/ --create-namespaces
    """
    wanted = read_manifests(filename or (), namespace, recursive=recursive)
    wanted.sort(key=lambda each: each.named.kind is not NAMESPACE)
    if create_namespaces:
        wanted = [*_namespaces_of(wanted), *wanted]
    with connection.session(write=True) as session:
        _try_all(wanted, lambda each: _apply_one(session, each))


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
    with connection.session(write=False) as session, about(named):
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
        _try_all(targets, lambda each: _delete_one(session, each, params, ignore_not_found=ignore_not_found))


def parse_target(kind: str, name: str | None) -> tuple[Kind, str]:
    """The kind and the name (or "") in `KIND NAME`, `KIND/NAME` or `KIND`. Raises UsageError."""
    word, slash, after = kind.partition("/")
    if slash and name is not None:
        raise UsageError(f"{kind} {name}: one name is enough")
    row = kind_named(word)
    if row is None:
        raise UsageError(f"no kind is called {word!r}", next_step=f"the kinds are {_known_kinds()}")
    called = after if slash else name
    if called == "":
        raise UsageError(f"{kind}: the name is missing")
    return row, called or ""


def read_manifests(paths: Sequence[str], namespace: str | None, *, recursive: bool) -> list[Wanted]:
    """Every object of the files, in their order. Raises CommandError naming everything wrong in any of them."""
    if not paths:
        raise UsageError("which files? say -f PATH, or -f - for standard input")
    wanted: list[Wanted] = []
    faults: list[str] = []
    try:
        sources = list(_sources(paths, recursive=recursive))
    except OSError as error:
        raise CommandError(f"{error.filename}: {_why(error)}") from None
    for source in sources:
        label = "standard input" if source == STDIN else source
        try:
            for number, document in enumerate(_documents(_text(source)), 1):
                where = f"{label}, document {number}"
                for each in _unlisted(document):
                    try:
                        wanted.append(_parse_object(each, namespace))
                    except ManifestError as error:
                        faults.append(f"{where}: {error}")
        except (ManifestError, OSError, UnicodeDecodeError) as error:
            faults.append(f"{label}: {_why(error)}")
    if faults:
        raise CommandError("nothing was written, because not everything could be read", details=faults)
    if not wanted:
        raise CommandError(f"no resources in {', '.join(paths)}")
    return wanted


def _sources(paths: Sequence[str], *, recursive: bool) -> Iterator[str]:
    """The files meant, folders replaced by what they hold, in a stable order."""
    for given in paths:
        folder = Path(given)
        if given == STDIN or not folder.is_dir():
            yield given
            continue
        inside = folder.rglob("*") if recursive else folder.iterdir()
        yield from sorted(str(file) for file in inside if file.suffix in _SUFFIXES and file.is_file())


def _text(source: str) -> str:
    return sys.stdin.read() if source == STDIN else Path(source).read_text("utf-8-sig")


def _documents(text: str) -> list[Any]:
    if text.lstrip().startswith("{"):  # JSON may be indented with tabs, YAML may not
        try:
            return [parse_json(text.encode())]
        except ManifestError:
            return parse_documents(text)
    return parse_documents(text)


def _unlisted(document: Any) -> list[Any]:
    """The objects of a list (`List`, `ServiceAccountList`), or the document itself."""
    if not isinstance(document, dict) or "items" not in document or not str(document.get("kind")).endswith("List"):
        return [document]
    items = document["items"] or []
    return items if isinstance(items, list) else [items]


def _parse_object(document: Any, namespace: str | None) -> Wanted:
    if not isinstance(document, dict):
        raise ManifestError("not an object with apiVersion, kind and metadata")
    version, kind, metadata = (document.get(key) for key in ("apiVersion", "kind", "metadata"))
    row = BY_KIND.get((version, kind)) if isinstance(version, str) and isinstance(kind, str) else None
    if row is None:
        raise ManifestError(
            f"{version or '(no apiVersion)'} {kind or '(no kind)'} is not a kind of ours: {_known_kinds()}"
        )
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise ManifestError(f"{kind}: metadata.name is missing")
    written = metadata.get("namespace")
    if row.namespaced and namespace and written and written != namespace:
        raise ManifestError(
            f"{row.kind.lower()}/{metadata['name']}: its namespace {written!r} is not the one of -n, {namespace!r}"
        )
    named = Named(row, str(written or namespace or DEFAULT_NAMESPACE) if row.namespaced else "", metadata["name"])
    try:
        named.check()
    except UsageError as misuse:
        raise ManifestError(misuse.message) from None
    return Wanted(named, document)


def _known_kinds() -> str:
    return ", ".join(f"{kind.kind} ({kind.api_version})" for kind in KINDS)


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or "cannot be read"
    return "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)


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


def _apply_one(session: Session, wanted: Wanted) -> None:
    named = wanted.named
    with about(named, hint=f"add --create-namespaces, or first make the namespace {named.namespace}"):
        before = _found(session, named)
        if before is None:
            created = _created(session, wanted)
            if created:
                print(f"{named} created{named.place}")
                return
            before = session.call("GET", named.path)  # somebody else was faster
        if wanted.only_if_absent:
            return
        after = session.call("PATCH", named.path, body=_patch(wanted.document), merge=True)
    moved = _version(before) != _version(after)
    print(f"{named} {'configured' if moved else 'unchanged'}{named.place}")


def _found(session: Session, named: Named) -> dict[str, Any] | None:
    try:
        return session.call("GET", named.path)
    except RefusedError as refused:
        if refused.code != NOT_FOUND:
            raise
        return None


def _created(session: Session, wanted: Wanted) -> bool:
    """False when it exists meanwhile."""
    try:
        session.call("POST", path_of(wanted.named.kind, wanted.named.namespace), body=_patch(wanted.document))
    except RefusedError as refused:
        if refused.reason != "AlreadyExists":
            raise
        return False
    return True


def _patch(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without what the issuer owns. All else is sent, so that it sees and names every unknown field."""
    metadata = {key: value for key, value in document["metadata"].items() if key not in _OWNED_METADATA}
    return {key: value for key, value in document.items() if key != "status"} | {"metadata": metadata}


def _version(document: Mapping[str, Any]) -> Any:
    return document.get("metadata", {}).get("resourceVersion")


def _namespaces_of(wanted: Sequence[Wanted]) -> list[Wanted]:
    """The namespaces the objects live in and no document describes, each once."""
    described = {each.named.name for each in wanted if each.named.kind is NAMESPACE}
    needed = dict.fromkeys(each.named.namespace for each in wanted if each.named.namespace)
    return [
        Wanted(
            Named(NAMESPACE, "", name),
            {"apiVersion": NAMESPACE.api_version, "kind": NAMESPACE.kind, "metadata": {"name": name}},
            only_if_absent=True,
        )
        for name in needed
        if name not in described
    ]


def _delete_one(session: Session, named: Named, params: Mapping[str, str], *, ignore_not_found: bool) -> None:
    with about(named):
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
