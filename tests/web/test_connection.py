"""What a stranger's connection may cost: header bytes, time, number. Over real sockets, on the server as it is run."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from issuer.web import connection
from issuer.web.listen import Port, serve_ports
from issuer.web.room import Room

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
LIMIT = connection.MAX_HEADER_BYTES


async def app(scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """Answers with what it got: the number of body bytes, or nothing when the client went away."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    text = f"{scope['path']} {size}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})


@asynccontextmanager
async def serving(
    max_connections: int | None = None, tls: ssl.SSLContext | None = None, answering: Any = None
) -> AsyncIterator[Callable[..., Any]]:
    """Opens connections to a server that runs for the block."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    stop, ready = asyncio.Event(), asyncio.Event()

    async def no_drain() -> None:
        pass

    port = Port(answering or app, listener, tls, max_connections)
    running = asyncio.create_task(serve_ports([port], stop, ready.set, no_drain))
    await ready.wait()
    opened: list[asyncio.StreamWriter] = []

    async def connect(**options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*address, **options)
        opened.append(writer)
        return reader, writer

    try:
        yield connect
    finally:
        for writer in opened:
            writer.close()
        stop.set()
        await running


async def status(reader: asyncio.StreamReader) -> int:
    """Of the next answer."""
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split()[1])


async def ended(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(10):
        with suppress(ConnectionError):
            await reader.read()
    return reader.at_eof() or reader.exception() is not None


async def assert_cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, part: bytes) -> None:
    """Whoever sends this again and again is cut long before it could fill anything."""
    sent = 0
    with suppress(ConnectionError):
        while sent < 100 * LIMIT and not writer.is_closing() and not reader.at_eof():
            writer.write(part)
            await writer.drain()
            sent += len(part)
            await asyncio.sleep(0)
    assert sent < 60 * LIMIT
    assert await ended(reader)


async def test_headers_up_to_the_limit_are_served_and_one_byte_more_is_431() -> None:
    async with serving() as connect:
        room = LIMIT - len("/") - sum(len(each) for each in (b"host", b"x", b"big")) - 4 * 2
        for size, expected in ((room, 200), (room + 1, 431)):
            reader, writer = await connect()
            writer.write(GET + b"big: " + b"a" * size + b"\r\n\r\n")
            assert await status(reader) == expected, size
            assert await ended(reader) is (expected == 431) if expected == 431 else True


@pytest.mark.parametrize("shape", ["one header", "many headers", "the path"])
async def test_headers_that_never_end_are_refused_before_they_are_kept(shape: str) -> None:
    async with serving() as connect:
        reader, writer = await connect()
        begin = {"one header": GET + b"big: ", "many headers": GET, "the path": b"GET /"}[shape]
        part = b"a: b\r\n" * 200 if shape == "many headers" else b"a" * 1000
        writer.write(begin)
        await assert_cut(reader, writer, part)


async def test_many_requests_on_one_connection_are_not_added_up() -> None:
    async with serving() as connect:
        reader, writer = await connect()
        for _ in range(30):
            writer.write(GET + b"pad: " + b"a" * 1000 + b"\r\ncontent-length: 3\r\n\r\nabc")
            assert await status(reader) == 200
            assert await reader.readexactly(3) == b"/ 3"


async def test_pipelined_requests_are_not_added_up_either() -> None:
    async with serving() as connect:
        reader, writer = await connect()
        writer.write((GET + b"pad: " + b"a" * 3000 + b"\r\ncontent-length: 2\r\n\r\nab") * 20)
        for _ in range(20):
            assert await status(reader) == 200
            assert await reader.readexactly(3) == b"/ 2"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"", 408),
        (GET, 408),
        (b"GE", 408),
        (GET + b"content-length: 5\r\n\r\nab", 408),
        (GET + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n", 408),
    ],
    ids=["nothing", "half a head", "half a method", "half a body", "half a chunked body"],
)
async def test_what_does_not_arrive_in_time_is_408(said: bytes, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "RECEIVE_S", 0.2)
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(said)
        assert await status(reader) == expected
        assert await ended(reader)


async def test_a_trickle_of_bytes_does_not_move_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "RECEIVE_S", 0.3)
    async with serving() as connect:
        reader, writer = await connect()
        started = time.monotonic()
        for byte in GET * 10:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
            if writer.is_closing() or time.monotonic() - started > 5:
                break
            if reader.at_eof() or len(reader._buffer):
                break
        assert time.monotonic() - started < 3
        with suppress(ConnectionResetError):  # a byte that met the close takes the answer with it
            assert await status(reader) == 408


async def test_the_body_has_a_deadline_of_its_own_and_a_whole_request_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "RECEIVE_S", 0.6)
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(GET)
        await asyncio.sleep(0.4)
        writer.write(b"content-length: 4\r\n\r\nab")
        await asyncio.sleep(0.4)
        writer.write(b"cd")
        assert await status(reader) == 200
        await reader.readexactly(3)
        await asyncio.sleep(0.8)
        writer.write(GET + b"\r\n")
        assert await status(reader) == 200


async def test_a_request_behind_another_in_one_piece_has_the_same_limit_and_none_for_what_was_before_it() -> None:
    body = b"content-length: 4\r\n\r\nab"
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(GET + body)
        await asyncio.sleep(0.05)
        writer.write(b"cd" + GET + b"a: b\r\n" * LIMIT + b"\r\n")
        assert await status(reader) == 431
        assert await ended(reader)
        reader, writer = await connect()
        one = GET + b"pad: x\r\n\r\n"
        writer.write(one * (LIMIT // len(one) + 100) + GET)
        for _ in range(LIMIT // len(one) + 100):
            assert await status(reader) == 200
            assert await reader.readexactly(3) == b"/ 0"
        writer.write(b"\r\n")
        assert await status(reader) == 200


async def test_trailers_are_no_headers_of_the_request() -> None:
    """Behind a proxy they come after what it has checked and written: X-Forwarded-For would be the client's word."""
    seen: list[Any] = []

    async def answering(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        seen.append(scope["headers"])

    async with serving(answering=answering) as connect:
        reader, writer = await connect()
        writer.write(GET + b"transfer-encoding: chunked\r\n\r\n3\r\na=b\r\n")
        await asyncio.sleep(0.05)
        writer.write(b"0\r\nx-forwarded-for: 198.51.100.7\r\nauthorization: Basic eDp5\r\n\r\n")
        assert await status(reader) == 200
        assert [name for name, _ in seen[0]] == [b"host", b"transfer-encoding"]
        await reader.readexactly(3)
        assert await status_of_another(reader, writer) == 200


@pytest.mark.parametrize("part", [b"a: b\r\n" * 1000, b"a" * 6000], ids=["many", "one"])
@pytest.mark.parametrize("begin", [b"0\r\n", b"0\r\nx: ", b"3;ext="], ids=["trailers", "a trailer", "an extension"])
async def test_what_a_chunked_body_carries_beside_itself_is_bounded_like_headers(begin: bytes, part: bytes) -> None:
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(GET + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n" + begin)
        await assert_cut(reader, writer, part)


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAAAAAAIAAAAA\r\n"


@pytest.mark.parametrize(
    ("framing", "expected"),
    [
        (b"content-length: 19\r\n\r\nPOST / HTTP/1.1\r\n\r\n", b"/ 19"),
        (b"transfer-encoding: chunked\r\n\r\n13\r\nPOST / HTTP/1.1\r\n\r\n\r\n0\r\n\r\n", b"/ 19"),
        (b"\r\n", b"/ 0"),
    ],
    ids=["a body", "chunks", "no body"],
)
@pytest.mark.parametrize("pieces", [1, 2, 30])
async def test_an_upgrade_is_ignored_and_its_body_stays_a_body(framing: bytes, expected: bytes, pieces: int) -> None:
    """Java's HttpClient asks for h2c with every request in the clear; what it sends must be no request of its own."""
    whole = b"POST / HTTP/1.1\r\nHost: x\r\n" + H2C + framing
    size = len(whole) // pieces + 1
    async with serving() as connect:
        reader, writer = await connect()
        for _ in range(2):  # and the connection goes on
            for begin in range(0, len(whole), size):
                writer.write(whole[begin : begin + size])
                await asyncio.sleep(0.005)
            assert await status(reader) == 200
            assert await reader.readexactly(len(expected)) == expected
        assert await status_of_another(reader, writer) == 200


async def test_many_upgrades_in_one_piece_are_many_requests_with_the_limit_of_others() -> None:
    async with serving() as connect:
        reader, writer = await connect()
        writer.write((GET + b"Connection: Upgrade\r\nUpgrade: x\r\n\r\n") * 2_000)
        for _ in range(2_000):
            assert await status(reader) == 200
            assert await reader.readexactly(3) == b"/ 0"
        for first in (b"Upgrade: x\r\na: ", b"a: "):
            reader, writer = await connect()
            writer.write(GET + first + b"b" * (LIMIT - 300))
            await asyncio.sleep(0.05)
            writer.write(b"b" * 300 + b"\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
            assert await status(reader) == 431


async def test_a_connect_is_405_and_ends_the_connection() -> None:
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n" + GET + b"\r\n")
        assert await status(reader) == 405
        assert await ended(reader)


async def unread(connect: Any) -> asyncio.StreamReader:
    """A client that asks and asks, and reads nothing; the system's buffers hold less than what it is answered."""
    reader, writer = await connect(limit=1)
    writer.write((GET + b"\r\n") * 200)
    return cast("asyncio.StreamReader", reader)


async def long_answer(_: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100000")]})
    await send({"type": "http.response.body", "body": b"k" * 100_000})


async def test_whoever_reads_no_answer_makes_way() -> None:
    async with serving(max_connections=3, answering=long_answer) as connect:
        for _ in range(3):
            await unread(connect)
        await asyncio.sleep(0.2)
        for _ in range(5):
            reader, writer = await connect()
            writer.write(GET + b"\r\n")
            assert await status(reader) == 200
            await reader.readexactly(100_000)


async def test_whoever_reads_no_answer_for_long_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SEND_S", 0.2)
    async with serving(answering=long_answer) as connect:
        reader = await unread(connect)
        await asyncio.sleep(0.6)
        read = 0
        with suppress(ConnectionError):
            while piece := await reader.read(1_000_000):
                read += len(piece)
        assert read < 200 * 100_000


async def test_for_one_connection_too_many_the_longest_idle_one_makes_way() -> None:
    async with serving(max_connections=3) as connect:
        kept = [await connect() for _ in range(3)]
        for reader, writer in (kept[1], kept[0]):  # in this order; the third has sent nothing
            writer.write(GET + b"\r\n")
            assert await status(reader) == 200
            await reader.readexactly(3)
        for oldest in (kept[2], kept[1], kept[0]):
            reader, writer = await connect()
            writer.write(GET + b"\r\n")
            assert await status(reader) == 200
            await reader.readexactly(3)
            assert await ended(oldest[0])
        assert await status_of_another(reader, writer) == 200


async def test_a_connection_that_only_began_a_request_makes_way_too() -> None:
    async with serving(max_connections=1) as connect:
        slow, began = await connect()
        began.write(GET)
        await asyncio.sleep(0.1)
        assert await status_of_another(*await connect()) == 200
        assert await ended(slow)


async def test_nobody_who_is_being_answered_makes_way_one_connection_too_many_is_503() -> None:
    async with serving(max_connections=2) as connect:
        kept = [await connect() for _ in range(2)]
        for _, writer in kept:
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
        await asyncio.sleep(0.1)
        reader, _ = await connect()
        assert await status(reader) == 503
        assert await ended(reader)
        for place, (reader, writer) in enumerate(kept):
            writer.write(b"b")
            assert await status(reader) == 200, place
        assert await status_of_another(*await connect()) == 200


async def status_of_another(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    writer.write(GET + b"\r\n")
    return await status(reader)


class Written(asyncio.Transport):
    """Keeps what is written to it, piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()

    def write(self, data: Any) -> None:
        self.pieces.put_nowait(bytes(data))

    def is_closing(self) -> bool:
        return False


@asynccontextmanager
async def asked(answering: Any) -> AsyncIterator[Written]:
    """What an app writes to a connection on which it is asked. Nothing waits for long."""
    config = Config(answering, interface="asgi3", proxy_headers=False, lifespan="off", log_config=None)
    config.load()
    protocol = connection.BoundedProtocol(config, ServerState(), {}, room=Room())
    transport = Written()
    protocol.connection_made(transport)
    protocol.data_received(GET + b"\r\n")
    async with asyncio.timeout(10):
        yield transport


async def test_an_answer_goes_in_one_piece_and_before_its_app_returns() -> None:
    """A process that is killed has answered or has not; and nothing that comes in the same turn is served before it goes."""
    pieces: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def answering(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        pieces.set_result(transport.pieces.qsize())

    async with asked(answering) as transport:
        assert await pieces == 1
        whole = await transport.pieces.get()
    assert whole.startswith(b"HTTP/1.1 200 OK\r\n")
    assert whole.endswith(b"\r\n\r\n/ 0")


async def test_what_there_is_of_an_answer_does_not_wait_for_the_rest() -> None:
    rest = asyncio.Event()

    async def answering(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await rest.wait()
        await send({"type": "http.response.body", "body": b"rest"})

    async with asked(answering) as transport:
        assert (await transport.pieces.get()).endswith(b"\r\n\r\n")
        rest.set()
        assert await transport.pieces.get() == b"rest"
