"""The `issuer` command: servers beside the database, clients beside the admin API.

`servers` (dev, serve, bootstrap, migrate, check, rekey) and `audit` talk to PostgreSQL; everything else talks to a running
issuer over REST, as any other driver does.
"""

import atexit
import gc
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Annotated

# What is imported stays: looking through it again and again is a quarter of a start, and once more before it all goes with
# the process is a quarter of a short command.
gc.set_threshold(1_000_000)
atexit.register(gc.freeze)

import typer  # noqa: E402

from issuer.cli import (  # noqa: E402
    applying,
    audit,
    credentials,
    describing,
    diffing,
    editing,
    explain,
    keys,
    reference,
    resources,
    servers,
    tokens,
    waiting,
    watching,
)

app = typer.Typer(
    name="issuer",
    help="An OAuth 2.0 authorization server for machines. New here? Run `issuer dev`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS: Mapping[str, tuple[Callable[..., None], ...]] = {
    "Run": (servers.dev, servers.serve, servers.migrate, servers.bootstrap, servers.check, servers.rekey),
    "Administer": (
        applying.apply,
        diffing.diff,
        resources.get,
        watching.watch,
        waiting.wait,
        resources.delete,
        describing.describe,
        editing.edit,
        credentials.rotate,
        explain.explain,
        reference.reference,
    ),
    "Use": (tokens.token,),
}
for _panel, _commands in _COMMANDS.items():
    for _command in _commands:
        app.command(_command.__name__, rich_help_panel=_panel)(_command)
app.add_typer(keys.app, rich_help_panel="Administer")
app.add_typer(audit.app, rich_help_panel="Administer")


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"issuer {version('issuer')}")
        raise typer.Exit


@app.callback()
def _before_any_command(
    *,
    says_version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of `issuer` itself."""
    del says_version  # the callback ended the command


def main() -> None:
    """The entry point of the `issuer` script."""
    app()
