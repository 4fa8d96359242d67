"""A data directory whose database is migrated: copied, it saves each test a second."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from quire.jobs.durable import DurableJobs
from quire.settings import JobSettings
from quire.store import Database, migrate

if TYPE_CHECKING:
    from collections.abc import Coroutine

NAME = "quire.db"


def migrated(directory: Path) -> Path:
    """The directory, in which the database of a new Quire lies, migrated."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in _template().iterdir():
        shutil.copy(file, directory / file.name)
    return directory


@cache
def _template() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="quire-template-"))

    async def prepare() -> None:
        database = Database.sqlite(directory / NAME)
        try:
            await prepare_database(database)
        finally:
            await database.close()

    run_apart(prepare())
    return directory


async def prepare_database(database: Database) -> None:
    """What `quire db upgrade` does."""
    await migrate(database)
    await DurableJobs(database, JobSettings()).migrate()


async def prepare_postgres(url: str) -> None:
    """The same for the empty database at that address."""
    database = Database.postgres(url)
    try:
        await prepare_database(database)
    finally:
        await database.close()


def run_apart(work: Coroutine[None, None, None]) -> None:
    """Run in a loop of its own, whether or not one runs here."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()
