"""CPU time per token of our ASGI app and of the ceiling's: one process, one driver, no server around either."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from time import process_time

import uvloop
from starlette.types import ASGIApp, Message, Scope

from issuer.events import TokenIssued
from issuer.observe.log import log_events
from issuer.settings import LogSettings, load_settings
from issuer.web.public import public_app
from issuer.wiring import Issuer, lay_foundation, wire
from tests.benchmarks import ceiling
from tests.benchmarks.report import MICROSECONDS, BenchmarkFailed, Budget, Row
from tests.benchmarks.stage import CEILING_REQUEST, URL, Effort, Request, Stage, check_token

CPU_BUDGET = Budget("≤", 1.15)


def run(stage: Stage, effort: Effort) -> list[Row]:
    """One row. Raises BenchmarkFailed."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_compare(stage, effort))


async def _compare(stage: Stage, effort: Effort) -> list[Row]:
    settings = load_settings(url=URL, database_url=stage.database_url, master_key=stage.master_key)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: ASYNC230, PTH123 - never blocks
        issuer = wire(lay_foundation(settings, log_events(LogSettings(), nowhere)))
        try:
            await issuer.reloader.catch_up()
            ours, theirs = Driver(unrecorded(issuer), stage.request), Driver(ceiling.app, CEILING_REQUEST)
            for driver in (ours, theirs):
                await driver.check()
                await driver.spend_us(effort.cpu_tokens)
            spent: dict[Driver, list[float]] = {ours: [], theirs: []}
            for number in range(effort.cpu_rounds):
                for driver in (ours, theirs) if number % 2 == 0 else (theirs, ours):
                    spent[driver].append(await driver.spend_us(effort.cpu_tokens))
        finally:
            await issuer.close()
    return [Row("app CPU per token", MICROSECONDS, spent[ours], spent[theirs], CPU_BUDGET)]


def unrecorded(issuer: Issuer) -> ASGIApp:
    """Its public app, with a record that costs nothing: what the rest of a token costs is measured without it."""

    async def record(_: TokenIssued) -> None:
        """Durable at once."""

    return public_app(replace(issuer.issuance, record=record), 300)


class Driver:
    """Calls an app as uvicorn does: a fresh scope, headers as httptools hands them over, the body in one piece.

    With `authorizations`, they take turns instead of the request's own.
    """

    def __init__(self, app: ASGIApp, request: Request, authorizations: Sequence[str] = ()) -> None:
        self._app = app
        self._turns = cycle(authorizations or (request.authorization,))
        self._body = request.form.encode()
        self._path = request.path
        self._headers = [
            (b"host", b"issuer.example"),
            (b"user-agent", b"python-httpx/0.28.1"),
            (b"accept", b"*/*"),
            (b"accept-encoding", b"gzip, deflate"),
            (b"connection", b"keep-alive"),
            (b"content-type", b"application/x-www-form-urlencoded"),
            (b"content-length", str(len(self._body)).encode()),
        ]

    async def check(self) -> None:
        """One request, whose answer is looked at. Raises BenchmarkFailed."""
        sent: list[Message] = []

        async def keep(message: Message) -> None:
            sent.append(message)

        await self._app(self._scope(), self._receive, keep)
        check_token(sent[0]["status"], b"".join(message.get("body", b"") for message in sent))

    async def spend_us(self, tokens: int) -> float:
        """CPU microseconds a token, over so many of them. Raises BenchmarkFailed."""
        started = process_time()
        await self.ask(tokens)
        return (process_time() - started) / tokens * 1e6

    async def ask(self, tokens: int) -> None:
        """Asks for so many tokens, one after the other. Raises BenchmarkFailed."""
        failed = 0

        async def send(message: Message) -> None:
            nonlocal failed
            if message["type"] == "http.response.start" and message["status"] != 200:
                failed += 1

        for _ in range(tokens):
            await self._app(self._scope(), self._receive, send)
        if failed:
            raise BenchmarkFailed(f"{failed} of {tokens} requests were refused")

    async def _receive(self) -> Message:
        return {"type": "http.request", "body": self._body, "more_body": False}

    def _scope(self) -> Scope:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 8080),
            "client": ("127.0.0.1", 50000),
            "scheme": "http",
            "method": "POST",
            "root_path": "",
            "path": self._path,
            "raw_path": self._path.encode(),
            "query_string": b"",
            "headers": [*self._headers, (b"authorization", next(self._turns).encode())],
            "state": {},
        }
