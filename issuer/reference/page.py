"""The reference: every kind, field, request and error of the admin API, as Markdown."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from issuer.administration.queries import WINDOW
from issuer.administration.reading import LIST_LIMIT, MAX_LIST_LIMIT, MAX_WATCHES, MAX_WATCHES_PER_PRINCIPAL
from issuer.manifests import MAX_BODY_BYTES, MAX_DEPTH, MAX_YAML_BYTES
from issuer.model.examples import EXAMPLES
from issuer.model.faults import Reason
from issuer.model.kinds import KINDS, MAX_OBJECT_BYTES, SERVICE_ACCOUNT, Kind
from issuer.model.metadata import MAX_ANNOTATIONS_BYTES
from issuer.model.scopes import ADMIN_AUDIENCE, ADMIN_READ_SCOPE, ADMIN_SCOPE, SYSTEM_NAMESPACE
from issuer.model.status import CONDITIONS
from issuer.reference.errors import CAUSES, MEANINGS
from issuer.reference.fields import FieldRow, field_rows
from issuer.reference.operation import Operation
from issuer.reference.operations import DOCUMENTS, operations_of
from issuer.reference.records import AUDIT, DECISIONS, REFUSALS
from issuer.store.batches import BATCH_BYTES
from issuer.store.refusals import KEEP_DAYS, MAX_KEYS_A_MINUTE
from issuer.store.search import SCANNED

_INTRODUCTION = f"""\
Resources in the conventions of the Kubernetes API, over HTTP on the admin port. Bodies and answers are JSON or YAML; a PATCH
is a JSON merge patch (`application/merge-patch+json`). What a request reads and answers, byte for byte, stands in the OpenAPI
document at `/openapi/v3`.

Every request needs a token of this issuer for the audience `{ADMIN_AUDIENCE}`, which only accounts in `{SYSTEM_NAMESPACE}` can
get: with the scope `{ADMIN_SCOPE}` for everything, with `{ADMIN_READ_SCOPE}` for reading all but secrets.

- **Replace and merge.** `PUT` replaces the whole object, and only the one that was read if it carries its `resourceVersion`;
  `PATCH` changes the parts it names. An equal write changes nothing.
- **Dry run.** `?dryRun=All` on every write of an object: checked and answered, not written.
- **Delete.** Gone at once, unless it has finalizers or, a namespace, contents: then it is marked and goes later.
- **Watch.** `?watch=true&resourceVersion=…` goes on from a list: one JSON object on each line.
"""

_ACCOUNT_BODIES = {
    "Body of `/credentials`": "HandOutRequest",
    "Answer of `/credentials`": "Credential",
    "Answer of `/config`": "Config",
    "Answer of `/usage`": "Usage",
    "Body of `/explain`": "Question",
    "Answer of `/explain`": "Explanation",
}


def reference_page(kinds: Sequence[Kind] = KINDS) -> str:
    """The page about these kinds; about all of them also with what they have in common."""
    if list(kinds) != list(KINDS):
        return _joined(part for kind in kinds for part in _kind(kind))
    contents = [*(kind.kind for kind in KINDS), *_BEHIND_THE_KINDS]
    parts = [
        "# The admin API",
        _INTRODUCTION,
        "On this page:",
        "\n".join(f"- [{title}](#{anchor(title)})" for title in contents),
        *(part for kind in KINDS for part in _kind(kind, "##")),
    ]
    for title, section in _BEHIND_THE_KINDS.items():
        parts += [f"## {title}", *section()]
    return _joined(parts)


def anchor(title: str) -> str:
    """What a heading is linked by."""
    return "".join(each for each in title.lower().replace(" ", "-") if each.isalnum() or each == "-")


def _kind(kind: Kind, level: str = "#") -> Iterator[str]:
    reach = "namespaced" if kind.namespaced else "cluster-scoped"
    names = ", ".join(f"`{each}`" for each in (kind.plural, *kind.short))
    yield f"{level} {kind.kind}"
    yield f"`{kind.api_version}`, {reach}: {names}."
    yield kind.description
    yield f"```yaml\n{EXAMPLES[kind.kind].rstrip()}\n```"
    for part, model in (("spec", kind.spec), ("status", kind.status)):
        if model is not None:
            yield f"{level}# {kind.kind} {part}"
            yield _fields(model.__name__, f"{part}.", read=part == "status")
    if kind is SERVICE_ACCOUNT:
        yield f"{level}# {kind.kind} conditions"
        conditions = [(f"`{each.type}`", each.owner, _code(each.reasons), each.meaning) for each in CONDITIONS]
        yield _table(("Type", "Written by", "Reasons", "Meaning"), conditions)
    yield f"{level}# {kind.kind} requests"
    yield _requests(operations_of(kind))
    if kind is SERVICE_ACCOUNT:
        for title, schema in _ACCOUNT_BODIES.items():
            yield f"{level}# {title}"
            yield _fields(schema, read=title.startswith("Answer"))


def _metadata() -> Iterator[str]:
    yield _fields("ObjectMeta", "metadata.")


def _records() -> Iterator[str]:
    yield _requests(AUDIT)
    yield _fields("AuditRecord", read=True)


def _decisions() -> Iterator[str]:
    yield (
        "Every token is on record before it leaves, and so is every refusal of an account that had proven who it is. "
        f"Without `from` the last {int(WINDOW.total_seconds() // 3600)} hours are searched, before `until` if there is one. "
        "Only `uid`, and `account` in its namespace, have an index: for anything else a page ends after "
        f"{SCANNED} records that were looked at, found or not, and `metadata.continue` goes on from there."
    )
    yield _requests(DECISIONS)
    yield _fields("DecisionRecord", read=True)


def _refusals() -> Iterator[str]:
    yield (
        "Requests that did not prove to be of an account are not recorded one by one, so that strangers cannot make the issuer "
        f"write: they are counted, {MAX_KEYS_A_MINUTE} different ones a minute in each process, and kept for {KEEP_DAYS} days. "
        f"Without `from` the last {int(WINDOW.total_seconds() // 3600)} hours are listed."
    )
    yield _requests([REFUSALS])
    yield _fields("CountedRefusals", read=True)


def _about() -> Iterator[str]:
    yield _requests(DOCUMENTS)


def _errors() -> Iterator[str]:
    yield "Every error is a `Status` object. `reason` is for machines, `message` says what to do."
    reasons = [(str(each.code), f"`{each.value[0]}`", MEANINGS[each]) for each in Reason]
    yield _table(("Code", "Reason", "Meaning"), reasons)
    yield "`details.causes` names every fault of the request at once: `field`, `message`, and one of these as `reason`."
    yield _table(("Reason", "Meaning"), [(f"`{reason}`", meaning) for reason, meaning in CAUSES.items()])


def _limits() -> Iterator[str]:
    limits = [
        ("The body of a request", f"{MAX_BODY_BYTES} bytes, {MAX_YAML_BYTES} as YAML"),
        ("An object as it is stored: `metadata` and `spec`", f"{MAX_OBJECT_BYTES} bytes of JSON"),
        ("All annotations of an object together", f"{MAX_ANNOTATIONS_BYTES} bytes"),
        ("Objects and lists inside each other", f"{MAX_DEPTH} levels"),
        ("Objects on a page of a list", f"{MAX_LIST_LIMIT}, {LIST_LIMIT} unless `limit` says otherwise"),
        ("What they take as JSON", f"{BATCH_BYTES} bytes and at most one object more"),
        ("Watches at a time", f"{MAX_WATCHES_PER_PRINCIPAL} of one principal, {MAX_WATCHES} of all, for each server"),
        ("A key", "once in each object; YAML keys are strings, and YAML aliases are refused"),
        ("Text", "Unicode without NUL and without lone surrogates"),
        ("Numbers", "finite"),
    ]
    yield _table(("What", "Limit"), limits)


_BEHIND_THE_KINDS: Mapping[str, Callable[[], Iterator[str]]] = {
    "Metadata of every object": _metadata,
    "Audit records": _records,
    "Decision records": _decisions,
    "Refusal counts": _refusals,
    "About the API": _about,
    "Errors": _errors,
    "Limits": _limits,
}


def _fields(schema: str, prefix: str = "", *, read: bool = False) -> str:
    """A list, since a table's columns would cut the paths off in a terminal. `read`: what is only answered has no defaults."""
    return "\n".join(_field(each, read=read) for each in field_rows(schema, prefix))


def _field(row: FieldRow, *, read: bool) -> str:
    always = "always there" if read else "required"
    shape = [row.type, always if row.required else f"`{row.default}` by default" if row.default else ""]
    return f"- `{row.path}`: {', '.join(part for part in shape if part)}.\\\n  {' '.join(row.meaning.split())}"


def _requests(table: Iterable[Operation]) -> str:
    return "\n".join(_request(each) for each in table)


def _request(each: Operation) -> str:
    needs = f"needs `{each.scope}`" if each.guarded else "needs no token"
    return f"- `{each.method.upper()} {each.path}`: {needs}.\\\n  {each.summary}."


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(_cell(each) for each in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{each}`" for each in words)


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"
