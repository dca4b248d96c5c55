"""What a connection may cost before a request is understood: header bytes, time, and a place in its port's `room`.

uvicorn's HTTP/1.1 protocol, bounded. A request that arrives whole costs no timer; only one that is still incomplete after
what was read so far gets a deadline.
"""

import asyncio
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from issuer.web.room import Room

MAX_HEADER_BYTES = 16_384
"""Of the request line and the headers together."""
RECEIVE_S = 10.0
"""How long a request may take to arrive, headers and body each; the first byte on a new connection; and a TLS handshake."""
SEND_S = 30.0
"""How long a client may leave what is written to it unread."""
_OF_ANOTHER_PROTOCOL = {b"upgrade", b"http2-settings"}


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
        """Sends what waits, to whom is still there."""
        if self._waiting:
            whole = b"".join(self._waiting)
            self._waiting.clear()
            if not self._transport.is_closing():
                self._transport.write(whole)


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
        self._segment_bytes = 0
        self._begins_one = False
        """Whether what was received just now begins a request."""
        self._received_bytes = 0
        """Received of the request so far; `_perhaps_bytes` more, of which some ended the one before."""
        self._perhaps_bytes = 0
        self._unread_bytes = 0
        """Received since the headers, or since the last piece of the body: chunk extensions and trailers."""
        self._deadline: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request must come in time; one connection too many, with all the others being answered, is told so."""
        super().connection_made(cast("asyncio.Transport", _WholeAnswers(transport, self.loop)))
        if self._room.enter(self):
            self._room.rest(self)
            self._deadline = self.loop.call_later(RECEIVE_S, self._too_slow)
        else:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    def give_way(self) -> None:
        """Makes a place at once; what it had sent of a request is forgotten, and what it has not read."""
        self.connections.discard(self)
        self._refused = True
        self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leaves no timer behind."""
        super().connection_lost(exc)
        self._room.leave(self)
        self._rest()
        self._read_in_time()

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, then looks whether the request is still incomplete."""
        if self._refused:
            return
        size = len(data)
        self._segment_bytes, self._begins_one = size, not (self._in_headers or self._in_body)
        self._received_bytes += size
        self._unread_bytes += size
        self._unset_keepalive_if_required()
        self._feed(data)
        if not (self._in_headers or self._in_body):
            if self._deadline is not None:
                self._rest()
        elif self._too_large() if self._in_headers else self._unread_bytes > MAX_HEADER_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(RECEIVE_S, self._too_slow)

    def _feed(self, data: bytes | memoryview) -> None:
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
            except httptools.HttpParserUpgrade as upgrade:
                if not self._refused:
                    self._read_without_upgrade()
                    data = memoryview(data)[upgrade.args[0] :]
                    continue
            return

    def _read_without_upgrade(self) -> None:
        """Reads the head that asks for another protocol again as if it did not, as a server may (RFC 9110 section 7.8).

        The parser would take the body for the other protocol, and what is in it for another request. Java's HttpClient asks
        for HTTP/2 with every request that is not TLS.
        """
        head = [b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                kept = [each for each in value.split(b",") if each.strip().lower() not in _OF_ANOTHER_PROTOCOL]
                head.append(b"connection: %b\r\n" % b",".join(kept))
            elif name not in _OF_ANOTHER_PROTOCOL:
                head.append(b"%b: %b\r\n" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        # As uvicorn makes it: the first of several requests is answered, though it asks to close.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"".join(head) + b"\r\n")

    def on_message_begin(self) -> None:
        """A request begins: with what was received just now, or behind another in it."""
        self._in_headers = True
        self._received_bytes, self._perhaps_bytes = (
            (self._segment_bytes, 0) if self._begins_one else (0, self._segment_bytes)
        )
        self._begins_one = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Hands the request on, unless its headers are too large: then it never reaches the application."""
        if self._received_bytes + self._perhaps_bytes > MAX_HEADER_BYTES and self._header_bytes() > MAX_HEADER_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self.parser.should_upgrade():
            if self.parser.get_method() != b"CONNECT":
                return  # still coming: it is read again without
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED)
        self._in_headers, self._in_body = False, True
        if self._refused:
            return
        if self._deadline is not None:
            self._rest()  # the body gets a deadline of its own
        if not self.flow.write_paused:
            self._room.work(self)
        self._unread_bytes = 0
        super().on_headers_complete()
        # Trailers are no headers: they come behind what a proxy has checked, and nobody here wants any (RFC 9110 6.5.1).
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Nothing of a refused request is kept."""
        self._unread_bytes = 0
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has arrived, unless it is only its head, to be read again."""
        if self._in_headers:
            return
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

    def pause_writing(self) -> None:
        """The client does not read: from now on there is nothing to do for it, and it has to begin in time."""
        super().pause_writing()
        self._room.rest(self)
        self._reading = self.loop.call_later(SEND_S, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._read_in_time()
        if self.cycle is not None and not self.cycle.response_complete:
            self._room.work(self)

    def _read_in_time(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _too_large(self) -> bool:
        """Whether headers that are still coming are. What may be another request's counts as far as it is known."""
        if self._received_bytes > MAX_HEADER_BYTES:
            return True
        return self._received_bytes + self._perhaps_bytes > MAX_HEADER_BYTES and self._header_bytes() > MAX_HEADER_BYTES

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
        self._close()

    def _close(self) -> None:
        """Closes; who leaves unread what was written to him is not waited for."""
        cast("_WholeAnswers", self.transport).flush()
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()
