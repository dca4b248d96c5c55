"""Connections: pools with limits, statements with deadlines, commits that are durable.

Every failure to reach the database in time becomes DatabaseUnavailable (503 at the edge); nothing waits without an end.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeAlias

import asyncpg
from asyncpg.connect_utils import SessionAttribute
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from issuer.settings import DatabaseSettings

Connection: TypeAlias = AsyncConnection
"""A connection with an open transaction: all that callers of the store hold of a database."""


class DatabaseUnavailable(Exception):
    """The database could not be reached, or did not answer in time. Trying again later is right."""


class Database:
    """One pool of connections to the one writable primary."""

    def __init__(self, url: str, settings: DatabaseSettings, *, application: str) -> None:
        self._engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            # asyncpg reads the URL itself: every parameter of libpq's URLs works, `sslmode` and several hosts included.
            async_creator=partial(_connect, url, settings, application),
            pool_size=settings.pool_size,
            max_overflow=0,
            pool_timeout=settings.pool_timeout_s,
            # A round trip for each use: a restarted database must not cost every pooled connection a 503.
            pool_pre_ping=True,
            pool_recycle=1800,
            isolation_level="READ COMMITTED",
            hide_parameters=True,
        )

    @property
    def engine(self) -> AsyncEngine:
        """For migrations and for counting queries in tests."""
        return self._engine

    @asynccontextmanager
    async def transaction(self, *, isolation: str | None = None) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed at the end of the block, rolled back by any exception.

        Raises DatabaseUnavailable; constraint violations stay `sqlalchemy.exc.IntegrityError`.
        """
        with database_errors():
            async with self._engine.connect() as connection:
                if isolation is not None:
                    connection = await connection.execution_options(isolation_level=isolation)  # noqa: PLW2901
                async with connection.begin():
                    yield connection

    async def close(self) -> None:
        """Closes every connection."""
        await self._engine.dispose()


async def _connect(url: str, settings: DatabaseSettings, application: str) -> Any:
    """A connection to the writable primary. Raises DatabaseUnavailable for a URL that cannot be used, without quoting it."""
    try:
        return await asyncpg.connect(
            url,
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
    except asyncpg.PostgresError as error:
        if (error.sqlstate or "").startswith(_REFUSING_CLASSES):
            raise DatabaseUnavailable(f"it refuses the connection: {error}") from error
        raise DatabaseUnavailable(error.sqlstate or type(error).__name__) from error


# Classes of SQLSTATE that say "not now": connection, resources, operator intervention; and single states.
_UNAVAILABLE_CLASSES = ("08", "53", "57", "58")
# A table that is missing (42P01) is a restore at work: it comes back, and no replica should end for it.
_UNAVAILABLE_STATES = frozenset({"25006", "55P03", "40001", "40P01", "42P01"})
# Those by which the server refuses the connection as it is configured: who we say we are, which database we name.
_REFUSING_CLASSES = ("28", "3D")


@contextmanager
def database_errors() -> Iterator[None]:
    """What says "not now" inside becomes DatabaseUnavailable; what says that a statement is wrong stays as it is."""
    try:
        yield
    except (
        OperationalError,
        InterfaceError,
        PoolTimeoutError,
        OSError,
        TimeoutError,
        asyncpg.PostgresConnectionError,
    ) as error:
        raise DatabaseUnavailable(_why(error)) from error
    except DBAPIError as error:
        state = _sqlstate(error)
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
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return (isinstance(error, DBAPIError) and _sqlstate(error)) or type(cause).__name__


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", "") or "")


def _server_message(error: DBAPIError) -> str:
    cause = error.orig.__cause__ if error.orig is not None else None
    return str(cause).splitlines()[0] if cause is not None else _sqlstate(error)
