"""One object by its address: how people write it, where it is in the admin API, how a refusal speaks of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

from issuer.cli.output import UsageError
from issuer.cli.session import RefusedError
from issuer.model.kinds import KINDS, NAMESPACE, SERVICE_ACCOUNT, Kind, kind_named
from issuer.model.metadata import is_dns_label

DEFAULT_NAMESPACE = "default"
NOT_FOUND = 404

_WHICH_NAMESPACES = "`issuer get namespaces` shows which there are"


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


def parse_target(kind: str, name: str | None) -> tuple[Kind, str]:
    """The kind and the name (or "") in `KIND NAME`, `KIND/NAME` or `KIND`. Raises UsageError."""
    word, slash, after = kind.partition("/")
    if slash and name is not None:
        raise UsageError(f"{kind} {name}: one name is enough")
    row = kind_named(word)
    if row is None:
        raise UsageError(f"no kind is called {word!r}", next_step=f"the kinds are {known_kinds()}")
    called = after if slash else name
    if called == "":
        raise UsageError(f"{kind}: the name is missing")
    return row, called or ""


def parse_sought(kind: str, name: str | None, namespace: str | None, *, all_namespaces: bool) -> Named:
    """What `KIND [NAME] [-n NAMESPACE | -A]` means: one object, or without a name a collection. Raises UsageError."""
    row, called = parse_target(kind, name)
    if called and all_namespaces and row.namespaced:
        raise UsageError("one object lives in one namespace: use -n NAMESPACE instead of -A")
    named = Named(row, "" if all_namespaces or not row.namespaced else namespace or DEFAULT_NAMESPACE, called)
    if called:
        named.check()
    return named


def parse_account(text: str) -> Named:
    """The account called `NAMESPACE/NAME`. Raises UsageError."""
    namespace, slash, name = text.partition("/")
    if not slash:
        raise UsageError(
            f"{text!r} names no namespace", next_step="write NAMESPACE/NAME, as in payments-prod/payment-service"
        )
    named = Named(SERVICE_ACCOUNT, namespace, name)
    named.check()
    return named


@contextmanager
def about(named: Named, *, hint: str = _WHICH_NAMESPACES, implied: bool = False) -> Iterator[None]:
    """A refusal inside says which object it is about.

    `hint` helps when the namespace does not exist. `implied`: nobody named the namespace, which may be the whole trouble.
    """
    try:
        yield
    except RefusedError as refused:
        subject = str(named) if named.name else named.kind.plural
        refused.message = f"{subject}{named.place}: {refused.message}"
        if refused.code == NOT_FOUND and not refused.next_step:
            missing_namespace = named.namespace and (refused.kind == NAMESPACE.kind or not named.name)
            listing = f"issuer get {named.kind.plural}" + (f" -n {named.namespace}" if named.namespace else "")
            refused.next_step = hint if missing_namespace else f"`{listing}` shows which there are"
            if implied and named.namespace:
                refused.next_step = f"without -n the namespace is {named.namespace}; {_WHICH_NAMESPACES}"
        raise


def path_of(kind: Kind, namespace: str = "", name: str = "") -> str:
    """The path of a collection, or of the one object called `name`."""
    group = f"/api/{kind.api_version}" if "/" not in kind.api_version else f"/apis/{kind.api_version}"
    reach = f"/namespaces/{quote(namespace, safe='')}" if kind.namespaced and namespace else ""
    return f"{group}{reach}/{kind.plural}" + (f"/{quote(name, safe='')}" if name else "")


def known_kinds() -> str:
    """Every kind a manifest may have, for a sentence."""
    return ", ".join(f"{kind.kind} ({kind.api_version})" for kind in KINDS)
