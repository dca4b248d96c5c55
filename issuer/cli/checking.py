"""`issuer check`: findings as a table for people or as JSON, and an exit code for a pipeline."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from issuer.checks.cases import Plan
from issuer.checks.findings import Finding, Level, Report, judge_all
from issuer.checks.table import CHECKS
from issuer.cli.gathering import gather
from issuer.cli.output import FAILED, Format, print_document, printable, trouble_reported
from issuer.sources import system_sources

_UNWRAPPED = 10_000
"""Columns of what is no terminal: a finding stays one line, for grep."""
_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}


def check(config: Path | None, replicas: int, workers: int, *, strict: bool, style: Format) -> None:
    """Prints the report. Ends with 1 when there is an error, or with `strict` a warning."""
    with trouble_reported():
        report = judge_all(CHECKS, asyncio.run(gather(config, Plan(replicas, workers), system_sources())))
        if style is Format.TABLE:
            _print_report(report)
        else:
            print_document(_document(report), style)
        if report.count(Level.ERROR) or (strict and report.count(Level.WARNING)):
            raise typer.Exit(FAILED)


def _document(report: Report) -> dict[str, Any]:
    return {
        "errors": report.count(Level.ERROR),
        "warnings": report.count(Level.WARNING),
        "findings": [
            {
                "check": name,
                "level": finding.level.value,
                "message": finding.message,
                "details": list(finding.details),
                "nextStep": finding.next_step,
            }
            for name, finding in report.findings.items()
        ],
        "notMade": list(report.not_made),
    }


def _print_report(report: Report) -> None:
    """Sentences are wrapped to the terminal; to a file or a pipe each goes whole, on one line."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("LEVEL", no_wrap=True)
    table.add_column("CHECK", no_wrap=True)
    table.add_column("FINDING", overflow="fold")
    for name, finding in report.findings.items():
        table.add_row(Text(finding.level, _COLOURS[finding.level]), Text(name), Text("\n".join(_lines(finding))))
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else _UNWRAPPED)
    with console.capture() as drawn:
        console.print(table)
    print("\n".join(line.rstrip() for line in drawn.get().splitlines()), end="\n\n")
    if report.not_made:
        print(f"Not checked, because of the errors above: {', '.join(report.not_made)}.")
    errors, warnings = report.count(Level.ERROR), report.count(Level.WARNING)
    print(f"{errors or 'no'} error{'s' * (errors != 1)}, {warnings or 'no'} warning{'s' * (warnings != 1)}")


def _lines(finding: Finding) -> list[str]:
    next_step = [f"→ {finding.next_step}"] if finding.next_step else []
    return [printable(line) for line in (finding.message, *(f"  {detail}" for detail in finding.details), *next_step)]
