"""What a benchmark gives: rows of ratios, each with its budget; shown as a table, kept in `bench.json`."""

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal

from cryptography.hazmat.backends.openssl import backend
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

PACKAGES = ("issuer", "asyncpg", "cryptography", "httptools", "joserfc", "starlette", "uvicorn", "uvloop")

MICROSECONDS: Final = "µs"  # noqa: RUF001 - µs are µs


class BenchmarkFailed(Exception):
    """There is no number: something answered wrongly, or did not answer."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a ratio may be (DESIGN section 8)."""

    sign: Literal["≤", "≥"]
    limit: float

    def holds(self, ratio: float) -> bool:
        return ratio <= self.limit if self.sign == "≤" else ratio >= self.limit


@dataclass(frozen=True, slots=True)
class Row:
    """One measure, a value for each round of ours and of the ceiling's, taken in turns. No budget: for information."""

    name: str
    unit: str
    ours: Sequence[float]
    ceiling: Sequence[float]
    budget: Budget | None = None

    @property
    def ratios(self) -> list[float]:
        """One a round: what disturbed both sides of it cancels out."""
        return [ours / ceiling for ours, ceiling in zip(self.ours, self.ceiling, strict=True)]

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def within(self) -> bool | None:
        return self.budget.holds(self.ratio) if self.budget is not None else None


def show(rows: Sequence[Row], console: Console) -> None:
    """The table of medians, and in plain words what is over budget."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("what", no_wrap=True)
    for heading in ("issuer", "ceiling", "ratio", "range", "budget", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            f"{row.name}, {row.unit}",
            f"{median(row.ours):,.0f}",
            f"{median(row.ceiling):,.0f}",
            f"{row.ratio:.3f}",
            f"{min(row.ratios):.2f}..{max(row.ratios):.2f}",
            f"{row.budget.sign} {row.budget.limit:.2f}" if row.budget else "",
            {None: "", True: "ok", False: "[bold red]over[/]"}[row.within],
        )
    console.print(table)
    console.print("Medians of all rounds; the ratio is the median of each round's own.")
    for row in rows:
        if row.budget is not None and not row.within:
            console.print(
                f"Over budget: {row.name} is {row.ratio:.3f} of the ceiling's, "
                f"the budget is {row.budget.sign} {row.budget.limit:.2f}.",
                soft_wrap=True,
            )


def write(path: Path, rows: Sequence[Row], skipped: Sequence[str], *, quick: bool) -> None:
    """The same and every round, for machines."""
    document = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "quick": quick,
        "machine": _machine(),
        "versions": {
            "python": platform.python_version(),
            "openssl": backend.openssl_version_text(),
            **{name: version(name) for name in PACKAGES},
        },
        "rows": [_as_json(row) for row in rows],
        "skipped": list(skipped),
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _as_json(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "unit": row.unit,
        "issuer": median(row.ours),
        "ceiling": median(row.ceiling),
        "ratio": row.ratio,
        "budget": f"{row.budget.sign} {row.budget.limit}" if row.budget else None,
        "within": row.within,
        "rounds": {"issuer": list(row.ours), "ceiling": list(row.ceiling)},
    }


def _machine() -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "system": platform.platform(),
        "cpu": model or platform.processor(),
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
    }
