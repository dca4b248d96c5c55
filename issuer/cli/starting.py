"""What `migrate`, `bootstrap`, `serve` and `dev` do, once their command lines are understood."""

import asyncio
import getpass
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import typer
import uvloop

from issuer.administration.authorize import Principal
from issuer.administration.bootstrap import NotBootstrapped
from issuer.administration.rekeying import require_master_key
from issuer.administration.secrets import HandedOut
from issuer.cli.development import playground
from issuer.cli.output import CommandError, note, trouble_reported
from issuer.cli.privatefile import private_file
from issuer.cli.servers import ADMIN_ADDRESS
from issuer.embedded import EmbeddedPostgresError
from issuer.events import SchemaMigrated, ServerReady, ServerStopping
from issuer.observe.exporting import spans_exported
from issuer.observe.log import log_events
from issuer.protocol.metadata import TOKEN_PATH
from issuer.serving import STOP_S, Occasions, Part, collect_garbage_seldom, load_certificates
from issuer.serving import serve as serve_part
from issuer.settings import Settings, SettingsError, load_settings
from issuer.signing.sealing import MasterKeyError, SealError
from issuer.store.database import Database, DatabaseUnavailable, RightMissing
from issuer.store.schema import SchemaError, SchemaMissing, require_schema
from issuer.store.schema import migrate as migrate_schema
from issuer.web.listen import AddressError, open_socket, parse_address
from issuer.web.tls import CertificateError
from issuer.wiring import Foundation, database_url, first_start, lay_foundation
from issuer.workers.supervisor import supervise

_Result = TypeVar("_Result")
_PLAIN = (
    MasterKeyError,
    SealError,
    SchemaError,
    NotBootstrapped,
    AddressError,
    CertificateError,
    EmbeddedPostgresError,
)
"""Errors whose words are for whoever typed the command."""


def serve(public: str, admin: str, workers: int, config: Path | None) -> None:
    """Serves both addresses until a signal: `workers` processes issue tokens, one more is for administrators."""
    with start_trouble_reported():
        settings = load_settings(config)
        foundation = lay_foundation(settings, log_events(settings.log))
        _refuse_open_admin_port(admin, settings)
        # Before anything is forked: what is wrong is said once.
        load_certificates(foundation)
        with spans_exported():
            pass
        with open_socket(public) as public_socket, open_socket(admin) as admin_socket:
            asyncio.run(_first_look(foundation))
            hears, says = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            parts = {"admin": Part(admin=admin_socket, channel=hears, workers=workers)}
            for number in range(1, workers + 1):
                name = f"worker-{number}"
                parts[name] = Part(public=public_socket, name=name, channel=says)
            ports = _name(public_socket), _name(admin_socket)
            collect_garbage_seldom()
            code = supervise(
                {name: partial(_run_part, foundation, part) for name, part in parts.items()},
                foundation.emit,
                patience_s=settings.drain_delay_s + STOP_S,
                on_started=lambda: foundation.emit(ServerReady(foundation.issuer, *ports)),
                on_stopping=lambda: foundation.emit(ServerStopping()),
            )
        if code:
            raise SystemExit(code)


def _run_part(foundation: Foundation, part: Part, parent: int) -> None:
    """A forked process, from here to its end. `parent` reads end-of-file when there is nobody to stop it any more."""
    try:
        with start_trouble_reported(), spans_exported() as spans:
            _run(lambda stop: serve_part(foundation, part, stop, Occasions(), spans=spans), parent)
    except typer.Exit as end:
        # What is above does not know how commands end.
        raise SystemExit(end.exit_code) from None


async def _first_look(foundation: Foundation) -> None:
    """Raises what makes serving senseless: an older schema, a missing master key. A database that is away is waited for."""
    database = foundation.database("start")
    try:
        async with database.transaction() as connection:
            await require_schema(connection)
            await require_master_key(connection, foundation.master_key)
    except (DatabaseUnavailable, SchemaMissing, NotBootstrapped):
        return
    finally:
        await database.close()


def migrate(config: Path | None, to: str, *, may_remove: bool) -> None:
    """Moves the schema and says from where to where."""
    with start_trouble_reported():
        settings = load_settings(config)
        emit = log_events(settings.log)
        before, after = asyncio.run(
            with_database(
                database_url(settings), settings, lambda db: migrate_schema(db.engine, to, may_remove=may_remove)
            )
        )
        if before == after:
            note(f"The schema is at {after}: nothing to do.")
        else:
            emit(SchemaMigrated(before, after))
            note(f"The schema went from {before or 'nothing'} to {after or 'nothing'}.")


def bootstrap(config: Path | None, out: Path | None, *, recover: bool) -> None:
    """The first start, or the way back in; the credential goes to `out` or to standard output."""
    with start_trouble_reported():
        settings = load_settings(config)
        foundation = lay_foundation(settings, log_events(settings.log))

        async def run(database: Database) -> HandedOut | None:
            async with database.transaction() as connection:
                await require_schema(connection)
            start = first_start(foundation, database, local_principal())
            return await (start.recover() if recover else start.bootstrap())

        with private_file(out) if out is not None else nullcontext(_to_stdout) as write:
            credential = asyncio.run(with_database(foundation.database_url, settings, run))
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


def local_principal() -> Principal:
    """Who acts when a command runs beside the database: its user on this machine."""
    return Principal("local", f"local:{getpass.getuser()}")


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
        start_trouble_reported(),
        open_socket(public) as public_socket,
        open_socket(admin) as admin_socket,
        playground(data_dir, config, public_socket.getsockname(), admin_socket.getsockname()) as ready,
        spans_exported() as spans,
    ):
        emit = ready.foundation.emit

        def announce() -> None:
            emit(ServerReady(ready.foundation.issuer, _name(public_socket), _name(admin_socket)))
            ready.announce()

        part, occasions = Part(public_socket, admin_socket), Occasions(announce, lambda: emit(ServerStopping()))
        _run(lambda stop: serve_part(ready.foundation, part, stop, occasions, beside=(ready.supervise,), spans=spans))


def _run(serving: Callable[[asyncio.Event], Coroutine[Any, Any, None]], parent: int | None = None) -> None:
    """Runs until SIGTERM or SIGINT; a second signal ends it at once. A forked process also ends with its parent.

    A forked process heeds SIGTERM only, however often it comes: the parent knows when it has been enough.
    """

    async def until_signal() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            if stop.is_set():
                os._exit(130)
            stop.set()

        if parent is None:
            for signum in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(signum, on_signal)
        else:
            loop.add_signal_handler(signal.SIGTERM, stop.set)
            loop.add_reader(parent, stop.set)
        await serving(stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(until_signal())


async def with_database(
    url: str, settings: Settings, step: Callable[[Database], Coroutine[Any, Any, _Result]]
) -> _Result:
    """What the step came to, with a pool of connections of its own."""
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
    if not loopback and not settings.admin_plaintext and settings.admin_certificate_file is None:
        raise CommandError(
            f"the admin port would be open on {address} without TLS",
            next_step="keep it on 127.0.0.1 behind a TLS proxy, give it a certificate (admin_certificate_file), or set "
            "ISSUER_ADMIN_PLAINTEXT=1 where the network is private",
        )


def _name(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def start_trouble_reported() -> Iterator[None]:
    """What can be wrong with a start, in plain words and an exit code."""
    with trouble_reported():
        try:
            yield
        except SettingsError as error:
            raise _in_lines(error, next_step="config/issuer.example.yaml explains every setting") from None
        except _PLAIN as error:
            raise _in_lines(error) from None
        except DatabaseUnavailable as error:
            raise CommandError(
                f"the database does not answer ({error})",
                next_step="is PostgreSQL running, and does ISSUER_DATABASE_URL name it with the right user and password?",
            ) from None
        except RightMissing as error:
            raise CommandError(
                f"the database user lacks a right ({error})",
                next_step="`issuer check` lists those it needs; `issuer migrate` wants the owner of the tables, who may "
                "create more",
            ) from None


def _in_lines(error: Exception, *, next_step: str = "") -> CommandError:
    """The same in words for a terminal: the first line is the message, the others its details."""
    message, *details = str(error).splitlines()
    return CommandError(message, details=[line.strip() for line in details], next_step=next_step)
