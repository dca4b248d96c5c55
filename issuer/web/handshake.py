"""Before a connection is TLS: it has its place in the port's `room`, and its deadline, from the moment it is accepted."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from issuer.web.connection import RECEIVE_S, BoundedProtocol
from issuer.web.room import Room

_SHUTDOWN_S = 5.0
"""How long a client may take to say that it has heard of the end of a TLS connection."""


class Handshake(asyncio.Protocol):
    """A connection that has yet to become TLS: it has a place in the room, which it gives up for others, and RECEIVE_S.

    asyncio's servers would tell of it only when it has become that, or 60 seconds later that it has not.
    """

    def __init__(
        self, room: Room, tls: ssl.SSLContext, secured: Callable[[], BoundedProtocol], connections: set[Any]
    ) -> None:
        self._room = room
        self._tls = tls
        self._secured = secured
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._shaking: asyncio.Task[None] | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins the handshake; one connection too many, with all the others being answered, is cut."""
        transport.pause_reading()
        self._transport = transport
        self._connections.add(self)
        if self._room.enter(self):
            self._room.rest(self)
            self._shaking = asyncio.get_running_loop().create_task(self._shake(transport))
        else:
            self.give_way()

    def data_received(self, data: bytes) -> None:
        """What came in the packet that ended the handshake."""
        self._early.append(data)

    def connection_lost(self, _: Exception | None) -> None:
        """Before the handshake began, or in the turn of the loop in which it ended."""
        self._leave()
        if self._shaking is not None:
            self._shaking.cancel()

    def give_way(self) -> None:
        """Makes a place at once."""
        self._leave()
        if self._shaking is not None:
            self._shaking.cancel()
        if self._transport is not None:
            self._transport.abort()

    def shutdown(self) -> None:
        """The server ends: it was not in time to ask for anything."""
        self.give_way()

    async def _shake(self, transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        try:
            secured = await loop.start_tls(
                transport,
                self,
                self._tls,
                server_side=True,
                ssl_handshake_timeout=RECEIVE_S,
                ssl_shutdown_timeout=_SHUTDOWN_S,
            )
        except OSError:  # ssl.SSLError, the time, the client's end
            transport.abort()
            return
        finally:
            self._leave()
        if secured is not None:
            protocol = self._secured()
            secured.set_protocol(protocol)
            protocol.connection_made(secured)
            for data in self._early:
                protocol.data_received(data)

    def _leave(self) -> None:
        self._connections.discard(self)
        self._room.leave(self)
