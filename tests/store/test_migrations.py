"""The migrations bring an empty database to the tables that the code declares, and back."""

from __future__ import annotations

from itertools import filterfalse
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from quire.errors import ConfigurationError
from quire.store import Database, migrate, pending_migrations
from quire.store.message_words import GIN_INDEX, is_words_index
from quire.store.migrate import HEAD
from quire.store.revisions import MIGRATIONS
from quire.store.tables import metadata

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest_asyncio.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        opened = Database.sqlite(tmp_path / "quire.db")
    else:
        opened = Database.postgres(request.getfixturevalue("postgres_url"))
    try:
        yield opened
    finally:
        await opened.close()


def differences(connection: sa.Connection) -> list[Any]:
    context = MigrationContext.configure(
        connection,
        # SQLite knows no identity columns; there the primary key itself counts up.
        opts={
            "compare_type": True,
            "compare_server_default": connection.dialect.name != "sqlite",
            # These the index of words keeps for itself; its statements are compared below.
            "include_object": lambda _, name, kind, *__: (
                not ((kind == "table" and is_words_index(name)) or name == GIN_INDEX)
            ),
        },
    )
    return list(compare_metadata(context, metadata))


def names(connection: sa.Connection) -> dict[str, set[str]]:
    """Every table with its columns, indexes and keys, by their names."""
    inspector = sa.inspect(connection)
    found: dict[str, set[str]] = {}
    for table in filterfalse(is_words_index, inspector.get_table_names()):
        parts = {column["name"] for column in inspector.get_columns(table)}
        parts |= {f"{index['name']}" for index in inspector.get_indexes(table)}
        parts |= {f"{key['name']}" for key in inspector.get_foreign_keys(table)}
        parts.add(f"{inspector.get_pk_constraint(table)['name']}")
        found[table] = parts
    if "messages" in found:
        found["messages"] |= words_index(connection)
    return found


def words_index(connection: sa.Connection) -> set[str]:
    """The statements that made the index of messages' words."""
    if connection.dialect.name == "sqlite":
        kept = "SELECT sql FROM sqlite_master WHERE name LIKE 'message_words%' AND sql NOT NULL"
    else:
        kept = f"SELECT indexdef FROM pg_indexes WHERE indexname = '{GIN_INDEX}'"
    return {" ".join(statement.split()) for (statement,) in connection.execute(sa.text(kept))}


def alembic(connection: sa.Connection, to: str) -> None:
    configuration = Config()
    configuration.set_main_option("script_location", str(MIGRATIONS))
    configuration.attributes["connection"] = connection
    (command.downgrade if to == "base" else command.upgrade)(configuration, to)


async def test_a_migrated_database_is_what_the_code_declares(database: Database) -> None:
    applied = await migrate(database)
    assert applied
    async with database.write() as connection:
        assert await connection.run_sync(differences) == []
        migrated = await connection.run_sync(names)
    assert set(migrated) == {*metadata.tables, "alembic_version"}


async def test_it_is_the_same_as_tables_made_from_the_declaration(
    database: Database, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    await migrate(database)
    async with database.write() as connection:
        migrated = await connection.run_sync(names)
        await connection.run_sync(metadata.drop_all)
        await connection.run_sync(metadata.create_all)
        declared = await connection.run_sync(names)
    assert migrated == declared


async def test_up_down_and_up_again(database: Database) -> None:
    await migrate(database)
    async with database.write() as connection:
        first = await connection.run_sync(names)
        await connection.run_sync(alembic, "base")
        emptied = await connection.run_sync(names)
    assert set(emptied) == {"alembic_version"}
    assert await pending_migrations(database)
    assert await migrate(database)
    async with database.write() as connection:
        assert await connection.run_sync(names) == first
        assert await connection.run_sync(differences) == []


async def test_migrating_again_changes_nothing(database: Database) -> None:
    applied = await migrate(database)
    assert await pending_migrations(database) == []
    assert await migrate(database) == []
    heads = ScriptDirectory(str(MIGRATIONS)).get_heads()
    assert heads == [HEAD]
    assert HEAD in applied


async def test_a_database_of_a_newer_version_is_refused_by_name(database: Database) -> None:
    await migrate(database)
    async with database.write() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '2999_later'"))

    for look in (migrate, pending_migrations):
        with pytest.raises(ConfigurationError, match="2999_later"):
            await look(database)


async def test_an_empty_database_says_what_it_lacks(database: Database) -> None:
    pending = await pending_migrations(database)
    assert sorted(pending) == sorted(await migrate(database))


async def test_a_migration_that_fails_leaves_nothing(database: Database) -> None:
    # given a table in the way of one of ours
    async with database.write() as connection:
        await connection.execute(sa.text("CREATE TABLE policies (x INTEGER)"))
    # when
    with pytest.raises(sa.exc.DBAPIError, match="policies"):
        await migrate(database)
    # then none of the others was made
    async with database.read() as connection:
        found = await connection.run_sync(names)
    assert set(found) - {"alembic_version"} == {"policies"}
    assert await pending_migrations(database)
