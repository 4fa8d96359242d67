"""How a crawl begins, and how its beginner hears what came of it."""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import asdict, dataclass
from typing import Any

from quire.access.policy import Role
from quire.access.principal import Principal
from quire.crawling import crawl
from quire.crawling.requests import CrawlRequest
from quire.jobs.port import Job, JobRequest, Jobs, JobStatus
from quire.points.visibility import require_writable
from quire.sessions.creation import Creation
from quire.sessions.repository import SessionRepository
from quire.sessions.requests import NewSession
from quire.sessions.sessions import Sessions
from quire.settings import JobSettings
from quire.web import address as addresses
from quire.web.web import Web


@dataclass(frozen=True, slots=True)
class Crawled:
    """A crawl as it stands."""

    job: Job
    is_taken_in: bool
    """It is done, and so are the jobs that make chunks of its pages."""


class Beginning:
    """Submits crawls."""

    def __init__(
        self,
        repository: SessionRepository,
        sessions: Sessions,
        creation: Creation,
        web: Web,
        jobs: Jobs,
        job_settings: JobSettings,
    ) -> None:
        self._repository = repository
        self._sessions = sessions
        self._creation = creation
        self._web = web
        self._jobs = jobs
        # Crawls mostly wait. They take turns, so that they leave room for all other jobs.
        self._lanes = max(1, job_settings.concurrency // 2)

    async def begin(self, principal: Principal, request: CrawlRequest) -> tuple[str, str]:
        """Check everything, then submit the job; answers it and the session."""
        request = request.checked(self._web.settings)
        await self._web.check(request.url)
        session_id = request.session_id or await self._new_session(principal, request)
        async with self._repository.transaction() as connection:
            session = await self._sessions.lock(connection, principal, session_id, Role.WRITE)
            require_writable(session)
            job_id = await self._jobs.submit(connection, self._job(principal, session_id, request))
        return job_id, session_id

    async def crawled(self, job_id: str, wait: float) -> Crawled:
        """How it stands after so many seconds, or when all of it is done."""
        deadline = asyncio.get_running_loop().time() + wait
        job = await self._jobs.wait(job_id, wait)
        if job.status is not JobStatus.SUCCEEDED or job.result is None:
            return Crawled(job, is_taken_in=False)
        for ingest in job.result["ingest_jobs"]:
            left = max(0.0, deadline - asyncio.get_running_loop().time())
            if not (await self._jobs.wait(ingest, left)).status.is_final:
                return Crawled(job, is_taken_in=False)
        return Crawled(job, is_taken_in=True)

    async def _new_session(self, principal: Principal, request: CrawlRequest) -> str:
        site = addresses.parse(request.url)
        new = NewSession(name=request.name or site.host, metadata={"source_url": request.url})
        session, _ = await self._creation.create(principal, new)
        return session.id

    def _job(self, principal: Principal, session_id: str, request: CrawlRequest) -> JobRequest:
        settings = self._web.settings
        parameters: dict[str, Any] = {
            **asdict(request),
            "max_bytes": request.max_bytes or settings.crawl_bytes,
            "principal": {
                "subject": principal.subject,
                "groups": sorted(principal.groups),
                "scope": principal.scope.value,
            },
        }
        lane = zlib.crc32(session_id.encode()) % self._lanes
        return JobRequest(
            crawl.KIND,
            sessions=[f"crawling {lane}"],
            parameters=parameters,
            owner_id=principal.subject,
            shown_at=session_id,
        )
