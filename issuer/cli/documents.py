"""What `issuer apply -f` and `delete -f` read: every file, folder and document, whole, before anything is written."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from issuer.cli.lastapplied import authored
from issuer.cli.named import DEFAULT_NAMESPACE, Named, known_kinds
from issuer.cli.output import CommandError, UsageError
from issuer.manifests import ManifestError, parse_documents, parse_json
from issuer.model.kinds import BY_KIND, NAMESPACE

STDIN = "-"

_SUFFIXES = frozenset({".yaml", ".yml", ".json"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """One object as its author wrote it."""

    named: Named
    document: Mapping[str, Any]
    only_if_absent: bool = False

    def __str__(self) -> str:
        return str(self.named)

    def manifest(self) -> dict[str, Any]:
        """The document without what the issuer owns, its namespace spelled out."""
        written = authored(self.document)
        metadata = written["metadata"]
        if self.named.namespace and not metadata.get("namespace"):
            metadata["namespace"] = self.named.namespace
        return written


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
            f"{version or '(no apiVersion)'} {kind or '(no kind)'} is not a kind of ours: {known_kinds()}"
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


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or "cannot be read"
    return "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)


def namespaces_of(wanted: Sequence[Wanted]) -> list[Wanted]:
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
