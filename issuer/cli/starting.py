"""What `migrate`, `bootstrap`, `serve` and `dev` do, once their command lines are understood."""

import asyncio
import getpass
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from issuer.administration.authorize import Principal
from issuer.administration.bootstrap import NotBootstrapped
from issuer.administration.secrets import HandedOut
from issuer.cli.development import playground
from issuer.cli.output import CommandError, note, trouble_reported
from issuer.cli.privatefile import private_file
from issuer.cli.servers import ADMIN_ADDRESS
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


def serve(public: str, admin: str, config: Path | None) -> None:
    """Serves both addresses until a signal."""
    with _trouble():
        settings = load_settings(config)
        foundation = lay_foundation(settings, log_events(settings.log))
        _refuse_open_admin_port(admin, settings)
        with open_socket(public) as public_socket, open_socket(admin) as admin_socket:
            _run(lambda stop: serve_foundation(foundation, public_socket, admin_socket, stop))


def migrate(config: Path | None, to: str) -> None:
    """Moves the schema and says from where to where."""
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


def bootstrap(config: Path | None, out: Path | None, *, recover: bool) -> None:
    """The first start, or the way back in; the credential goes to `out` or to standard output."""
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
            f"The administrator's credential is {f'in {out}' if out else 'printed above'}; "
            "it is kept nowhere else in readable form."
        )


def admin_lines(issuer: str, credential: HandedOut) -> str:
    """What the client commands need to act as the administrator beside this server, as lines for a shell."""
    return (
        f"ISSUER_ADMIN_URL=http://{ADMIN_ADDRESS}\n"
        f"ISSUER_TOKEN_ENDPOINT={issuer}{TOKEN_PATH}\n"
        f"ISSUER_ADMIN_CLIENT_ID={credential.client_id}\n"
        f"ISSUER_ADMIN_CLIENT_SECRET={credential.client_secret}\n"
    )


def _to_stdout(text: str) -> None:
    print(text, end="", flush=True)


def dev(public: str, admin: str, data_dir: Path, config: Path | None) -> None:
    """Serves a playground until a signal."""
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
            raise _in_lines(error, next_step="config/issuer.example.yaml explains every setting") from None
        except (MasterKeyError, SealError, SchemaError, NotBootstrapped, AddressError, EmbeddedPostgresError) as error:
            raise _in_lines(error) from None
        except DatabaseUnavailable as error:
            raise CommandError(
                f"the database does not answer ({error})",
                next_step="is PostgreSQL running, and does ISSUER_DATABASE_URL name it with the right user and password?",
            ) from None


def _in_lines(error: Exception, *, next_step: str = "") -> CommandError:
    """The same in words for a terminal: the first line is the message, the others its details."""
    message, *details = str(error).splitlines()
    return CommandError(message, details=[line.strip() for line in details], next_step=next_step)
