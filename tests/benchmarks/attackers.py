"""What a hostile stranger sends, at a steady rate, from a process of its own: `python -m …attackers KIND HOST PORT CLIENT_ID`.

Every kind says `on` once it is as bad as it gets, and goes on until SIGTERM, when it says how many answers a second it has had
since. It must cost its core little.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast
from uuid import uuid4

import uvloop

PER_S = 2_000
CONNECTIONS = 1_000
"""So many that each can wait for its answer for half a second before it holds up its next request."""
_TICK_S = 0.002
_AT_ONCE = int(1.25 * PER_S * _TICK_S)
"""One that was held up makes up for it little by little: on a machine of its own it would not have been held up.

At twice the rate it had episodes of 100 ms with 4,000 a second, which is another attack.
"""
IDLE = 10_000
_A_MESSAGE = 250
"""As many descriptors as fit into a message."""

Address = tuple[str, int]


def _request(client_id: str, source: str) -> bytes:
    secret = b64encode(f"{client_id}:isk1_{'x' * 49}".encode()).decode()
    body = "grant_type=client_credentials"
    return (
        f"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {secret}\r\nX-Forwarded-For: {source}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


class _Line(asyncio.Protocol):
    """A connection that is opened again when it ends; it counts what is answered on it."""

    def __init__(self) -> None:
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready to ask."""
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """One more answer, thrown away."""
        _count(data)

    def connection_lost(self, _: Exception | None) -> None:
        """Not ready."""
        self.transport = None


async def _at_a_rate(address: Address, requests: Callable[[int], bytes]) -> None:
    """PER_S requests a second, evenly, over many connections; answers are counted and thrown away."""
    loop = asyncio.get_running_loop()
    lines = [_Line() for _ in range(CONNECTIONS)]
    for line in lines:
        await loop.create_connection(lambda line=line: line, *address)  # type: ignore[misc]
    _say_on()
    begun, sent = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - begun) * PER_S)
        for number in range(sent, min(due, sent + _AT_ONCE)):
            line = lines[number % CONNECTIONS]
            if line.transport is None:
                with suppress(OSError):
                    await loop.create_connection(lambda line=line: line, *address)  # type: ignore[misc]
            if line.transport is not None:
                line.transport.write(requests(number))
            sent = number + 1
        await asyncio.sleep(_TICK_S)


_answers = 0


def _say_on() -> None:
    begun, before = time.monotonic(), _answers

    def end() -> None:
        sys.stdout.write(f"{(_answers - before) / (time.monotonic() - begun):.0f}\n")
        sys.stdout.flush()
        os._exit(0)

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    sys.stdout.write("on\n")
    sys.stdout.flush()


def _count(said: bytes) -> None:
    global _answers  # noqa: PLW0603 - the one number of this process
    _answers += said.count(b"HTTP/1.1 ")


async def _drain(reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        while said := await reader.read(65_536):
            _count(said)


async def random_ids(address: Address, _: str) -> None:
    """Ids shaped like ours that nobody has."""
    await _at_a_rate(address, lambda number: _request(f"sa-{uuid4()}", f"198.51.100.{number % 4}"))


async def wrong_secrets_from_one(address: Address, known: str) -> None:
    """Guesses for an account that exists, from one source."""
    await _at_a_rate(address, lambda _: _request(known, "198.51.100.1"))


async def wrong_secrets_from_many(address: Address, known: str) -> None:
    """The same from as many sources as there are requests."""
    await _at_a_rate(
        address, lambda number: _request(known, f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}")
    )


async def slow_headers(address: Address, _: str) -> None:
    """Five hundred connections that send a byte of a header now and then."""

    async def line() -> None:
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(*address)
                writer.write(b"POST /oauth2/token HTTP/1.1\r\nX-Slow: ")
                while not writer.is_closing():
                    writer.write(b"a")
                    await writer.drain()
                    await asyncio.sleep(0.5)

    lines = asyncio.gather(*(line() for _ in range(500)))
    await asyncio.sleep(1)
    _say_on()
    await lines


async def endless_headers(address: Address, _: str) -> None:
    """A hundred MiB of one header, again and again."""
    part = b"a" * 65_536
    _say_on()
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(*address)
            draining = asyncio.create_task(_drain(reader))
            writer.write(b"POST /oauth2/token HTTP/1.1\r\nX-Big: ")
            for _part in range(1_600):
                if draining.done():
                    break
                writer.write(part)
                await writer.drain()
            writer.close()
        await asyncio.sleep(0.01)


async def idle_connections(address: Address, _known: str) -> None:
    """Ten thousand connections that sent one whole request and keep quiet, and twenty more a second for those that must go.

    Their ends on this side are held by messages that nobody reads, and not by descriptors of a process, as if by other
    machines: whatever walks over the open files of this one would stall it for 40 ms every three seconds here.
    """
    holder, _unread = socket.socketpair()
    for _ in range(IDLE // _A_MESSAGE):
        _hold(holder, address, _A_MESSAGE)
    _say_on()
    while True:
        await asyncio.sleep(0.5)
        _hold(holder, address, 10)


def _hold(holder: socket.socket, address: Address, number: int) -> None:
    """Opens connections, waits for the answer on each and leaves them in a message."""
    connections = [socket.create_connection(address) for _ in range(number)]
    for connection in connections:
        connection.sendall(b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n")
    for connection in connections:
        connection.recv(65_536)
    socket.send_fds(holder, [b"-"], [connection.fileno() for connection in connections])
    for connection in connections:
        connection.close()


KINDS: dict[str, Callable[[Address, str], Awaitable[None]]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        random_ids,
        wrong_secrets_from_one,
        wrong_secrets_from_many,
        slow_headers,
        endless_headers,
        idle_connections,
    )
}
AT_A_RATE = ("random-ids", "wrong-secrets-from-one", "wrong-secrets-from-many")

if __name__ == "__main__":
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.nice(10)
    kind, host, port, known_id = sys.argv[1:]
    uvloop.run(KINDS[kind]((host, int(port)), known_id))  # type: ignore[arg-type]
