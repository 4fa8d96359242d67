"""Removing documents: their chunks vanish at one moment, and then from the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quire.content.models import Document
from quire.content.repository import DocumentRepository
from quire.content.switching import Switching
from quire.errors import QuireError
from quire.jobs.port import JobContext, JobKind, Jobs
from quire.points.visibility import outgoing
from quire.sessions.repository import SessionRepository
from quire.sessions.waking import Waker
from quire.store.database import Database

KIND = "remove documents"


class Removal:
    """Runs the jobs that remove documents."""

    def __init__(
        self,
        database: Database,
        repository: SessionRepository,
        documents: DocumentRepository,
        switching: Switching,
        jobs: Jobs,
        waker: Waker,
    ) -> None:
        self._database = database
        self._repository = repository
        self._documents = documents
        self._switching = switching
        self._waker = waker
        jobs.register(JobKind(KIND, self._run, compensate=self._take_back))

    async def _run(self, context: JobContext) -> Mapping[str, Any]:
        session_id, job_id = context.sessions[0], context.job_id
        document_ids = context.parameters["document_ids"]
        switching = self._switching
        removed = await context.step("mark", self._mark, session_id, job_id, document_ids)
        context.finishing()
        await context.step("hide", switching.hide, session_id, job_id, document_ids)
        await context.step("remove", switching.remove_hidden, session_id, job_id)
        return {"removed": removed}

    async def _mark(
        self, session_id: str, job_id: str, document_ids: Sequence[str]
    ) -> Sequence[str]:
        session = await self._repository.get(session_id)
        if session is None:
            raise QuireError(f"Session {session_id} is gone")
        session = await self._waker.awake(session)  # and it stays so until the job is done
        async with self._database.read() as connection:
            known = await self._documents.known(connection, session_id, "id", document_ids)
        current: list[Document] = [document for document in known if document.is_current]
        await self._switching.mark_chunks(session, current, outgoing(job_id))
        return [document.id for document in current]

    async def _unmark(self, session_id: str, job_id: str) -> bool:
        session = await self._repository.get(session_id)
        if session is not None:  # cold if the job was called off before its first step
            await self._waker.awake(session)
        return await self._switching.unmark(session_id, job_id)

    async def _take_back(self, context: JobContext) -> None:
        session_id, job_id = context.sessions[0], context.job_id
        if not await context.step("unmark", self._unmark, session_id, job_id):
            await context.step("remove", self._switching.remove_hidden, session_id, job_id)
