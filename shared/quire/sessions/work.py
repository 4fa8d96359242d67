"""Jobs as callers see them: their own, and those of the sessions they may see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from quire.access import policy
from quire.access.policy import Role
from quire.access.principal import Principal
from quire.errors import JobNotFound
from quire.jobs.port import Job, JobFilter, Jobs
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import Sessions


class Work:
    """Shows and cancels jobs on behalf of a caller."""

    def __init__(self, jobs: Jobs, sessions: Sessions, repository: SessionRepository) -> None:
        self._jobs = jobs
        self._sessions = sessions
        self._repository = repository

    async def get(self, principal: Principal, job_id: str) -> Job:
        job = await self._jobs.get(job_id)
        session = await self._repository.get(job.session_id) if job.session_id else None
        if not policy.may_see_job(principal, job.owner_id, session):
            raise JobNotFound(f"There is no job {job_id}, or you may not see it")
        return job

    async def find(
        self, principal: Principal, filter: JobFilter, *, limit: int, before: str | None
    ) -> Sequence[Job]:
        """Newest first: of a session that the caller may read, else the caller's own."""
        if filter.session_id is not None:
            await self._sessions.peek(principal, filter.session_id)
        elif not principal.is_operator:
            filter = replace(filter, owner_id=principal.subject or "")
        return await self._jobs.find(filter, limit=limit, before=before)

    async def cancel(self, principal: Principal, job_id: str) -> Job:
        """Ask for cancellation; it needs to be the caller's job or a session they may change."""
        job = await self.get(principal, job_id)
        policy.require_writer(principal)
        is_own = principal.subject is not None and job.owner_id == principal.subject
        if job.session_id is not None and not is_own and not principal.is_operator:
            session = await self._sessions.peek(principal, job.session_id)
            policy.require(principal, session, Role.WRITE)
        return await self._jobs.cancel(job_id)
