"""`issuer diff`: what `issuer apply` would change, worked out by the issuer itself and shown as a unified diff."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import unified_diff
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from issuer.cli.applying import Outcome, tell_what_is_held_back, try_out
from issuer.cli.connection import Connection, connected
from issuer.cli.documents import Wanted, read_manifests
from issuer.cli.lastapplied import authored
from issuer.cli.named import about
from issuer.cli.options import Files, InNamespace, Recursive
from issuer.cli.output import MISUSED, CommandError, printable
from issuer.cli.several import try_all
from issuer.manifests import to_yaml

DIFFERENT = 1
TROUBLE = MISUSED
"""Exit codes as of diff(1): 0 no differences, 1 differences, more than that trouble."""

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


@connected
def diff(
    connection: Connection,
    filename: Files = None,
    namespace: InNamespace = None,
    recursive: Recursive = False,
) -> None:
    """Show what `issuer apply` would change: live on the left, applied on the right. Nothing is written.

    Exit code 0: no differences; 1: differences; 2: trouble.

    Example: issuer diff -f manifests/
    """
    different = False

    def diff_one(wanted: Wanted) -> None:
        nonlocal different
        with about(wanted.named):
            outcome = try_out(session, wanted, coming)
        tell_what_is_held_back(wanted.named, outcome)
        if lines := list(_lines(wanted, outcome)):
            different = True
            _print_lines(lines)

    with _trouble_is_no_difference():
        everything = read_manifests(filename or (), namespace, recursive=recursive)
        coming = {each.named.namespace for each in everything}
        with connection.session(write=True) as session:
            try_all(everything, diff_one)
        sys.stdout.flush()
    if different:
        raise typer.Exit(DIFFERENT)


@contextmanager
def _trouble_is_no_difference() -> Iterator[None]:
    try:
        yield
    except CommandError as trouble:
        trouble.exit_code = TROUBLE
        raise
    except typer.Exit:
        raise typer.Exit(TROUBLE) from None
    except BrokenPipeError:
        raise  # whoever stopped reading has seen differences
    except OSError as error:
        raise CommandError(f"the result could not be written: {error.strerror}", exit_code=TROUBLE) from None


def _lines(wanted: Wanted, outcome: Outcome) -> Iterator[str]:
    """The diff of what people write of both, without anything that would differ at every look."""
    title = f"{wanted}{wanted.named.place}"
    before, after = _text(outcome.before), _text(outcome.after)
    return unified_diff(before, after, f"live {title}", f"applied {title}", lineterm="")


def _text(document: Mapping[str, Any] | None) -> list[str]:
    if document is None:
        return []
    in_order = json.loads(json.dumps(authored(document), sort_keys=True))
    return to_yaml(in_order).splitlines()


def _print_lines(lines: list[str]) -> None:
    """In colour on a terminal, which rich recognises; plain text elsewhere."""
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for line in lines:
        console.print(Text(printable(line), style=_STYLES.get(line[:1], "")))
