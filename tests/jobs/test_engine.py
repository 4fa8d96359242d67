"""What the engine demands of the machine, and what it keeps to itself."""

from __future__ import annotations

import logging
import sqlite3
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest
import sqlalchemy as sa
from dbos._serialization import DefaultSerializer

from quire.errors import ConfigurationError, Conflict
from quire.jobs.engine import Engine
from quire.jobs.leases import FileLease
from quire.settings import JobSettings
from quire.store.database import Database
from tests.jobs.workshop import NOTHING, Workshop

if TYPE_CHECKING:
    from pathlib import Path


class VersionInfo(NamedTuple):
    major: int
    minor: int


async def nothing() -> None:
    """For a lease that is never lost."""


async def test_an_old_sqlite_under_a_new_python_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database.sqlite(tmp_path / "quire.db")
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 40, 1))
    monkeypatch.setattr(sys, "version_info", VersionInfo(3, 12))
    with pytest.raises(ConfigurationError, match=r"need 3\.42"):
        Engine(database, JobSettings())
    await database.close()


async def test_one_process_runs_the_jobs_of_a_sqlite_file(tmp_path: Path) -> None:
    first, second = FileLease(tmp_path / "quire.db"), FileLease(tmp_path / "quire.db")
    await first.acquire(taken_over=nothing, released=lambda: None)
    with pytest.raises(Conflict):
        await second.acquire(taken_over=nothing, released=lambda: None)
    await first.release()
    await second.acquire(taken_over=nothing, released=lambda: None)
    await second.release()


async def test_the_engine_says_nothing_on_the_console(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workshop = await Workshop.open(tmp_path / "quire.db")
    async with workshop.running(NOTHING):
        await workshop.done(await workshop.submit("nothing"))
    await workshop.database.close()

    handlers = logging.getLogger("dbos").handlers
    assert {type(handler) for handler in handlers} == {logging.NullHandler}
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "")


async def test_a_pickle_in_the_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="unpickles nothing"):
        DefaultSerializer().deserialize("gASVAAAAAAAAAAA=")


async def test_the_engine_shares_the_file_and_its_safety(tmp_path: Path) -> None:
    workshop = await Workshop.open(tmp_path / "quire.db")
    engine = Engine(workshop.database, JobSettings())
    with engine._sql.connect() as connection:

        def pragma(name: str) -> object:
            return connection.execute(sa.text(f"PRAGMA {name}")).scalar_one()

        assert pragma("journal_mode") == "wal"
        assert pragma("synchronous") == 2
        assert pragma("foreign_keys") == 1
        assert pragma("busy_timeout") == 30_000
        # A transaction that only reads keeps nobody from writing.
        connection.execute(sa.text("SELECT count(*) FROM workflow_status")).scalar_one()
        async with workshop.database.write() as writer:
            await writer.execute(sa.text("DELETE FROM jobs"))
    await engine.close()
    await workshop.database.close()
