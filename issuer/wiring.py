"""The composition root: settings become a running issuer. The only module that may import everything.

Constructors complete or fail; nothing is set afterwards, and nobody is handed a registry.
"""

import os
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from socket import gethostname
from typing import TYPE_CHECKING, Any, TypeAlias

from starlette.types import ASGIApp

from issuer.administration.auditkeys import AuditKeys
from issuer.administration.authorize import Principal
from issuer.administration.bootstrap import FirstStart
from issuer.administration.decisions import DecisionRecords
from issuer.administration.explanation import Explanations
from issuer.administration.following import PolicyFollower
from issuer.administration.guard import Guard
from issuer.administration.keys import KeyKeeper
from issuer.administration.keysets import timing_of
from issuer.administration.keysteps import KeySteps
from issuer.administration.reading import ResourceReader
from issuer.administration.records import AuditRecords
from issuer.administration.resources import Resources
from issuer.administration.rotation import SecretRotation
from issuer.administration.secrets import SecretKeeper
from issuer.administration.usage import UsageReader
from issuer.administration.writing import WritePath
from issuer.directory import Directory
from issuer.directory.lookups import MAX_BATCHES
from issuer.events import Emit, Event
from issuer.issuance import Issuance
from issuer.observe.metrics import Counts
from issuer.policy.catalogue import Limits
from issuer.ratelimit import Rates
from issuer.settings import Settings, SettingsError
from issuer.signing.lifecycle import KeyTiming
from issuer.signing.sealing import MasterKey, load_master_key
from issuer.snapshot import Governance, Snapshot
from issuer.sources import Sources, system_sources
from issuer.store.clock import Clock, database_clock
from issuer.store.database import Database, DatabaseUnavailable
from issuer.store.decisions import WRITERS, DecisionWriter
from issuer.store.listener import Listener
from issuer.web.admin import admin_app
from issuer.web.apidiscovery import ApiDocuments
from issuer.web.cursor import Cursors
from issuer.web.guarded import GuardedRoutes
from issuer.web.keys import KeysApi
from issuer.web.lists import ListApi
from issuer.web.public import public_app
from issuer.web.records import RecordsApi
from issuer.web.resources import ResourceApi
from issuer.web.subresources import AccountStatusApi, CredentialsApi
from issuer.web.usage import UsageApi
from issuer.workers.attestation import Attestation, attestation
from issuer.workers.changefeed import ChangeFeed
from issuer.workers.compiler import Compiler
from issuer.workers.firstuse import FirstUses
from issuer.workers.folding import UsageFolder
from issuer.workers.housekeeping import (
    Housekeeping,
    empty_terminating_namespaces,
    forget_usage,
    trim_change_log,
)
from issuer.workers.keyrotation import LOOK_S, WORK, rotate_signing_keys
from issuer.workers.lanes import Lanes
from issuer.workers.loading import AccountLoader
from issuer.workers.readiness import Readiness, State
from issuer.workers.recorder import Recorder
from issuer.workers.refusals import Refusals
from issuer.workers.reload import Pace, Reloader
from issuer.workers.shipping import Access

if TYPE_CHECKING:
    from issuer.observe.spans import Spans


@dataclass(frozen=True, slots=True)
class Foundation:
    """What every command beside the database needs."""

    settings: Settings
    master_key: MasterKey
    sources: Sources
    emit: Emit
    database_url: str
    issuer: str
    timing: KeyTiming
    """What holds for the keys of every KeySet."""
    counts: Counts
    """What `emit` has counted in this process."""
    clock: Clock = database_clock
    """What schedules follow."""

    @property
    def limits(self) -> Limits:
        """What holds for every account of this server."""
        tokens = self.settings.tokens
        return Limits(self.settings.default_audience or self.issuer, tokens.default_ttl_s, tokens.max_ttl_s)

    def database(self, purpose: str, pool_size: int | None = None) -> Database:
        """A pool of its own for one purpose, so that no purpose can starve another."""
        return Database(self.database_url, self.settings.database, application=f"issuer {purpose}", pool_size=pool_size)


def lay_foundation(settings: Settings, emit: Emit, sources: Sources | None = None) -> Foundation:
    """The foundation, whose events are read by `emit` and counted. Raises SettingsError, MasterKeyError."""
    if settings.url is None:
        raise SettingsError("ISSUER_URL is not set: the issuer URL, exactly as it will stand in every token's `iss`.")
    master_key = settings.master_key.get_secret_value() if settings.master_key else None
    counts = Counts()

    def read(event: Event) -> None:
        emit(event)
        counts.read(event)

    return Foundation(
        settings=settings,
        master_key=load_master_key(master_key, settings.master_key_file),
        sources=sources or system_sources(),
        emit=read,
        database_url=database_url(settings),
        issuer=settings.url,
        timing=timing_of(settings),
        counts=counts,
    )


def database_url(settings: Settings) -> str:
    """The database's URL. Raises SettingsError."""
    if settings.database_url is None:
        raise SettingsError("ISSUER_DATABASE_URL is not set: postgresql://user:password@host/database.")
    return settings.database_url.get_secret_value()


def path_beside(foundation: Foundation, database: Database) -> WritePath:
    """The write path without a running server, for commands beside the database."""

    async def nothing_to_catch_up(_: int) -> None:
        """No snapshot is kept here."""

    return WritePath(database, foundation.sources, foundation.emit, nothing_to_catch_up)


def first_start(foundation: Foundation, database: Database, local: Principal) -> FirstStart:
    """What `issuer bootstrap` runs."""
    path = path_beside(foundation, database)
    schedule, limits = foundation.settings.schedule, foundation.limits
    return FirstStart(path, foundation.master_key, schedule, limits, foundation.timing, local, foundation.clock)


Worker: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""Something that runs beside the requests until the process ends."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """A wired issuer: two ASGI apps and what must run beside them."""

    issuance: Issuance
    public: ASGIApp
    admin: ASGIApp
    readiness: Readiness
    recorder: Lanes
    refusals: Refusals
    reloader: Reloader
    listener: Listener
    first_uses: FirstUses
    directory: Directory
    feed: ChangeFeed
    reader: ResourceReader
    resources: Resources
    keeper: SecretKeeper
    rotation: SecretRotation
    follower: PolicyFollower
    key_steps: KeySteps
    attestation: Attestation
    beside_tokens: tuple[Worker, ...]
    beside_admin: tuple[Worker, ...]
    databases: tuple[Database, ...]

    async def close(self) -> None:
        """Closes every connection."""
        for database in self.databases:
            await database.close()


def wire(
    foundation: Foundation,
    *,
    stopping: Callable[[], bool] = lambda: False,
    workers: int = 0,
    spans: "Spans | None" = None,
) -> Issuer:
    """Everything, connected; nothing runs yet and no connection is open. Once `stopping` it is not ready.

    `workers`: how many other processes of this server issue tokens; its readiness speaks for them, too. `spans`: where requests
    of both ports become spans, None where they do not.
    """
    settings, sources = foundation.settings, foundation.sources
    emit = foundation.emit if spans is None else spans.reading(foundation.emit)
    for_tokens = foundation.database("tokens", min(MAX_BATCHES, settings.database.pool_size))
    for_admin, for_reload = foundation.database("admin"), foundation.database("reload", 1)
    compiler = Compiler(foundation.master_key, foundation.limits, settings.schedule, sources)

    def wake() -> None:
        reloader.wake()

    loader = AccountLoader(for_tokens, lambda: reloader.position, wake)
    directory = Directory(loader.load, settings.directory.max_accounts, sources.elapsed_s)
    feed = ChangeFeed(for_admin)
    pace = Pace(settings.database.poll_s, settings.outage.max_s, foundation.clock)
    reloader = Reloader(for_reload, directory, feed, compiler, sources, emit, pace)
    listener = Listener(foundation.database_url, settings.database, wake, emit)

    keys_of_record = AuditKeys(for_admin, foundation.master_key)
    recorder = Lanes([_recorder(foundation, keys_of_record) for _ in range(WRITERS)])
    refusals = Refusals(recorder.note, for_admin, sources)
    folder = UsageFolder(for_admin)
    chores = Housekeeping(emit, sources.elapsed_s)

    def state() -> State:
        why = "this process is stopping" if stopping() else reloader.why_not_ready or recorder.why_not_durable
        snapshot, skew = reloader.snapshot(), reloader.skew
        return State(
            why,
            reloader.degraded or chores.late,
            snapshot.revision if snapshot is not None else 0,
            skew.ahead_s if skew is not None else None,
            pid=os.getpid(),
            followed_s=reloader.followed_s,
            accounts=len(directory),
            hits=directory.hits,
            misses=directory.misses,
            queries=directory.queries,
            idle_s=chores.idle_s,
            counted=foundation.counts.numbers,
        )

    readiness = Readiness(state, sources.elapsed_s, workers)

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
    keys = KeyKeeper(path, foundation.timing, foundation.clock)
    steps = KeySteps(keys, foundation.master_key)
    resources = Resources(path, keeper, keys, governance)
    rotation = SecretRotation(path, keeper, settings.schedule, foundation.clock)
    follower = PolicyFollower(path, keeper, reloader.snapshot, foundation.clock)
    first_uses = FirstUses(keeper, emit)
    guard = Guard(foundation.issuer, reloader.snapshot, directory, sources)
    issuance = Issuance(
        issuer=foundation.issuer,
        snapshot=reloader.snapshot,
        directory=directory,
        sources=sources,
        emit=emit,
        record=recorder.record,
        note=refusals.note,
        rates=Rates(settings.directory.max_accounts),
        note_first_use=first_uses.note,
        hasten=reloader.hasten,
        next_look=reloader.next_look,
    )
    attest = attestation(foundation.database_url, for_admin, keys_of_record, settings, foundation.clock, emit)
    cursors = Cursors(lambda: tuple(peppers().values()))
    explanations = Explanations(for_admin, governance, sources)
    reader = ResourceReader(for_admin, keeper)
    guarded = GuardedRoutes(guard, emit)
    apis = (
        ResourceApi(guarded, reader, resources, ListApi(guarded, reader, feed, cursors, sources)),
        AccountStatusApi(foundation.issuer, guarded, reader, resources),
        CredentialsApi(guarded, keeper, explanations),
        KeysApi(guarded, keys, steps),
        RecordsApi(guarded, AuditRecords(for_admin), DecisionRecords(for_admin, sources.now), cursors),
        UsageApi(guarded, UsageReader(for_admin, sources.now)),
        ApiDocuments(foundation.issuer, guarded),
    )
    return Issuer(
        issuance=issuance,
        public=public_app(issuance, settings.keys.jwks_max_age_s, settings.trusted_proxies or (), spans),
        admin=admin_app([route for api in apis for route in api.routes()], readiness, guarded, spans),
        readiness=readiness,
        recorder=recorder,
        refusals=refusals,
        reloader=reloader,
        listener=listener,
        first_uses=first_uses,
        directory=directory,
        feed=feed,
        reader=reader,
        resources=resources,
        keeper=keeper,
        rotation=rotation,
        follower=follower,
        key_steps=steps,
        attestation=attest,
        beside_tokens=(recorder.run, refusals.run, first_uses.run),
        beside_admin=(
            feed.run,
            chores.every(0.25, "namespaces", empty_terminating_namespaces(reloader.snapshot, resources, emit)),
            chores.every(1, "expiry", resources.restate_expired),
            chores.every(0.5, "secret rotation", rotation.rotate_due),
            chores.every(0.5, "secret holds", rotation.end_holds),
            chores.every(1, "overdue deliveries", rotation.note_overdue),
            chores.every(1, "rotation schedules", follower.follow),
            chores.every(LOOK_S, WORK, rotate_signing_keys(steps, emit)),
            chores.every(60, "change log", lambda: trim_change_log(for_admin)),
            chores.every(5, "usage", folder.fold),
            chores.every(600, "old usage", lambda: forget_usage(for_admin, settings.audit.keep_usage_days)),
            *attest.workers(chores),
        ),
        databases=(for_tokens, for_admin, for_reload),
    )


def _recorder(foundation: Foundation, keys: AuditKeys) -> Recorder:
    """A chain of this process's record."""
    settings = foundation.settings

    async def connect() -> DecisionWriter:
        return await DecisionWriter.open(foundation.database_url, settings.database)

    spool = settings.audit.spool_dir if settings.audit.on_outage == "spool" else None
    return Recorder(Access(connect, keys.chain_key, gethostname()), foundation.sources, foundation.emit, spool)
