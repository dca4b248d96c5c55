"""Listening: sockets first, with an error a person understands, then uvicorn on both ports in one event loop.

Stopping is done in an order that resets nobody who was let in: every answer says `Connection: close`; after the delay new
connections are turned away before they exist; those the kernel had accepted for us are served; then the sockets close.
"""

import asyncio
import ctypes
import os
import select
import socket
import ssl
import struct
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from issuer.web.connection import BoundedProtocol
from issuer.web.handshake import Handshake
from issuer.web.room import Room

KEEP_ALIVE_S = 75
GRACE_S = 10
BACKLOG = 2048
_LAST_WORD_S = 0.5
"""How long an open connection may still begin a request once the sockets are closed."""

# A classic BPF program for a listening socket: drop SYN, let everything else of known connections pass. Closing a
# listening socket resets the connections that wait in its queue; with this in front nobody joins the queue any more.
_DROP_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
)
_SO_ATTACH_FILTER = 26


class AddressError(Exception):
    """The address cannot be listened on; the message says which and why."""


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`. Raises AddressError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdecimal() or int(port) > 65_535:  # noqa: PLR2004
        raise AddressError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080.")
    return host, int(port)


def open_socket(address: str) -> socket.socket:
    """A listening socket. Raises AddressError."""
    host, port = parse_address(address)
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        # Python appends the address once more; a failed look-up of a name (errno below 0) has words of its own.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise AddressError(f"Cannot listen on {address}: {why or error}.") from None


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers, as the process has one place for signals, and with an orderly end."""

    def say_close(self) -> None:
        """From now on every answer asks its client to come back on another connection."""
        self.config.encoded_headers.append((b"connection", b"close"))
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves whom the kernel has let in, then closes."""
        for listener in sockets or []:
            _turn_away(listener)
            while _has_waiting(listener):  # noqa: ASYNC110 - the loop accepts, and tells nobody
                await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORD_S):
                while self.server_state.connections:  # noqa: ASYNC110 - uvicorn keeps the set
                    await asyncio.sleep(0.01)
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _turn_away(listener: socket.socket) -> None:
    """No connection begins on this socket any more. Where the system knows no such filter, a few may be reset."""
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(_DROP_SYN)
    head = struct.pack("HP", len(_DROP_SYN) // 8, ctypes.addressof(program))
    with suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)


def _has_waiting(listener: socket.socket) -> bool:
    """Whether a connection waits to be accepted."""
    readable = select.poll()
    readable.register(listener, select.POLLIN)
    return bool(readable.poll(0))


@dataclass(frozen=True, slots=True)
class Port:
    """An app, where it listens, and under which certificate."""

    app: ASGIApp
    listener: socket.socket
    tls: ssl.SSLContext | None = None
    max_connections: int | None = None


def _server(port: Port) -> _Server:
    config = uvicorn.Config(
        port.app,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    config.load()
    config.http_protocol_class = partial(_connection, Room(port.max_connections), port.tls)  # type: ignore[assignment]
    return _Server(config)


def _connection(
    room: Room, tls: ssl.SSLContext | None, *, server_state: ServerState, **uvicorns: Any
) -> BoundedProtocol | Handshake:
    """What a new connection is, first of all."""
    spoken = partial(BoundedProtocol, server_state=server_state, room=room, **uvicorns)
    return spoken() if tls is None else Handshake(room, tls, spoken, server_state.connections)


async def serve_ports(
    ports: list[Port],
    stop: asyncio.Event,
    on_ready: Callable[[], None],
    drain: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Serves every port until `stop`, then until `drain()` ends, then finishes what was begun.

    During the drain load balancers notice that readiness has ended and clients that keep connections leave them.
    Requests in flight have GRACE_S after it.
    """
    servers = [(_server(port), port.listener) for port in ports]
    running = [asyncio.create_task(server.serve(sockets=[listener])) for server, listener in servers]
    while not all(server.started for server, _ in servers):
        if any(task.done() for task in running):
            break
        await asyncio.sleep(0.005)
    else:
        on_ready()
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([stopping, *running], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    for server, _ in servers:
        server.say_close()
    if stop.is_set():
        await drain()
    for server, _ in servers:
        server.should_exit = True
    await asyncio.gather(*running)
