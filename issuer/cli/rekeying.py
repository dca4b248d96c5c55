"""`issuer rekey`: how far it is while it works, and in the end which master keys are not needed any more."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from issuer.administration.rekeying import Counts, Rekeyed
from issuer.administration.rekeying import rekey as rekey_database
from issuer.cli.output import FAILED, note
from issuer.cli.starting import local_principal, start_trouble_reported, with_database
from issuer.events import MasterKeyReplaced
from issuer.observe.log import log_events
from issuer.settings import load_settings
from issuer.signing.sealing import MasterKey
from issuer.store.database import Database
from issuer.store.schema import require_schema
from issuer.wiring import lay_foundation, path_beside

_STATEMENT_TIMEOUT_S = 60
"""Nobody waits for an answer here, and a statement that passes over a million rows may take its time."""
_LINE_EVERY_S = 5.0
_SHOWN = 10
"""Blobs that do not open, one a line."""


def rekey(config: Path | None) -> None:
    """Puts everything under the first master key and prints what came of it. Ends with 1 unless that is everything."""
    with start_trouble_reported():
        settings = load_settings(config)
        foundation = lay_foundation(settings, log_events(settings.log))
        patient = settings.database.model_copy(update={"statement_timeout_s": _STATEMENT_TIMEOUT_S})

        async def run(database: Database) -> Rekeyed:
            async with database.transaction() as connection:
                await require_schema(connection)
            with _progress(foundation.sources.elapsed_s) as progressed:
                path = path_beside(foundation, database)
                return await rekey_database(path, local_principal(), foundation.master_key, progressed)

        done = asyncio.run(
            with_database(foundation.database_url, settings.model_copy(update={"database": patient}), run)
        )
        left = sum(sum(counts.values()) for counts in done.left.values())
        if done.rewrapped:
            rewrapped = sum(done.rewrapped.values())
            foundation.emit(MasterKeyReplaced(foundation.master_key.current, rewrapped, left))
        print("\n".join(_lines(foundation.master_key, done)))
        if left or done.unreadable:
            raise typer.Exit(FAILED)


@contextmanager
def _progress(elapsed_s: Callable[[], float]) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, else a line every few seconds; both on standard error."""
    if sys.stderr.isatty():
        columns = TextColumn("wrapped anew"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    said_at = elapsed_s()

    def line(done: int, total: int) -> None:
        nonlocal said_at
        if elapsed_s() - said_at >= _LINE_EVERY_S:
            said_at = elapsed_s()
            note(f"{done:,} of {total:,} wrapped anew")

    yield line


def _lines(master_key: MasterKey, done: Rekeyed) -> Iterator[str]:
    """The result: what was done, what each key still seals, what does not open."""
    if done.rewrapped:
        yield f"Wrapped anew under {master_key.current}: {_counted(done.rewrapped)}."
    elif not done.left:
        yield f"Everything is sealed under {master_key.current} already."
    for kek_id in sorted(master_key.keys.keys() - {master_key.current} | done.left.keys()):
        if kek_id in done.left:
            yield f"{kek_id} still seals {_counted(done.left[kek_id])}."
        else:
            yield f"{kek_id} seals nothing any more: it can be taken out of the file."
    yield from (f"  {blob}" for blob in done.unreadable[:_SHOWN])
    if len(done.unreadable) > _SHOWN:
        yield f"  … and {len(done.unreadable) - _SHOWN:,} more"
    if done.unreadable:
        yield "Restore these rows from a backup, or make new secrets for their accounts (`issuer rotate`)."
    elif done.left:
        yield "Is the first line of a server still another key? Make this one the first everywhere, then run this again."


def _counted(counts: Counts) -> str:
    parts = (f"{count:,} {kind.name if count == 1 else kind.plural}" for kind, count in counts.items())
    return ", ".join(parts)
