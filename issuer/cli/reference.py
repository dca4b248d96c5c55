"""`issuer reference`: the admin API's kinds, fields, requests and errors, from the models, without any server."""

import sys
from typing import Annotated

import typer

from issuer.cli.output import UsageError, trouble_reported
from issuer.model.kinds import KINDS, kind_named


def reference(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help="Only this kind: serviceaccount or sa, namespace, authpolicy, scope, …"),
    ] = None,
) -> None:
    """Print the reference of resources: every field with its type, default and meaning, requests, errors, examples.

    Markdown when it goes into a file or a pipe. The same page is served at /reference on the admin port.

    Example: issuer reference serviceaccount
    """
    # Brings the administration along, and no other command should wait for that.
    from issuer.reference.page import reference_page  # noqa: PLC0415

    with trouble_reported():
        wanted = kind_named(kind) if kind is not None else None
        if kind is not None and wanted is None:
            known = ", ".join(each.kind.lower() for each in KINDS)
            raise UsageError(f"there is no kind {kind!r}", next_step=f"there are {known}")
        _show(reference_page([wanted] if wanted is not None else KINDS))


def _show(page: str) -> None:
    if not sys.stdout.isatty():
        print(page, end="")
        return
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.markdown import Markdown  # noqa: PLC0415

    Console().print(Markdown(page))
