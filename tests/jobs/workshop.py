"""A database, and jobs that start and stop over it: what the tests of jobs share."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from quire.jobs.durable import DurableJobs
from quire.jobs.port import Job, JobContext, JobKind, JobRequest
from quire.settings import JobSettings
from quire.store.database import Database
from quire.store.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

QUICK = JobSettings(concurrency=4, poll_seconds=0.05, lease_seconds=1)


async def answer_nothing(context: JobContext) -> None:
    """A handler with nothing to do."""


NOTHING = JobKind("nothing", answer_nothing)


class Workshop:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.jobs = DurableJobs(database, QUICK)

    @classmethod
    async def open(cls, where: Path | str) -> Workshop:
        """A workshop over a SQLite file or a PostgreSQL URL, migrated."""
        made = Database.postgres(where) if isinstance(where, str) else Database.sqlite(where)
        workshop = cls(made)
        await migrate(made)
        await workshop.jobs.migrate()
        return workshop

    @asynccontextmanager
    async def running(
        self, *kinds: JobKind, run: bool = True, grace: float = 2.0
    ) -> AsyncIterator[DurableJobs]:
        self.jobs = DurableJobs(self.database, QUICK)
        for kind in kinds:
            self.jobs.register(kind)
        await self.jobs.start(run=run)
        try:
            yield self.jobs
        finally:
            await self.jobs.stop(grace_seconds=grace)

    async def submit(self, kind: str, *sessions: str, **parameters: Any) -> str:
        request = JobRequest(kind, sessions=sessions, parameters=parameters)
        async with self.database.write() as connection:
            return await self.jobs.submit(connection, request)

    async def done(self, *job_ids: str, seconds: float = 20) -> list[Job]:
        """The jobs, all final."""
        found = [await self.jobs.wait(job_id, seconds) for job_id in job_ids]
        assert all(job.status.is_final for job in found), found
        return found
