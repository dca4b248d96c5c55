"""Tokens asked for at a fixed rate, whatever the server does.

How long one took counts from the moment it was to be asked for, so that a server that stalls is not spared.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle
from statistics import quantiles

import httpx

from tests.benchmarks.report import BenchmarkFailed
from tests.world import TOKEN

CONNECTIONS, PER_S = 16, 500


def request_bytes(authorization: str, form: str = "grant_type=client_credentials") -> bytes:
    """One token request as it goes over the wire."""
    return (
        f"POST {TOKEN} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n\r\n{form}"
    ).encode()


@asynccontextmanager
async def steady_load(public_url: str, requests: Sequence[bytes]) -> AsyncIterator[list[float]]:
    """Tokens asked for at PER_S while the block runs, in the order of `requests`; how long each took, in ms."""
    taken: list[float] = []
    over = asyncio.Event()
    url, turns = httpx.URL(public_url), cycle(requests)

    async def ask(number: int) -> None:
        reader, writer = await asyncio.open_connection(url.host, url.port)
        due = time.perf_counter() + number / PER_S
        while not over.is_set():
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            writer.write(next(turns))
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            body = await reader.readexactly(length)
            if not head.startswith(b"HTTP/1.1 200"):
                raise BenchmarkFailed(f"no token: {head!r} {body[:200]!r}")
            taken.append((time.perf_counter() - due) * 1e3)
            due += CONNECTIONS / PER_S
        writer.close()

    async with asyncio.TaskGroup() as group:
        for number in range(CONNECTIONS):
            group.create_task(ask(number))
        yield taken
        over.set()


def p99(taken_ms: Sequence[float]) -> float:
    """The 99th percentile."""
    return quantiles(taken_ms, n=100)[98]
