"""Migrations: the same schema as the models, up and down, one runner at a time, and who accepts which version."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from issuer.settings import DatabaseSettings
from issuer.store import schema
from issuer.store.database import Database, DatabaseUnavailable
from issuer.store.schema import SchemaError, SchemaMissing, migrate, migrations_folder, newest_version, require_schema
from issuer.store.tables import metadata
from tests.store.rows import query

HEAD = newest_version()

# Everything of a schema that alembic's comparison leaves out as well as what it sees.
CATALOGUE = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid),
               col_description(c.oid, a.attnum)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) =
             (c.oid, a.attnum)
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
          AND c.relname <> 'alembic_version'
        ORDER BY 1, a.attnum""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version' ORDER BY 1, 2""",
    "indexes": """
        SELECT tablename, indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1, 2""",
}


@pytest.fixture
async def database(empty_database_url: str) -> AsyncIterator[Database]:
    opened = Database(empty_database_url, DatabaseSettings(), application="test")
    yield opened
    await opened.close()


async def catalogue(database_url: str) -> dict[str, list[tuple[Any, ...]]]:
    return {name: [tuple(row) for row in await query(database_url, text)] for name, text in CATALOGUE.items()}


async def require(database: Database) -> None:
    async with database.transaction() as connection:
        await require_schema(connection)


async def test_alembic_finds_no_difference_between_models_and_migrations(database: Database) -> None:
    await migrate(database.engine)

    def differences(connection: sa.Connection) -> list[Any]:
        options = {"compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_neither_does_the_catalogue_checks_indexes_and_comments_included(
    database: Database, empty_database_url: str
) -> None:
    await migrate(database.engine)
    migrated = await catalogue(empty_database_url)
    async with database.engine.begin() as connection:
        await connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        await connection.execute(sa.text("CREATE SCHEMA public"))
        await connection.run_sync(metadata.create_all)
    modelled = await catalogue(empty_database_url)
    assert {len(rows) > 3 for rows in migrated.values()} == {True}
    assert migrated == modelled


async def test_up_down_and_up_again_is_the_same_schema_and_down_leaves_nothing(
    database: Database, empty_database_url: str
) -> None:
    assert await migrate(database.engine) == (None, HEAD)
    first = await catalogue(empty_database_url)
    assert await migrate(database.engine, "base", may_remove=True) == (HEAD, None)
    left = await query(empty_database_url, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    assert {row["relname"] for row in left} <= {"alembic_version", "alembic_version_pkc"}
    assert await migrate(database.engine, "base", may_remove=True) == (None, None)
    assert await migrate(database.engine, HEAD) == (None, HEAD)
    assert await catalogue(empty_database_url) == first


async def test_nothing_stored_is_removed_unless_that_is_said(database: Database, empty_database_url: str) -> None:
    await migrate(database.engine)
    before = await catalogue(empty_database_url)
    for older in ("base", "0001"):
        with pytest.raises(SchemaError, match=rf"from {HEAD} to {older} removes .* --remove-data"):
            await migrate(database.engine, older)
    assert await catalogue(empty_database_url) == before


async def test_migrating_again_changes_nothing(database: Database, empty_database_url: str) -> None:
    await migrate(database.engine)
    before = (await catalogue(empty_database_url), await query(empty_database_url, "SELECT * FROM installation"))
    assert await migrate(database.engine) == (HEAD, HEAD)
    assert (
        await catalogue(empty_database_url),
        await query(empty_database_url, "SELECT * FROM installation"),
    ) == before


async def test_a_second_runner_is_refused_and_the_lock_is_given_back(
    database: Database, empty_database_url: str
) -> None:
    other = await asyncpg.connect(empty_database_url)
    try:
        await other.execute("SELECT pg_advisory_lock($1)", schema._LOCK_ID)
        with pytest.raises(SchemaError, match="Another `issuer migrate` is at work"):
            await migrate(database.engine)
        assert (await query(empty_database_url, "SELECT to_regclass('installation')"))[0][0] is None
        await other.execute("SELECT pg_advisory_unlock($1)", schema._LOCK_ID)
        await migrate(database.engine)
        assert await other.fetchval("SELECT pg_try_advisory_lock($1)", schema._LOCK_ID)
    finally:
        await other.close()


async def test_a_migration_that_cannot_have_its_lock_fails_and_leaves_no_half(
    database: Database, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_LOCK_TIMEOUT", "100ms")
    await migrate(database.engine, "0001")
    before = await catalogue(empty_database_url)
    holder = await asyncpg.connect(empty_database_url)
    try:
        await holder.execute("BEGIN; SELECT * FROM changes")
        with pytest.raises(DatabaseUnavailable, match="55P03"):
            await migrate(database.engine, "base", may_remove=True)
    finally:
        await holder.close()
    assert await catalogue(empty_database_url) == before
    assert await migrate(database.engine) == ("0001", HEAD)


async def test_an_unknown_version_is_an_error_in_plain_words(database: Database) -> None:
    with pytest.raises(SchemaError, match="9999"):
        await migrate(database.engine, "9999")


class TestRequireSchema:
    """Schema N runs code N and N-1 (DESIGN section 13)."""

    @staticmethod
    async def at(database: Database, version: str) -> None:
        async with database.transaction() as connection:
            await connection.execute(sa.text("UPDATE alembic_version SET version_num = :it"), {"it": version})

    async def test_a_database_without_a_schema_is_told_to_migrate(self, database: Database) -> None:
        with pytest.raises(SchemaMissing, match="Run `issuer migrate`"):
            await require(database)

    async def test_its_own_version_and_the_next_one_are_accepted(self, database: Database) -> None:
        await migrate(database.engine)
        await require(database)
        await self.at(database, f"{int(HEAD) + 1:04}")
        await require(database)

    async def test_an_older_one_is_told_to_migrate(self, database: Database) -> None:
        await migrate(database.engine)
        await self.at(database, f"{int(HEAD) - 1:04}")
        with pytest.raises(SchemaError, match=f"needs {HEAD}. Run `issuer migrate`"):
            await require(database)

    async def test_one_that_is_two_ahead_is_too_new(self, database: Database) -> None:
        await migrate(database.engine)
        await self.at(database, f"{int(HEAD) + 2:04}")
        with pytest.raises(SchemaError, match="Run a newer one"):
            await require(database)

    async def test_the_next_one_is_migrated_by_nobody_who_does_not_know_it(self, database: Database) -> None:
        """An older `issuer migrate` in a rolling upgrade neither fails the deployment nor takes the schema back."""
        await migrate(database.engine)
        await self.at(database, f"{int(HEAD) + 1:04}")
        with pytest.raises(SchemaError, match="newer"):
            await migrate(database.engine)


def test_versions_are_numbered_without_a_gap_and_each_can_be_undone() -> None:
    scripts = list(ScriptDirectory(str(migrations_folder())).walk_revisions())
    numbers = sorted(script.revision for script in scripts)
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]
    assert all(hasattr(script.module, "downgrade") for script in scripts)


def test_a_package_with_its_migrations_inside_uses_those(tmp_path: Path) -> None:
    """As `issuer migrate` runs from a wheel: inside the package, and in a checkout beside it."""
    package = tmp_path / "issuer"
    (package / "store").mkdir(parents=True)
    code = Path(schema.__file__).read_text(encoding="utf-8")
    (package / "store" / "schema.py").write_text(code, encoding="utf-8")
    for folder in (package, package / "store"):
        (folder / "__init__.py").touch()
    real = Path(schema.__file__).resolve().parents[1]
    for name in ("settings.py", "manifests.py", "model"):
        (package / name).symlink_to(real / name)
    (package / "store" / "database.py").symlink_to(real / "store" / "database.py")
    ask = "from issuer.store.schema import migrations_folder; print(migrations_folder())"

    def where() -> Path:
        run = subprocess.run([sys.executable, "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=True)
        return Path(run.stdout.strip())

    assert where() == tmp_path / "migrations"
    (package / "migrations").mkdir()
    assert where() == package / "migrations"


def test_a_checkout_uses_the_folder_at_its_top() -> None:
    assert migrations_folder() == Path(__file__).parents[2] / "migrations"
