"""Bringing a database to the tables of this version, and saying whether it is there."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from quire.store.database import Database

MIGRATIONS = Path(__file__).with_name("migrations")


async def migrate(database: Database) -> list[str]:
    """Apply what is missing, all or nothing; answers the revisions that were applied."""
    async with database.write() as connection:
        if not database.is_sqlite:
            # Two processes that start together must not both migrate.
            await connection.execute(sa.text("SELECT pg_advisory_xact_lock(7081)"))
        missing = await connection.run_sync(_missing)
        if missing:
            await connection.run_sync(_upgrade)
        return missing


async def pending_migrations(database: Database) -> list[str]:
    """The revisions that this version needs and the database has not seen."""
    async with database.read() as connection:
        return await connection.run_sync(_missing)


def _configuration() -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", str(MIGRATIONS))
    return configuration


def _missing(connection: sa.Connection) -> list[str]:
    current = MigrationContext.configure(connection).get_current_revision()
    scripts = ScriptDirectory.from_config(_configuration())
    return [script.revision for script in scripts.iterate_revisions("head", current or "base")]


def _upgrade(connection: sa.Connection) -> None:
    configuration = _configuration()
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, "head")
