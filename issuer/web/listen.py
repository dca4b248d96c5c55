"""Listening: sockets first, with an error a person understands, then uvicorn on both ports in one event loop."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

KEEP_ALIVE_S = 75
GRACE_S = 10
BACKLOG = 2048


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
    """uvicorn without its own signal handlers: the process has one place for signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(app: ASGIApp) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
        )
    )


async def serve_apps(
    apps: list[tuple[ASGIApp, socket.socket]], stop: asyncio.Event, on_ready: Callable[[], None]
) -> None:
    """Serves every app on its socket until `stop`, then finishes requests in flight, for at most GRACE_S."""
    servers = [(_server(app), listener) for app, listener in apps]
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
        server.should_exit = True
    await asyncio.gather(*running)
