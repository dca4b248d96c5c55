"""The composition root: settings become a running issuer. The only module that may import everything.

Constructors complete or fail; nothing is set afterwards, and nobody is handed a registry.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from starlette.types import ASGIApp

from issuer.administration.authorize import Principal
from issuer.administration.bootstrap import FirstStart, NotBootstrapped
from issuer.administration.explanation import Explanations
from issuer.administration.guard import Guard
from issuer.administration.resources import Resources
from issuer.administration.secrets import SecretKeeper
from issuer.administration.writing import WritePath
from issuer.directory import Directory
from issuer.events import Emit, ServerReady, ServerStopping
from issuer.issuance import Issuance
from issuer.policy.catalogue import Limits
from issuer.ratelimit import TokenRates
from issuer.settings import Settings, SettingsError
from issuer.signing.sealing import MasterKey, load_master_key
from issuer.snapshot import Account, Governance, Snapshot
from issuer.sources import Sources, system_sources
from issuer.store.database import Database, DatabaseUnavailable
from issuer.store.schema import SchemaMissing
from issuer.store.world import read_account
from issuer.web.admin import admin_app
from issuer.web.cursor import Cursors
from issuer.web.listen import serve_apps
from issuer.web.public import public_app
from issuer.web.resources import ResourceApi
from issuer.workers.firstuse import FirstUses
from issuer.workers.namespaces import empty_terminating_namespaces
from issuer.workers.reload import Compiler, Reloader

_FLUSH_S = 2
"""How long a stop waits for first uses to be written; what is left is noticed again at the secret's next use."""


@dataclass(frozen=True, slots=True)
class Foundation:
    """What every command beside the database needs."""

    settings: Settings
    master_key: MasterKey
    sources: Sources
    emit: Emit
    database_url: str
    issuer: str

    @property
    def limits(self) -> Limits:
        """What holds for every account of this server."""
        tokens = self.settings.tokens
        return Limits(self.settings.default_audience or self.issuer, tokens.default_ttl_s, tokens.max_ttl_s)

    def database(self, purpose: str) -> Database:
        """A pool of its own for one purpose, so that no purpose can starve another."""
        return Database(self.database_url, self.settings.database, application=f"issuer {purpose}")


def lay_foundation(settings: Settings, emit: Emit, sources: Sources | None = None) -> Foundation:
    """The foundation. Raises SettingsError, MasterKeyError."""
    if settings.url is None:
        raise SettingsError("ISSUER_URL is not set: the issuer URL, exactly as it will stand in every token's `iss`.")
    master_key = settings.master_key.get_secret_value() if settings.master_key else None
    return Foundation(
        settings=settings,
        master_key=load_master_key(master_key, settings.master_key_file),
        sources=sources or system_sources(),
        emit=emit,
        database_url=database_url(settings),
        issuer=settings.url,
    )


def database_url(settings: Settings) -> str:
    """The database's URL. Raises SettingsError."""
    if settings.database_url is None:
        raise SettingsError("ISSUER_DATABASE_URL is not set: postgresql://user:password@host/database.")
    return settings.database_url.get_secret_value()


def first_start(foundation: Foundation, database: Database, local: Principal) -> FirstStart:
    """What `issuer bootstrap` runs: the write path without a running server."""

    async def nothing_to_catch_up(_: int) -> None:
        """No snapshot is kept here."""

    path = WritePath(database, foundation.sources, foundation.emit, nothing_to_catch_up)
    return FirstStart(path, foundation.master_key, foundation.settings.schedule, foundation.limits, local)


@dataclass(frozen=True, slots=True)
class Issuer:
    """A wired issuer: two ASGI apps and what must run beside them."""

    public: ASGIApp
    admin: ASGIApp
    reloader: Reloader
    first_uses: FirstUses
    directory: Directory
    resources: Resources
    keeper: SecretKeeper
    workers: tuple[Callable[[], Coroutine[Any, Any, None]], ...]
    databases: tuple[Database, ...]

    async def close(self) -> None:
        """Closes every connection."""
        for database in self.databases:
            await database.close()


def wire(foundation: Foundation, *, stopping: Callable[[], bool] = lambda: False) -> Issuer:
    """Everything, connected; nothing runs yet and no connection is open. Once `stopping` it is not ready."""
    settings, sources, emit = foundation.settings, foundation.sources, foundation.emit
    for_tokens, for_admin = foundation.database("tokens"), foundation.database("admin")
    compiler = Compiler(foundation.master_key, foundation.limits, settings.schedule, sources)

    async def load_account(uid: UUID) -> Account | None:
        async with for_tokens.transaction() as connection:
            rows = await read_account(connection, uid)
        return Account(rows.account, rows.secrets) if rows is not None else None

    directory = Directory(load_account, settings.directory.max_accounts, sources.elapsed_s)
    for_reload = foundation.database("reload")
    reloader = Reloader(for_reload, directory, compiler, sources, emit, settings.database.poll_s, settings.outage.max_s)

    def current() -> Snapshot:
        snapshot = reloader.snapshot()
        if snapshot is None:
            raise DatabaseUnavailable("no snapshot")
        return snapshot

    def governance() -> Governance:
        return current().governance

    def peppers() -> Mapping[str, bytes]:
        return current().peppers

    path = WritePath(for_admin, sources, emit, reloader.hasten)
    keeper = SecretKeeper(path, foundation.master_key, settings.schedule, peppers, governance)
    resources = Resources(path, keeper, governance)
    first_uses = FirstUses(keeper, emit)
    guard = Guard(foundation.issuer, reloader.snapshot, directory, sources)
    rates = TokenRates(settings.directory.max_accounts)
    issuance = Issuance(
        foundation.issuer, reloader.snapshot, directory, sources, emit, rates, first_uses.note, reloader.hasten
    )
    cursors = Cursors(lambda: tuple(peppers().values()))
    explanations = Explanations(for_admin, governance, sources)
    api = ResourceApi(foundation.issuer, guard, resources, keeper, explanations, cursors, emit)
    return Issuer(
        public=public_app(issuance, settings.keys.jwks_max_age_s),
        admin=admin_app(api, lambda: "this process is stopping" if stopping() else reloader.why_not_ready),
        reloader=reloader,
        first_uses=first_uses,
        directory=directory,
        resources=resources,
        keeper=keeper,
        workers=(
            reloader.run,
            first_uses.run,
            lambda: empty_terminating_namespaces(reloader.snapshot, resources, emit),
        ),
        databases=(for_tokens, for_admin, for_reload),
    )


async def serve(
    foundation: Foundation,
    public: socket.socket,
    admin: socket.socket,
    stop: asyncio.Event,
    *,
    beside: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = (),
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serves both ports until `stop`. Raises what makes serving senseless: MasterKeyError, SchemaError of an old schema.

    A database that is away, empty or not bootstrapped yet is waited for: not ready, and saying why. A worker that ends is
    a bug, and ends the process: its platform starts a new one, which is better than half a server.
    """
    stop_serving = asyncio.Event()
    issuer = wire(foundation, stopping=stop_serving.is_set)
    try:
        with suppress(DatabaseUnavailable, SchemaMissing, NotBootstrapped):
            # The reloader goes on trying, and readiness says what it waits for.
            await issuer.reloader.catch_up()
        ended = asyncio.Event()
        running = [asyncio.create_task(worker()) for worker in (*issuer.workers, *beside)]
        for task in running:
            task.add_done_callback(lambda _: ended.set())

        def answering() -> None:
            foundation.emit(ServerReady(foundation.issuer, _name(public), _name(admin)))
            on_ready()

        def begin_to_stop(_: asyncio.Task[None]) -> None:
            foundation.emit(ServerStopping())
            stop_serving.set()

        either = asyncio.create_task(_first(stop, ended))
        either.add_done_callback(begin_to_stop)
        try:
            apps = [(issuer.public, public), (issuer.admin, admin)]
            # Nobody is drained from half a server.
            await serve_apps(
                apps, stop_serving, answering, lambda: 0 if ended.is_set() else foundation.settings.drain_delay_s
            )
            for task in running:
                if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    raise error
        finally:
            with suppress(TimeoutError):
                await asyncio.wait_for(issuer.first_uses.flush(), _FLUSH_S)
            for task in (*running, either):
                task.cancel()
            await asyncio.gather(*running, either, return_exceptions=True)
    finally:
        await issuer.close()


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


def _name(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
