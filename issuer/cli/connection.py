"""The options every command that talks to a running issuer has, declared once, and the session they lead to."""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, get_type_hints

import typer

from issuer.cli.environment import Known, known_from
from issuer.cli.output import trouble_reported
from issuer.cli.session import Session, http_client

_PANEL = "Connection"

P = ParamSpec("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The options every command that talks to a server has, declared once; `connected` adds them."""

    admin_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Admin API. Environment: ISSUER_ADMIN_URL.", rich_help_panel=_PANEL),
    ] = None
    token_endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Token endpoint. Environment: ISSUER_TOKEN_ENDPOINT, else ISSUER_URL with /oauth2/token.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    client_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Administrator's client id. Environment: ISSUER_ADMIN_CLIENT_ID.", rich_help_panel=_PANEL
        ),
    ] = None
    client_secret: Annotated[
        str | None,
        typer.Option(
            metavar="SECRET",
            help="Administrator's secret. Better in the environment, where other users of this machine cannot read it: "
            "ISSUER_ADMIN_CLIENT_SECRET, or a ready token in ISSUER_ADMIN_TOKEN.",
            rich_help_panel=_PANEL,
        ),
    ] = field(default=None, repr=False)
    env_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="KEY=value lines to read instead of the environment. If neither names an issuer: .issuer/dev.env "
            "here or in a parent folder.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def known(self) -> Known:
        """Everything these options and their source say. Raises CommandError when a file cannot be used."""
        return known_from(self.env_file).under(
            {
                "ISSUER_ADMIN_URL": self.admin_url,
                "ISSUER_TOKEN_ENDPOINT": self.token_endpoint,
                "ISSUER_ADMIN_CLIENT_ID": self.client_id,
                "ISSUER_ADMIN_CLIENT_SECRET": self.client_secret,
            }
        )

    @contextmanager
    def session(self, *, write: bool) -> Iterator[Session]:
        """An open session with the admin API; `write` asks for the scope that may change things."""
        with http_client() as client:
            yield Session(client, self.known(), write=write)


def connected(command: Callable[Concatenate[Connection, P], None]) -> Callable[P, None]:
    """The command with the options of `Connection` added and its expected trouble reported.

    An option the command declares itself (`issuer token --client-id`) keeps the command's meaning.
    """
    own = list(inspect.signature(command).parameters.values())[1:]
    hints = get_type_hints(Connection, include_extras=True)
    taken = {parameter.name for parameter in own}
    added = [each.name for each in fields(Connection) if each.name not in taken]

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        given: dict[str, Any] = {name: kwargs.pop(name) for name in added}
        connection = Connection(**given)
        with trouble_reported():
            command(connection, *args, **kwargs)

    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hints[name]) for name in added
    ]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + shared
    run.__dict__["__signature__"] = inspect.Signature(parameters)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
