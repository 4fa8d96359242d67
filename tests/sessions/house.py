"""A Quire without HTTP, people who use it, and a way to let time pass."""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from quire.access.principal import Principal, Scope
from quire.app import Quire
from quire.jobs.port import JobFilter
from quire.sessions.requests import NewSession
from quire.settings import JobSettings, RetentionSettings, Settings
from quire.store.columns import Moment
from quire.store.tables import sessions, tombstones
from tests.store.template import migrated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import timedelta
    from pathlib import Path

    from quire.sessions.models import Session

OPERATOR = Principal("root", scope=Scope.ADMIN)


def person(subject: str, *groups: str, scope: Scope = Scope.WRITE) -> Principal:
    return Principal(subject, frozenset(groups), scope)


ADA = person("ada", "garden")
GRACE = person("grace")
ALAN = person("alan")


def settings_for(directory: Path, *, runs_jobs: bool = True, **more: Any) -> Settings:
    """Settings under which nothing is swept but by the test."""
    jobs = JobSettings(poll_seconds=0.05, lease_seconds=1, grace_seconds=5, in_process=runs_jobs)
    defaults: dict[str, Any] = {
        "jobs": jobs,
        "retention": RetentionSettings(sweep_seconds=3600, deleted_days=30),
    }
    return Settings(data_dir=directory, **{**defaults, **more})


@asynccontextmanager
async def quire_in(directory: Path, **more: Any) -> AsyncIterator[Quire]:
    """A running Quire over Edge and SQLite."""
    if not (directory / "quire.db").exists():
        migrated(directory)
    async with Quire.open(settings_for(directory, **more)) as quire:
        yield quire


def new_id(prefix: str = "s") -> str:
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


async def create(quire: Quire, who: Principal = ADA, **fields: Any) -> Session:
    session, _ = await quire.creation.create(who, NewSession(**{"name": "s", **fields}))
    return session


async def purged(quire: Quire, who: Principal, session_id: str) -> None:
    """Delete for good, and wait until it is done."""
    job = await quire.jobs.wait(await quire.sessions.delete_for_good(who, session_id), 30)
    assert job.status == "succeeded", job


async def finish_purges(quire: Quire) -> None:
    """Wait until every purge is done."""
    while unfinished := [
        job
        for job in await quire.jobs.find(JobFilter(kind="purge"), limit=1000)
        if not job.status.is_final
    ]:
        for job in unfinished:
            await quire.jobs.wait(job.id, 30)


async def let_pass(quire: Quire, time: timedelta, *session_ids: str) -> None:
    """Move the past back: every time that is written of these sessions (or of all) is earlier.

    So the clock need not be replaced, and the code that reads it is the code that is tested.
    """
    for table in (sessions, tombstones):
        moments = [column for column in table.c if isinstance(column.type, Moment)]
        # Moments are whole microseconds; what is null stays null.
        earlier = {
            column.name: sa.type_coerce(column, sa.BigInteger) - int(time.total_seconds() * 1e6)
            for column in moments
        }
        change = sa.update(table).values(earlier)
        if session_ids:
            change = change.where(table.c.id.in_(session_ids))
        async with quire.database.write() as connection:
            await connection.execute(change)
    # The service is the only writer of its database, and this was not the service.
    quire.repository._cache._heard(None)


async def row_count(quire: Quire, table: sa.Table, session_id: str) -> int:
    """How many rows of a table belong to a session."""
    column = table.c.get("session_id", table.c.get("id"))
    query = sa.select(sa.func.count()).select_from(table).where(column == session_id)
    async with quire.database.read() as connection:
        return int((await connection.execute(query)).scalar_one())


async def collections(quire: Quire) -> set[str]:
    """Its collections: on a server other tests may have theirs."""
    prefix = quire.settings.qdrant.collection_prefix
    return {name async for name in quire.engine.collections() if name.startswith(prefix)}
