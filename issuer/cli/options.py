"""The options that several commands on resources share, declared once."""

from typing import Annotated

import typer

from issuer.cli.completion import complete_kinds, complete_names, complete_namespaces
from issuer.cli.named import DEFAULT_NAMESPACE
from issuer.cli.output import UsageError

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
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAME",
        help=f"Namespace; `{DEFAULT_NAMESPACE}` when left out.",
        autocompletion=complete_namespaces,
    ),
]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="From every namespace.")]
KindArgument = Annotated[
    str,
    typer.Argument(
        metavar="KIND[/NAME]",
        help="Kind: serviceaccount or sa, namespace, authpolicy, scope, …",
        autocompletion=complete_kinds,
    ),
]
NameArgument = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="One object; all of them when left out.", autocompletion=complete_names),
]
Selector = Annotated[
    str | None,
    typer.Option(
        "--selector",
        "-l",
        metavar="SELECTOR",
        help="Only objects with these labels: team=payments, 'env in (dev,test)', '!legacy'; with a comma both.",
    ),
]


def selection_of(selector: str | None, name: str = "") -> dict[str, str]:
    """The parameters of a LIST or WATCH of what `-l` or the one name selects; none without either.

    Raises UsageError for an empty selector: it would mean everything, which is what `-l "$UNSET"` never means.
    """
    if selector is None:
        return {"fieldSelector": f"metadata.name={name}"} if name else {}
    if name:
        raise UsageError("one object needs no selector: give a name, or -l")
    if not selector.strip():
        raise UsageError("-l is empty", next_step="write labels, as in -l team=payments")
    return {"labelSelector": selector}
