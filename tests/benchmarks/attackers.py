"""What a hostile stranger sends, at a steady rate, from a process of its own: `python -m …attackers KIND HOST PORT CLIENT_ID`.

Every kind goes on until the process is killed. Standard library only: it must cost its core little.
"""

import asyncio
import itertools
import os
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import uuid4

PER_S = 2_000
CONNECTIONS = 32
IDLE = 10_000
_TICK_S = 0.02

Address = tuple[str, int]


def _request(client_id: str, source: str) -> bytes:
    secret = b64encode(f"{client_id}:isk1_{'x' * 49}".encode()).decode()
    body = "grant_type=client_credentials"
    return (
        f"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {secret}\r\nX-Forwarded-For: {source}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def _at_a_rate(address: Address, requests: Callable[[int], bytes]) -> None:
    """PER_S requests a second over a few connections; answers are read and thrown away."""
    numbers = itertools.count()

    async def line(place: int) -> None:
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(*address)
                draining = asyncio.create_task(_drain(reader))
                due = 0.0
                while not draining.done():
                    due += PER_S / CONNECTIONS * _TICK_S
                    many, due = int(due), due % 1
                    writer.write(b"".join(requests(next(numbers)) for _ in range(many)))
                    await writer.drain()
                    await asyncio.sleep(_TICK_S)
                writer.close()
            await asyncio.sleep(0.001 * place)

    await asyncio.gather(*(line(place) for place in range(CONNECTIONS)))


async def _drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(65_536):
        pass


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

    await asyncio.gather(*(line() for _ in range(500)))


async def endless_headers(address: Address, _: str) -> None:
    """A hundred MiB of one header, again and again."""
    part = b"a" * 65_536
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


async def idle_connections(address: Address, _: str) -> None:
    """Ten thousand connections that sent one whole request and keep quiet; those that end are opened again."""
    whole = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n"
    room = asyncio.Semaphore(64)

    async def line() -> None:
        while True:
            try:
                async with room:
                    reader, writer = await asyncio.open_connection(*address)
                    writer.write(whole)
                    await reader.read(1)
                await _drain(reader)
                writer.close()
            except OSError:
                await asyncio.sleep(0.5)

    await asyncio.gather(*(line() for _ in range(IDLE)))


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

if __name__ == "__main__":
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.nice(5)
    kind, host, port, known_id = sys.argv[1:]
    asyncio.run(KINDS[kind]((host, int(port)), known_id))  # type: ignore[arg-type]
