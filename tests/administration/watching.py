"""A watcher of the admin API, in-process: the stream of one request, line by line, and the state a client makes of it."""

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from tests.world import World

PATIENCE_S = 10


@dataclass
class Watching:
    """An open watch. `events` are those read so far (`heard`: also into a list given);
    `objects` what a client that believes them knows, by (namespace, name)."""

    world: World
    lines: asyncio.Queue[bytes | None]
    status: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    heard: list[dict[str, Any]] = field(default_factory=list)
    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    revision: int = 0
    over: bool = False

    async def next(self) -> dict[str, Any] | None:
        """The next event, None at the end of the stream."""
        async with asyncio.timeout(PATIENCE_S):
            line = await self.lines.get()
        if line is None:
            self.over = True
            return None
        event: dict[str, Any] = json.loads(line)
        self._believe(event)
        self.events.append(event)
        self.heard.append(event)
        return event

    async def up_to(self, revision: int) -> None:
        """Reads until the watch has said everything up to the revision. Wants bookmarks."""
        while self.revision < revision and await self.next() is not None:
            pass

    def _believe(self, event: dict[str, Any]) -> None:
        if event["type"] == "ERROR":
            return
        metadata = event["object"]["metadata"]
        revision, place = int(metadata["resourceVersion"]), (metadata.get("namespace", ""), metadata.get("name"))
        if event["type"] == "BOOKMARK":
            assert revision >= self.revision
        else:
            known = self.objects.get(place)
            # Objects of the beginning come by name, changes by revision; none comes twice, none goes back.
            assert known is None or revision > int(known["metadata"]["resourceVersion"])
            if event["type"] == "DELETED":
                assert self.objects.pop(place)["metadata"]["uid"] == metadata["uid"]
            else:
                assert (known is not None) == (event["type"] == "MODIFIED")
                self.objects[place] = event["object"]
        self.revision = max(revision, self.revision)


@asynccontextmanager
async def watching(world: World, path: str, **query: Any) -> AsyncIterator[Watching]:
    """A watch of `path`, closed by its client at the end of the block. The feed must be running."""
    lines: asyncio.Queue[bytes | None] = asyncio.Queue()
    watch, begun, leave = Watching(world, lines), asyncio.Event(), asyncio.Event()
    headers = [(name.encode(), value.encode()) for name, value in world.admin.headers.items()]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": urlencode({"watch": "true", **query}).encode(),
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("admin.test", 80),
        "scheme": "http",
        "root_path": "",
    }

    async def receive() -> MutableMapping[str, Any]:
        await leave.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            watch.status = message["status"]
            begun.set()
            return
        for line in message["body"].splitlines(keepends=True):
            lines.put_nowait(line)
        if not message.get("more_body"):
            lines.put_nowait(None)

    request: asyncio.Future[None] = asyncio.ensure_future(world.issuer.admin(scope, receive, send))
    try:
        async with asyncio.timeout(PATIENCE_S):
            await begun.wait()
        yield watch
    finally:
        leave.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(request, PATIENCE_S)


@asynccontextmanager
async def running_feed(world: World) -> AsyncIterator[None]:
    """Lets the world's watchers hear of what is written."""
    running = asyncio.create_task(world.issuer.feed.run())
    try:
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
