"""What a connection may cost before a request is understood: header bytes, time, and which of too many has to go.

uvicorn's HTTP/1.1 protocol, bounded. A request that arrives whole costs no timer; only one that is still incomplete after
what was read so far gets a deadline.
"""

import asyncio
from collections import OrderedDict
from http import HTTPStatus
from typing import Any, cast

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

MAX_HEADER_BYTES = 16_384
"""Of the request line and the headers together."""
RECEIVE_S = 10.0
"""How long a request may take to arrive, headers and body each; and the first byte on a new connection."""


class _WholeAnswers:
    """A transport that sends an answer in one piece, or what there is of it at the end of the turn of the loop.

    uvicorn writes head and body apart. Together they are one system call, and a process that is killed has answered or has
    not: what a proxy may repeat at another replica.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Sends with `flush`, or at the end of this turn."""
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append(data)

    def close(self) -> None:
        """Sends what waits, then closes."""
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Sends what waits."""
        if self._waiting:
            whole = b"".join(self._waiting)
            self._waiting.clear()
            self._transport.write(whole)


class Room:
    """Who has to go when a port holds as many connections as it may: whoever has waited longest with nothing to answer.

    Strangers that hold connections keep nobody out that way, and clients that use theirs keep them (as nginx does with its
    idle connections).
    """

    def __init__(self, max_connections: int | None = None) -> None:
        self._max_connections = max_connections
        self._resting: OrderedDict[BoundedProtocol, None] = OrderedDict()

    def has_place(self, taken: int) -> bool:
        """Whether there is one for the last of `taken` connections, which somebody may have had to give up."""
        if self._max_connections is None or taken <= self._max_connections:
            return True
        if not self._resting:
            return False
        oldest, _ = self._resting.popitem(last=False)
        oldest.give_way()
        return True

    def rest(self, connection: "BoundedProtocol") -> None:
        """It has nothing to be answered from now on."""
        self._resting[connection] = None

    def leave(self, connection: "BoundedProtocol") -> None:
        """It is being answered, or gone."""
        self._resting.pop(connection, None)


class BoundedProtocol(HttpToolsProtocol):
    """One connection of those that `room` has. Beyond a bound it is answered with 408, 431 or 503, and closed."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        room: Room,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._room = room
        self._in_headers = False
        self._in_body = False
        self._refused = False
        self._of_this_message = 0
        self._received_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request must come in time; one connection too many, with all the others being answered, is told so."""
        super().connection_made(cast("asyncio.Transport", _WholeAnswers(transport, self.loop)))
        if self._room.has_place(len(self.connections)):
            self._room.rest(self)
            self._deadline = self.loop.call_later(RECEIVE_S, self._too_slow)
        else:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    def give_way(self) -> None:
        """Makes a place at once; what it had sent of a request is forgotten."""
        self.connections.discard(self)
        self._refused = True
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leaves no timer behind."""
        super().connection_lost(exc)
        self._room.leave(self)
        self._rest()

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, then looks whether the request is still incomplete."""
        if self._refused:
            return
        idle = not (self._in_headers or self._in_body)
        self._of_this_message = len(data) if idle else 0
        self._received_bytes += len(data)
        super().data_received(data)
        if self._in_headers and self._received_bytes > MAX_HEADER_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif not (self._in_headers or self._in_body):
            if self._deadline is not None:
                self._rest()
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(RECEIVE_S, self._too_slow)

    def on_message_begin(self) -> None:
        """A request begins: with what was received just now, unless that also ended another."""
        self._in_headers = True
        self._received_bytes = self._of_this_message
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Hands the request on, unless its headers are too large: then it never reaches the application."""
        self._in_headers, self._in_body = False, True
        if self._received_bytes > MAX_HEADER_BYTES and self._header_bytes() > MAX_HEADER_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if self._refused:
            return
        if self._deadline is not None:
            self._rest()  # the body gets a deadline of its own
        self._room.leave(self)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Nothing of a refused request is kept."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has arrived."""
        self._in_body = False
        if not self._refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer goes; unless another request is waiting, the connection rests."""
        # Now, and not at the end of a turn that strangers may have filled.
        cast("_WholeAnswers", self.transport).flush()
        super().on_response_complete()
        if self.timeout_keep_alive_task is not None:
            self._room.rest(self)

    def _header_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _rest(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _refuse(self, status: HTTPStatus) -> None:
        """Ends the connection; whoever was working on a request on it hears that its client has gone."""
        self._refused = True
        self._rest()
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            said = f"HTTP/1.1 {status} {status.phrase}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(said.encode("ascii"))
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
