"""Bringing a database to the tables of this version, and saying whether it is there."""

from __future__ import annotations

import sqlalchemy as sa

from quire.store.database import Database

HEAD = "2026_11_23_activity_events"
"""The newest revision. Known here, so that finding all in order needs no look at the scripts."""


async def migrate(database: Database) -> list[str]:
    """Apply what is missing, all or nothing; answers the revisions that were applied."""
    async with database.write() as connection:
        if not database.is_sqlite:
            # Two processes that start together must not both migrate.
            await connection.execute(sa.text("SELECT pg_advisory_xact_lock(7081)"))
        lacking = await connection.run_sync(_missing)
        if lacking:
            from quire.store.revisions import upgrade  # noqa: PLC0415 - Alembic takes its time

            await connection.run_sync(upgrade)
        return lacking


async def pending_migrations(database: Database) -> list[str]:
    """The revisions that this version needs and the database has not seen."""
    async with database.read() as connection:
        return await connection.run_sync(_missing)


def _missing(connection: sa.Connection) -> list[str]:
    current = None
    if sa.inspect(connection).has_table("alembic_version"):
        current = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    if current == HEAD:
        return []
    from quire.store.revisions import missing  # noqa: PLC0415 - Alembic takes its time

    return missing(current)
