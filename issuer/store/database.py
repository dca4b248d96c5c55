"""Connections: pools with limits, statements with deadlines, commits that are durable.

Every failure to reach the database in time becomes DatabaseUnavailable (503 at the edge); nothing waits without an end. A
database that accepts and never answers costs `pool_timeout_s` where a connection is taken, `statement_timeout_s` and a second
in the middle of a transaction, and half a second for a good-bye it does not hear.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from issuer.settings import DatabaseSettings

Connection: TypeAlias = AsyncConnection
"""A connection out of a pool, with an open transaction or for single statements: all that callers hold of a database."""


ISOLATION = "READ COMMITTED"
"""How transactions see what others commit meanwhile, unless one asks for more."""
HEAD_START_S = 0.25
_GOOD_BYE_S = 0.5


class DatabaseUnavailable(Exception):
    """The database could not be reached, or did not answer in time. Trying again later is right."""


class ReadOnlyStandby(DatabaseUnavailable):
    """What answers is a standby. It lags behind its primary by nobody knows how much, so nothing it says is believed."""

    def __init__(self) -> None:
        super().__init__("a read-only standby answers; the URL must lead to the primary")


class RightMissing(Exception):
    """The database user may not do what was asked of it. The message is PostgreSQL's: it names the table, and no value."""


class Database:
    """One pool of connections to the one writable primary; at most `pool_size`, or what the settings say."""

    def __init__(self, url: str, settings: DatabaseSettings, *, application: str, pool_size: int | None = None) -> None:
        self._pool_timeout_s = settings.pool_timeout_s
        self._engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            # asyncpg reads the URL itself: every parameter of libpq's URLs works, `sslmode` and several hosts included.
            async_creator=partial(connect, url, settings, application),
            pool_size=pool_size or settings.pool_size,
            max_overflow=0,
            pool_timeout=settings.pool_timeout_s,
            # A round trip for each use: a restarted database must not cost every pooled connection a 503.
            pool_pre_ping=True,
            pool_recycle=1800,
            # While nobody has begun a transaction: what tries a connection would wrap itself into one, three round trips.
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
        )

    @property
    def engine(self) -> AsyncEngine:
        """For migrations and for counting queries in tests. Nobody has begun a transaction on its connections."""
        return self._engine

    @asynccontextmanager
    async def transaction(self, *, isolation: str = ISOLATION) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed at the end of the block, rolled back by any exception.

        Raises DatabaseUnavailable, RightMissing; constraint violations stay `sqlalchemy.exc.IntegrityError`.
        """
        async with self.single_statements() as pooled:
            connection = await pooled.execution_options(isolation_level=isolation)
            async with connection.begin():
                yield connection

    @asynccontextmanager
    async def single_statements(self) -> AsyncIterator[AsyncConnection]:
        """A connection on which each statement is a transaction of its own: for what one statement can read.

        It spares the round trips of beginning and ending one. Raises what `transaction` raises.
        """
        with database_errors():
            async with AsyncExitStack() as stack:
                # Around everything that happens before the first statement: waiting for a connection, trying it, making one.
                async with asyncio.timeout(self._pool_timeout_s):
                    connection = await stack.enter_async_context(self._engine.connect())
                yield connection

    async def renew(self) -> None:
        """Closes the connections nobody uses now, and the others when they come back: the next ones are made anew."""
        await self._engine.dispose()

    async def close(self) -> None:
        """Closes every connection."""
        await self._engine.dispose()


class _Connection(asyncpg.Connection):
    """One that does not wait long for a good-bye: a server that hangs is left, whatever it was about to say."""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the driver's own signature
        await super().close(timeout=min(timeout or _GOOD_BYE_S, _GOOD_BYE_S))


async def connect(url: str, settings: DatabaseSettings, application: str) -> Any:
    """A connection to the writable primary. Raises DatabaseUnavailable, for a URL that cannot be used without quoting it.

    Of several hosts each has a head start of HEAD_START_S over the next: one that swallows connections keeps nobody from it.
    """
    attempts: set[asyncio.Task[Any]] = set()
    errors: list[Exception] = []
    urls = _url_of_each_host(url)
    try:
        while urls or attempts:
            if urls:
                attempts.add(asyncio.create_task(_connect(urls.pop(0), settings, application)))
            wait_s = HEAD_START_S if urls else None
            done, attempts = await asyncio.wait(attempts, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            connections = [task.result() for task in done if task.exception() is None]
            errors += [error for task in done if isinstance(error := task.exception(), Exception)]
            if connections:
                for superfluous in connections[1:]:
                    superfluous.terminate()
                return connections[0]
    finally:
        for task in attempts:
            task.add_done_callback(_terminate_superfluous)
            task.cancel()
    # That one host is a standby is as it should be; why there is no primary says another, if any.
    raise min(errors, key=lambda error: isinstance(error, ReadOnlyStandby))


def _terminate_superfluous(attempt: "asyncio.Task[Any]") -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().terminate()


def _url_of_each_host(url: str) -> list[str]:
    """`postgresql://…@a,b/…` is two; what cannot be read is left to the driver to refuse."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return [url]
    auth, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts:
        return [url]
    return [urlunsplit(parts._replace(netloc=f"{auth}{at}{host}")) for host in hosts.split(",")]


async def _connect(url: str, settings: DatabaseSettings, application: str) -> Any:
    try:
        return await asyncpg.connect(
            url,
            connection_class=_Connection,
            timeout=settings.pool_timeout_s,
            command_timeout=settings.statement_timeout_s + 1,
            target_session_attrs=SessionAttribute.read_write,
            server_settings={
                "application_name": application,
                "statement_timeout": f"{int(settings.statement_timeout_s * 1000)}",
                "idle_in_transaction_session_timeout": f"{int(settings.statement_timeout_s * 2000)}",
                "synchronous_commit": "on",
                "default_transaction_read_only": "off",
                "timezone": "UTC",
            },
        )
    except (ValueError, asyncpg.ClientConfigurationError):
        raise DatabaseUnavailable(
            "its URL cannot be used: check host and port, and percent-encode the password"
        ) from None
    except asyncpg.TargetServerAttributeNotMatched:
        raise ReadOnlyStandby from None
    except asyncpg.PostgresError as error:
        if (error.sqlstate or "").startswith((*_REFUSING_CLASSES, _NO_RIGHT)):
            raise DatabaseUnavailable(f"it refuses the connection: {error}") from error
        raise DatabaseUnavailable(error.sqlstate or type(error).__name__) from error


# Classes of SQLSTATE that say "not now": connection, resources, operator intervention; and single states.
_UNAVAILABLE_CLASSES = ("08", "53", "57", "58")
# A table that is missing (42P01) is a restore at work: it comes back, and no replica should end for it.
_UNAVAILABLE_STATES = frozenset({"25006", "55P03", "40001", "40P01", "42P01"})
# Those by which the server refuses the connection as it is configured: who we say we are, which database we name.
_REFUSING_CLASSES = ("28", "3D")
_NO_RIGHT = "42501"


@contextmanager
def database_errors() -> Iterator[None]:
    """What says "not now" inside becomes DatabaseUnavailable, what says "not you" RightMissing.

    What says that a statement is wrong stays as it is.
    """
    try:
        yield
    except (
        OperationalError,
        InterfaceError,
        PoolTimeoutError,
        OSError,
        TimeoutError,
        asyncpg.PostgresConnectionError,
        # What the driver says of a connection whose server went away while this process was paused.
        asyncpg.InternalClientError,
        asyncpg.InterfaceError,
    ) as error:
        raise DatabaseUnavailable(_why(error)) from error
    except asyncpg.PostgresError as error:
        state = error.sqlstate or ""
        if state.startswith(_UNAVAILABLE_CLASSES) or state in _UNAVAILABLE_STATES:
            raise DatabaseUnavailable(state) from error
        if state == _NO_RIGHT:
            raise RightMissing(str(error).splitlines()[0]) from error
        raise
    except DBAPIError as error:
        state = _sqlstate(error)
        if state == _NO_RIGHT:
            raise RightMissing(_server_message(error)) from error
        if state.startswith(_REFUSING_CLASSES):
            raise DatabaseUnavailable(f"it refuses the connection: {_server_message(error)}") from error
        # Without a statement it was the connection: a standby, a database closed for maintenance, a commit cut off.
        connecting = error.statement is None and not isinstance(error, IntegrityError)
        if (
            connecting
            or error.connection_invalidated
            or state.startswith(_UNAVAILABLE_CLASSES)
            or state in _UNAVAILABLE_STATES
        ):
            raise DatabaseUnavailable(_why(error)) from error
        raise


def _why(error: Exception) -> str:
    """A few words without addresses or values: the kind of trouble."""
    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, TimeoutError):
        cause = cause.__cause__
    return (isinstance(error, DBAPIError) and _sqlstate(error)) or type(cause).__name__


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", "") or "")


def _server_message(error: DBAPIError) -> str:
    cause = error.orig.__cause__ if error.orig is not None else None
    return str(cause).splitlines()[0] if cause is not None else _sqlstate(error)
