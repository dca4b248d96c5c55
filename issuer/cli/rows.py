"""Objects as rows of a table: the columns of their kind, all at once or as they come."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len

from issuer.cli.output import age, cell, print_table, printable
from issuer.model.kinds import Kind

_GAP = "   "


def headers_of(kind: Kind, *, with_namespace: bool) -> list[str]:
    """The headers of a kind's table."""
    return [*(["NAMESPACE"] if with_namespace else []), "NAME", *(header for header, _ in kind.columns), "AGE"]


def row_of(kind: Kind, item: Mapping[str, Any], *, with_namespace: bool) -> list[str]:
    """The cells of one object, as old as it is now."""
    paths = [*(["metadata.namespace"] if with_namespace else []), "metadata.name", *(path for _, path in kind.columns)]
    created = (item.get("metadata") or {}).get("creationTimestamp")
    return [*(cell(item, path) for path in paths), age(created, time.time())]


def print_rows(kind: Kind, items: Sequence[Mapping[str, Any]], *, with_namespace: bool) -> None:
    """All of them as one table."""
    rows = [row_of(kind, item, with_namespace=with_namespace) for item in items]
    print_table(headers_of(kind, with_namespace=with_namespace), rows)


class RunningTable:
    """A table whose rows go on coming: as wide as what came first and whatever was wider since."""

    def __init__(self, headers: Sequence[str]) -> None:
        self._widths = [0] * len(headers)
        self._waiting = [list(headers)]

    def add(self, rows: Sequence[Sequence[str]]) -> None:
        """Prints the rows, the headers before the first ones; a reader behind a pipe has them at once."""
        lines = [*self._waiting, *([printable(each) for each in row] for row in rows)]
        self._waiting = []
        self._widths = [
            max(width, *(cell_len(line[index]) for line in lines)) if lines else width
            for index, width in enumerate(self._widths)
        ]
        for line in lines:
            padded = (each + " " * (width - cell_len(each)) for each, width in zip(line, self._widths, strict=True))
            print(_GAP.join(padded).rstrip(), flush=True)
