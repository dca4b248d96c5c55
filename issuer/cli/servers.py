"""`migrate`, `bootstrap`, `serve`: the three steps of a production start. `dev`: all of them on a database of its own."""

import asyncio
import getpass
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import uvloop

from issuer.administration.authorize import Principal
from issuer.administration.bootstrap import NotBootstrapped
from issuer.administration.secrets import HandedOut
from issuer.cli.development import playground
from issuer.cli.output import CommandError, note, trouble_reported
from issuer.cli.privatefile import private_file
from issuer.embedded import EmbeddedPostgresError
from issuer.events import SchemaMigrated
from issuer.observe import log_events
from issuer.protocol.metadata import TOKEN_PATH
from issuer.settings import Settings, SettingsError, load_settings
from issuer.signing.sealing import MasterKeyError, SealError
from issuer.store.database import Database, DatabaseUnavailable
from issuer.store.schema import SchemaError, require_schema
from issuer.store.schema import migrate as migrate_schema
from issuer.web.listen import AddressError, open_socket, parse_address
from issuer.wiring import database_url, first_start, lay_foundation
from issuer.wiring import serve as serve_foundation

_Result = TypeVar("_Result")

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="ISSUER_CONFIG", metavar="FILE", help="YAML file of settings; the environment wins over it."
    ),
]
PublicAddress = Annotated[str, typer.Option(metavar="HOST:PORT", help="Where workloads and verifiers come in.")]
AdminAddress = Annotated[str, typer.Option(metavar="HOST:PORT", help="Where administrators come in. Keep it private.")]


def serve(
    public: PublicAddress = "0.0.0.0:8080",
    admin: AdminAddress = "127.0.0.1:8081",
    config: ConfigFile = None,
) -> None:
    """Serve tokens in production.

    Needs ISSUER_URL, ISSUER_DATABASE_URL and ISSUER_MASTER_KEY_FILE (or ISSUER_MASTER_KEY), and a database that
    `issuer migrate` and `issuer bootstrap` prepared; until then it answers 503 and /readyz says what is missing.
    """
    with _trouble():
        settings = load_settings(config)
        foundation = lay_foundation(settings, log_events(settings.log))
        _refuse_open_admin_port(admin, settings)
        with open_socket(public) as public_socket, open_socket(admin) as admin_socket:
            _run(lambda stop: serve_foundation(foundation, public_socket, admin_socket, stop))


def migrate(
    config: ConfigFile = None,
    to: Annotated[
        str, typer.Option(metavar="VERSION", help="Schema version, such as 0001; `base` removes everything.")
    ] = "head",
) -> None:
    """Bring the database's schema to this program's version. Safe to run again; needs only ISSUER_DATABASE_URL."""
    with _trouble():
        settings = load_settings(config)
        emit = log_events(settings.log)
        before, after = asyncio.run(
            _with_database(database_url(settings), settings, lambda db: migrate_schema(db.engine, to))
        )
        if before == after:
            note(f"The schema is at {after}: nothing to do.")
        else:
            emit(SchemaMigrated(before, after))
            note(f"The schema went from {before or 'nothing'} to {after or 'nothing'}.")


def bootstrap(
    config: ConfigFile = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the administrator's credential there (mode 0600) instead of printing it."
        ),
    ] = None,
    recover: Annotated[
        bool,
        typer.Option("--recover", help="Enable the administrator again and make a new secret; older ones are cut."),
    ] = False,
) -> None:
    """Make the first keys and the first administrator, whose credential is shown once. Run again, it changes nothing.

    The credential is printed as lines for a shell: `set -a; . FILE` and `issuer get serviceaccounts -A` works.
    """
    with _trouble():
        settings = load_settings(config)
        foundation = lay_foundation(settings, log_events(settings.log))
        local = Principal("local", f"local:{getpass.getuser()}")

        async def run(database: Database) -> HandedOut | None:
            async with database.transaction() as connection:
                await require_schema(connection)
            start = first_start(foundation, database, local)
            return await (start.recover() if recover else start.bootstrap())

        with private_file(out) if out is not None else nullcontext(_to_stdout) as write:
            credential = asyncio.run(_with_database(foundation.database_url, settings, run))
            if credential is None:
                note(
                    "Bootstrapped already: nothing to do. Is the credential lost? `issuer bootstrap --recover` makes another."
                )
                return
            write(admin_lines(foundation.issuer, credential))
        note(
            f"The administrator's credential{f' is in {out}' if out else ''}; it is kept nowhere else in readable form."
        )


def admin_lines(issuer: str, credential: HandedOut) -> str:
    """What the client commands need to act as the administrator, as lines for a shell."""
    return (
        f"ISSUER_TOKEN_ENDPOINT={issuer}{TOKEN_PATH}\n"
        f"ISSUER_ADMIN_CLIENT_ID={credential.client_id}\n"
        f"ISSUER_ADMIN_CLIENT_SECRET={credential.client_secret}\n"
    )


def _to_stdout(text: str) -> None:
    print(text, end="", flush=True)


def dev(
    public: PublicAddress = "127.0.0.1:8080",
    admin: AdminAddress = "127.0.0.1:8081",
    data_dir: Annotated[
        Path, typer.Option(metavar="DIR", help="Database, keys and credentials of this playground.")
    ] = Path(".issuer"),
    config: ConfigFile = None,
) -> None:
    """Run a complete issuer on a PostgreSQL of its own, with a demo account. For development only.

    Prints a curl line that works, and writes DIR/dev.env, which the other commands find by themselves.
    """
    with (
        _trouble(),
        open_socket(public) as public_socket,
        open_socket(admin) as admin_socket,
        playground(data_dir, config, public_socket.getsockname(), admin_socket.getsockname()) as ready,
    ):

        def serving(stop: asyncio.Event) -> Coroutine[Any, Any, None]:
            beside = (ready.supervise,)
            return serve_foundation(
                ready.foundation, public_socket, admin_socket, stop, beside=beside, on_ready=ready.announce
            )

        _run(serving)


def _run(serving: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Runs until SIGTERM or SIGINT; a second signal ends it at once."""

    async def until_signal() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            if stop.is_set():
                os._exit(130)
            stop.set()

        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, on_signal)
        await serving(stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(until_signal())


async def _with_database(
    url: str, settings: Settings, step: Callable[[Database], Coroutine[Any, Any, _Result]]
) -> _Result:
    database = Database(url, settings.database, application="issuer cli")
    try:
        return await step(database)
    finally:
        await database.close()


def _refuse_open_admin_port(address: str, settings: Settings) -> None:
    """The admin port carries administrators' tokens: in the clear only where nobody can listen, or by explicit wish."""
    host, _ = parse_address(address)
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not settings.admin_plaintext:
        raise CommandError(
            f"the admin port would be open on {address} without TLS",
            next_step="keep it on 127.0.0.1 behind a TLS proxy, or set ISSUER_ADMIN_PLAINTEXT=1 where the network is private",
        )


@contextmanager
def _trouble() -> Iterator[None]:
    """What can be wrong with a start, in plain words and an exit code."""
    with trouble_reported():
        try:
            yield
        except SettingsError as error:
            raise CommandError(str(error), next_step="config/issuer.example.yaml explains every setting") from None
        except (MasterKeyError, SealError, SchemaError, NotBootstrapped, AddressError, EmbeddedPostgresError) as error:
            raise CommandError(str(error)) from None
        except DatabaseUnavailable as error:
            raise CommandError(
                f"the database does not answer ({error})",
                next_step="is PostgreSQL running, and does ISSUER_DATABASE_URL name it with the right user and password?",
            ) from None
