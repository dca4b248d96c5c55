"""The `issuer` command: servers beside the database, clients beside the admin API.

`servers` (dev, serve, bootstrap, migrate) talk to PostgreSQL; everything else talks to a running issuer over REST, as any
other driver does.
"""

from collections.abc import Callable, Mapping

import typer

from issuer.cli import credentials, explain, resources, servers, tokens

app = typer.Typer(
    name="issuer",
    help="An OAuth 2.0 authorization server for machines. New here? Run `issuer dev`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS: Mapping[str, tuple[Callable[..., None], ...]] = {
    "Run": (servers.dev, servers.serve, servers.migrate, servers.bootstrap),
    "Administer": (resources.apply, resources.get, resources.delete, credentials.rotate, explain.explain),
    "Use": (tokens.token,),
}
for _panel, _commands in _COMMANDS.items():
    for _command in _commands:
        app.command(_command.__name__, rich_help_panel=_panel)(_command)


def main() -> None:
    """The entry point of the `issuer` script."""
    app()
