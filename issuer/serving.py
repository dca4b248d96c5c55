"""A wired issuer served: one process for both ports, or one for each core that issues tokens and one for administrators."""

import asyncio
import gc
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from issuer.administration.bootstrap import NotBootstrapped
from issuer.events import ScheduleScaled
from issuer.settings import ScheduleSettings
from issuer.store.database import DatabaseUnavailable
from issuer.store.schema import SchemaMissing
from issuer.web.listen import Port, serve_ports
from issuer.web.tls import Certificate
from issuer.wiring import Foundation, Issuer, Worker, wire
from issuer.workers.readiness import report

if TYPE_CHECKING:
    from issuer.observe.spans import Spans

_FLUSH_S = 2
"""How long a stop waits for first uses to be written, and for refusals to be recorded."""
_COLLECT_AFTER = (200_000, 1_000, 10)
"""How many more new objects than gone ones are walked together: requests that wait, 2,000 of them on as many connections, are
half as many. How often that is done until those that stayed are walked again; and how often this is until all are."""
STOP_S = 17
"""How long a process may take to stop once it was drained: requests in flight, first uses, connections, spans."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one process does of a server: the ports it serves, and how it speaks of its readiness.

    `channel`: where workers report to the admin process; `name`: under which name this one does. `workers`: how many report.
    """

    public: socket.socket | None = None
    admin: socket.socket | None = None
    name: str = ""
    channel: socket.socket | None = None
    workers: int = 0


@dataclass(frozen=True, slots=True)
class Occasions:
    """What is to be called when."""

    on_ready: Callable[[], None] = lambda: None
    on_stopping: Callable[[], None] = lambda: None


async def serve(
    foundation: Foundation,
    part: Part,
    stop: asyncio.Event,
    occasions: Occasions,
    *,
    beside: tuple[Worker, ...] = (),
    spans: "Spans | None" = None,
) -> None:
    """Serves the part until `stop`. Raises what makes serving senseless: MasterKeyError, SchemaError of an old schema.

    A database that is away, empty or not bootstrapped yet is waited for: not ready, and saying why. A worker that ends is
    a bug, and ends the process: its platform starts a new one, which is better than half a server.
    """
    schedule = foundation.settings.schedule
    if part.admin is not None and schedule != ScheduleSettings():
        foundation.emit(ScheduleScaled(schedule.day_s, schedule.hour_s))
    stop_serving = asyncio.Event()
    issuer = wire(foundation, stopping=stop_serving.is_set, workers=part.workers, spans=spans)
    ports, certificates = _ports(foundation, part, issuer)
    _allow_connections()
    try:
        with suppress(DatabaseUnavailable, SchemaMissing, NotBootstrapped):
            # The reloader goes on trying, and readiness says what it waits for.
            await issuer.reloader.catch_up()
            if part.public is not None:
                await issuer.recorder.open()
        collect_garbage_seldom()
        ended = asyncio.Event()
        workers = (*_workers(part, issuer), *(each.run for each in certificates), *beside)
        running = [asyncio.create_task(worker()) for worker in workers]
        for task in running:
            task.add_done_callback(lambda _: ended.set())

        def begin_to_stop(_: asyncio.Task[None]) -> None:
            occasions.on_stopping()
            stop_serving.set()

        async def drain() -> None:
            if not ended.is_set():  # nobody is drained from half a server
                await asyncio.sleep(foundation.settings.drain_delay_s)
            issuer.feed.end()

        either = asyncio.create_task(_first(stop, ended))
        either.add_done_callback(begin_to_stop)
        try:
            await serve_ports(ports, stop_serving, occasions.on_ready, drain)
            for task in running:
                if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    raise error
        finally:
            with suppress(TimeoutError):
                await asyncio.wait_for(issuer.first_uses.flush(), _FLUSH_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(issuer.recorder.finish(), _FLUSH_S)
            with suppress(TimeoutError, DatabaseUnavailable):
                await asyncio.wait_for(issuer.refusals.flush(), _FLUSH_S)
            with suppress(TimeoutError, DatabaseUnavailable):
                # Every process does, whichever of them is the last to end: its chain is stated to its end.
                await asyncio.wait_for(issuer.attestation.attest(), _FLUSH_S)
            for task in (*running, either):
                task.cancel()
            await asyncio.gather(*running, either, return_exceptions=True)
    finally:
        await issuer.close()


def _ports(foundation: Foundation, part: Part, issuer: Issuer) -> tuple[list[Port], list[Certificate]]:
    public, admin = load_certificates(foundation)
    served = [
        (app, listener, certificate)
        for app, listener, certificate in (
            (issuer.public, part.public, public),
            (issuer.admin, part.admin, admin),
        )
        if listener is not None
    ]
    most = foundation.settings.max_connections
    ports = [Port(app, listener, tls.context if tls is not None else None, most) for app, listener, tls in served]
    return ports, [certificate for _, _, certificate in served if certificate is not None]


def load_certificates(foundation: Foundation) -> tuple[Certificate | None, Certificate | None]:
    """What the public and the admin port are served with, None for a port in the clear. Raises CertificateError."""
    settings = foundation.settings
    public, admin = (
        Certificate(chain, key, foundation.emit) if chain is not None and key is not None else None
        for chain, key in (
            (settings.public_certificate_file, settings.public_key_file),
            (settings.admin_certificate_file, settings.admin_key_file),
        )
    )
    return public, admin


def collect_garbage_seldom() -> None:
    """No request waits for the cycle collector to look through what is there for good.

    Walking every object of code, schemas and settings takes 100 ms, and 100,000 accounts in memory another second. Requests
    and connections leave no cycles behind (a test holds that), so the collector is a safety net: what was there at the start
    is left alone, and the rest is walked as a whole once in days. Before a fork it spares each child that walk, and the pages
    that the walk writes on stay shared.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def _workers(part: Part, issuer: Issuer) -> tuple[Worker, ...]:
    """What runs beside the ports of this part."""
    workers: list[Worker] = [issuer.reloader.run, issuer.listener.run]
    if part.public is not None:
        workers += issuer.beside_tokens
    if part.admin is not None:
        workers += issuer.beside_admin
    channel = part.channel
    if channel is not None and part.admin is not None:
        workers.append(lambda: issuer.readiness.listen(channel))
    elif channel is not None:
        workers.append(lambda: report(channel, part.name, issuer.readiness.own))
    return tuple(workers)


def _allow_connections() -> None:
    """As many open files as this user may have: a connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
