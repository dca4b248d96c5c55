"""The one object a command is about, in every way people name it."""

from typing import Annotated

import typer

from issuer.cli.completion import complete_kinds, complete_names
from issuer.cli.named import DEFAULT_NAMESPACE, Named, parse_account, parse_target
from issuer.cli.output import UsageError
from issuer.model.kinds import kind_named

OneKind = Annotated[
    str,
    typer.Argument(
        metavar="KIND[/NAME]",
        help="Kind: serviceaccount or sa, namespace, authpolicy, scope, …; or an account as NAMESPACE/NAME.",
        autocompletion=complete_kinds,
    ),
]
OneName = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="The object's name; NAMESPACE/NAME does as well as -n.",
        autocompletion=complete_names,
    ),
]


def parse_object(kind: str, name: str | None, namespace: str | None) -> Named:
    """The object in `KIND NAME`, `KIND/NAME`, `KIND NAMESPACE/NAME` or, an account, `NAMESPACE/NAME`. Raises UsageError."""
    if name is None and "/" in kind and kind_named(kind.partition("/")[0]) is None:
        name, row = kind, parse_account(kind).kind
    else:
        row, name = parse_target(kind, name)
    if not name:
        raise UsageError(f"which {row.kind}? The name is missing", next_step=f"`issuer get {row.plural}` shows them")
    within, slash, called = name.partition("/")
    if slash:
        if not row.namespaced:
            raise UsageError(f"{name}: a {row.kind} is in no namespace")
        if namespace and namespace != within:
            raise UsageError(f"{name}: its namespace is not the one of -n, {namespace!r}")
        namespace, name = within, called
    named = Named(row, (namespace or DEFAULT_NAMESPACE) if row.namespaced else "", name)
    named.check()
    return named
