"""The `issuer audit` commands: `searching` over the admin API, and those beside the database, whose work is in `auditing`."""

from pathlib import Path
from typing import Annotated

import typer

from issuer.cli import searching
from issuer.cli.output import Format
from issuer.cli.servers import ConfigFile

app = typer.Typer(
    name="audit",
    help="The record of what was decided: searched, followed, copied, and whether anybody touched it.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(searching.search)
app.command()(searching.tail)
_TIME = "Day (2026-11-01, in UTC) or RFC 3339 time."
Since = Annotated[str | None, typer.Option("--from", metavar="TIME", help=f"Decisions from then on. {_TIME}")]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help=f"Decisions before then. {_TIME}")]


@app.command()
def verify(
    config: ConfigFile = None,
    since: Since = None,
    until: Until = None,
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--file", metavar="FILE", help="Also this day of audit.export_dir, under the name it got; repeatable."
        ),
    ] = None,
    checkpoints: Annotated[
        list[str] | None,
        typer.Option(
            "--checkpoint",
            metavar="NUMBER:DIGEST",
            help="This checkpoint must be there, as a line of the log (CheckpointSigned) has it; repeatable.",
        ),
    ] = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="For people, or for machines.")] = Format.TABLE,
) -> None:
    """Say whether anybody changed, removed or made up a record, and which. Nothing is changed; servers may be running.

    Reads the settings that `serve` reads, the master key among them. Exit code 1 when something is broken, or a file cannot be
    checked; the end of a chain that no checkpoint speaks of yet is only unfinished. With --from, what was removed before that
    goes unnoticed.

    Example: issuer audit verify --from 2026-11-01
    """
    from issuer.cli import auditing  # noqa: PLC0415 - it brings the whole server along

    auditing.verify(config, (since, until), (files or [], checkpoints or []), output)


@app.command()
def export(
    config: ConfigFile = None,
    since: Since = None,
    until: Until = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file that is whole or not there; else standard output.")
    ] = None,
) -> None:
    """Write decisions as JSON Lines, the oldest first: one object a line, every field by its name.

    Needs ISSUER_DATABASE_URL. Days that were dropped stand in the files of `audit.export_dir`, in the same format; only those
    are named by checkpoints, so that `issuer audit verify --file` can check them.

    Example: issuer audit export --from 2026-11-01 --until 2026-11-02 --out day.jsonl
    """
    from issuer.cli import auditing  # noqa: PLC0415 - it brings the whole server along

    auditing.export(config, (since, until), out)
