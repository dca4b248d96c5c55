"""What the command line says: results on standard output, warnings and errors on standard error.

Exit codes: 0 done, 1 not done, 2 the command was not understood.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from io import UnsupportedOperation
from typing import Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from issuer.manifests import to_yaml
from issuer.model.times import parse_time

FAILED = 1
MISUSED = 2

_ABSENT = "<none>"
_GAP = 3
_AGES_S = ((2 * 365 * 86_400, 365 * 86_400, "y"), (2 * 86_400, 86_400, "d"), (3 * 3600, 3600, "h"), (120, 60, "m"))


class Format(StrEnum):
    """How `get` writes resources."""

    TABLE = "table"
    YAML = "yaml"
    JSON = "json"


class CommandError(Exception):
    """Trouble that is no bug: what is wrong, its details one a line, and what to do next. Never holds a secret."""

    def __init__(
        self, message: str, *, details: Sequence[str] = (), next_step: str = "", exit_code: int = FAILED
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        self.next_step = next_step
        self.exit_code = exit_code


class UsageError(CommandError):
    """The command line itself makes no sense."""

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message, next_step=next_step, exit_code=MISUSED)


def printable(text: str) -> str:
    """The text on one line, without anything that moves a terminal's cursor or the direction of writing."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def note(text: str) -> None:
    """A line for the person at the terminal, out of the way of the result."""
    print(printable(text), file=sys.stderr)


def report(trouble: CommandError) -> None:
    """The trouble on standard error, in the order a reader needs it."""
    note(f"error: {trouble.message}")
    for detail in trouble.details:
        note(f"  {detail}")
    if trouble.next_step:
        note(f"hint: {trouble.next_step}")


@contextmanager
def trouble_reported() -> Iterator[None]:
    """Expected trouble inside becomes lines on standard error and an exit code, never a traceback."""
    try:
        yield
        sys.stdout.flush()
    except CommandError as trouble:
        report(trouble)
        raise typer.Exit(trouble.exit_code) from None
    except OSError as error:
        give_up_stdout()
        if not isinstance(error, BrokenPipeError):  # a reader such as `head` may leave when it has enough
            report(CommandError(f"the result could not be written: {error.strerror}"))
        raise typer.Exit(FAILED) from None


def give_up_stdout() -> None:
    """What is left in the buffer goes nowhere, so that the interpreter's last flush does not fail again."""
    with suppress(UnsupportedOperation, OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def print_document(document: Any, style: Format) -> None:
    """The document whole, as YAML or JSON."""
    if style is Format.YAML:
        print(to_yaml(document), end="")
    else:
        print(to_json(document))


def to_json(document: Any) -> str:
    """Indented JSON, non-ASCII as escapes: safe on any terminal."""
    return json.dumps(document, indent=2)


def print_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, indent: int = 0, show_header: bool = True
) -> None:
    """Aligned columns, whole whatever the width of the terminal: what is cut off cannot be copied or grepped."""
    cells = [[printable(cell) for cell in row] for row in rows]
    shown = (headers, *cells) if show_header else cells
    widths = [max(cell_len(row[index]) for row in shown) + _GAP for index in range(len(headers))]
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=show_header)
    for header in headers:
        table.add_column(header, no_wrap=True, overflow="ignore")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(file=sys.stdout, width=indent + sum(widths), highlight=False)
    console.print(Padding(table, (0, 0, 0, indent), expand=False), crop=False, soft_wrap=True)


def cell(document: Mapping[str, Any], path: str) -> str:
    """The value at `path` as one cell of a table."""
    value: Any = document
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    match value:
        case None | "" | [] | {}:
            return _ABSENT
        case list():
            return ",".join(str(item) for item in value)
        case str():
            return value
        case _:
            return json.dumps(value)


def age(created: str | None, now_s: float) -> str:
    """How long ago `created` was, in its largest sensible unit."""
    if not created:
        return _ABSENT
    try:
        seconds = max(0, int(now_s - parse_time(created).timestamp()))
    except ValueError:
        return "<invalid>"
    return span(seconds)


def when(instant: str | None, now_s: float) -> str:
    """`2026-11-22T01:30:06Z (4m ago)`, or `(in 29d)` of what is to come."""
    if not instant:
        return _ABSENT
    try:
        seconds = int(parse_time(instant).timestamp() - now_s)
    except ValueError:
        return instant
    return f"{instant} ({f'in {span(seconds)}' if seconds > 0 else f'{span(-seconds)} ago'})"


def span(seconds: int) -> str:
    """`45s`, `12m`, `30h`, `9d`, `3y`."""
    for least, unit, letter in _AGES_S:
        if seconds >= least:
            return f"{seconds // unit}{letter}"
    return f"{seconds}s"
