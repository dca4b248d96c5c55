"""The schema's version: moved by `issuer migrate` only, checked by everything else.

Revisions are numbered (`0001`, `0002`, …). A program runs on its own schema and on the next one, so that a rolling upgrade
migrates first and replaces programs after.
"""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from issuer.store.database import ISOLATION, database_errors

_LOCK_ID = 0x15_5E_12
_LOCK_TIMEOUT = "4s"
_STATEMENT_TIMEOUT = "60s"


class SchemaError(Exception):
    """The database's schema is not one this program runs on; the message says what to do."""


class SchemaMissing(SchemaError):
    """There is no schema at all yet."""


def migrations_folder() -> Path:
    """Inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    packaged = package / "migrations"
    return packaged if packaged.is_dir() else package.parent / "migrations"


def newest_version() -> str:
    """The schema this program was written for: the last of its migrations, which are one line of numbers."""
    return max(path.name.partition("_")[0] for path in (migrations_folder() / "versions").glob("[0-9]*.py"))


async def migrate(engine: AsyncEngine, to: str = "head", *, may_remove: bool = False) -> tuple[str | None, str | None]:
    """Moves the schema to a version; the versions before and after. Raises SchemaError, DatabaseUnavailable.

    Down only with `may_remove`: what newer versions store is gone then, with `base` everything.
    One runner at a time (advisory lock), each migration in its own transaction, with lock and statement timeouts: a
    migration that cannot have its lock fails instead of stopping traffic behind it.
    """
    with database_errors():
        return await _migrate(engine, to, may_remove=may_remove)


async def _migrate(engine: AsyncEngine, to: str, *, may_remove: bool) -> tuple[str | None, str | None]:
    async with engine.connect() as pooled:
        connection = await pooled.execution_options(isolation_level=ISOLATION)
        for setting in (f"lock_timeout = '{_LOCK_TIMEOUT}'", f"statement_timeout = '{_STATEMENT_TIMEOUT}'"):
            await connection.execute(sa.text(f"SET {setting}"))
        if not (await connection.execute(sa.text("SELECT pg_try_advisory_lock(:id)"), {"id": _LOCK_ID})).scalar_one():
            raise SchemaError("Another `issuer migrate` is at work on this database; wait for it to end.")
        try:
            before = await current_version(connection)
            down = before is not None and (to == "base" or (to != "head" and to < before))
            if down and not may_remove:
                raise SchemaError(
                    f"Going from {before} to {to} removes what newer versions store{', here everything' * (to == 'base')}. "
                    "Back up the database, then say --remove-data."
                )
            # Lock and timeouts are the session's. With a transaction open, Alembic would put everything into that one.
            await connection.commit()
            await connection.run_sync(_run, to, before, down)
            return before, await current_version(connection)
        finally:
            await connection.rollback()
            await connection.execute(sa.text("SELECT pg_advisory_unlock(:id)"), {"id": _LOCK_ID})
            await connection.invalidate()


def _run(connection: sa.Connection, to: str, before: str | None, down: bool) -> None:
    # Only whoever migrates needs Alembic; a server would load it at every start.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["connection"] = connection
    try:
        (command.downgrade if down or to == "base" else command.upgrade)(config, to)
    except CommandError as error:
        raise SchemaError(
            f"The schema cannot go from {before or 'nothing'} to {to}: this program knows the versions up to "
            f"{newest_version()}. A newer one may know more. ({error})"
        ) from None


async def current_version(connection: AsyncConnection) -> str | None:
    """The schema's version, None for a database without any."""
    if (await connection.execute(sa.text("SELECT to_regclass('alembic_version')"))).scalar_one() is None:
        return None
    found: str | None = (
        await connection.execute(sa.text("SELECT version_num FROM alembic_version"))
    ).scalar_one_or_none()
    return found


async def require_schema(connection: AsyncConnection) -> None:
    """Raises SchemaError unless the schema is this program's own or the next one."""
    found, wanted = await current_version(connection), newest_version()
    if found is None:
        raise SchemaMissing("The database has no schema yet. Run `issuer migrate`, then `issuer bootstrap`.")
    if found < wanted:
        raise SchemaError(f"The database's schema is {found}, this program needs {wanted}. Run `issuer migrate`.")
    if int(found) > int(wanted) + 1:
        raise SchemaError(
            f"The database's schema is {found}, this program knows {wanted}: it is too old. Run a newer one."
        )
