"""`quire db`: the tables of the metadata store, ours and those of the job engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from quire.directory import DataDirectory
from quire.errors import ConfigurationError
from quire.jobs.durable import DurableJobs
from quire.settings import Settings
from quire.store import Database, migrate, open_database, pending_migrations


async def upgrade(settings: Settings) -> str:
    """Apply what is missing; says what that was. Safe to run again, and by several at once."""
    async with _opened(settings, alone=True) as database:
        applied = await migrate(database)
        # After ours: one database, and the engine's tables stand beside them.
        await DurableJobs(database, settings.jobs).migrate()
    return f"Applied: {', '.join(applied)}" if applied else "The database was up to date already"


async def status(settings: Settings) -> tuple[bool, str]:
    """Whether the database is as this version needs it, in words too."""
    path = settings.data_dir / "quire.db"
    if settings.database.url is None and not path.exists():
        return False, f"There is no database {path} yet; `quire serve` makes it"
    async with _opened(settings) as database:
        pending = await pending_migrations(database)
        if pending:
            return False, f"Lacking: {', '.join(pending)}. `quire db upgrade` applies them"
        if not database.is_sqlite:  # there, every start sees to them
            jobs = DurableJobs(database, settings.jobs)
            try:
                await jobs.start(run=False)
            except ConfigurationError as error:
                return False, f"{error.message}. {error.recovery}"
            await jobs.stop(grace_seconds=0)
    return True, "The database is up to date"


@asynccontextmanager
async def _opened(settings: Settings, *, alone: bool = False) -> AsyncIterator[Database]:
    # SQLite may be read beside a running server, not migrated.
    is_sqlite = settings.database.url is None
    directory = DataDirectory.open(settings.data_dir) if is_sqlite and alone else None
    database = open_database(settings)
    try:
        yield database
    finally:
        await database.close()
        if directory is not None:
            directory.close()
