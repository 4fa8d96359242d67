"""Showing what a job wrote and hiding what it replaces, in one transaction; or taking it back.

The points that are to go are marked first, a window of them at a time. Neither the marks nor the
new points mean anything to readers until the session's row says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from quire.content.models import Document, DocumentStatus
from quire.content.repository import DocumentRepository
from quire.errors import Conflict
from quire.events.log import EventKind, NewEvent, append_events
from quire.points.visibility import incoming, outgoing, visible, visible_chunks
from quire.sessions.models import Session
from quire.sessions.repository import SessionRepository
from quire.store.columns import now
from quire.vectors.port import (
    STAGE,
    AllOf,
    Condition,
    Match,
    Missing,
    NoneOf,
    Range,
    VectorEngine,
)

# So many chunks are marked or removed in one call of the engine, which may hold others up.
WINDOW = 1_000
IDS_AT_ONCE = 500

KEPT = "kept"
"""The stage of a chunk whose replacement was called off: always shown."""


class Switching:
    """The moments of a job on documents that matter to readers."""

    def __init__(
        self,
        repository: SessionRepository,
        documents: DocumentRepository,
        engine: VectorEngine,
    ) -> None:
        self._repository = repository
        self._documents = documents
        self._engine = engine

    async def begin(self, session_id: str, job_id: str) -> int:
        """Hide what the job is going to write; answers the seq of its first chunk."""
        async with self._repository.transaction() as connection:
            session = await self._locked(connection, session_id)
            hidden = _with(session.hidden_stages, incoming(job_id))
            await self._repository.save(connection, session, replace(session, hidden_stages=hidden))
            return session.next_seq

    async def mark(self, session_id: str, job_id: str) -> int:
        """Mark the chunks that the job replaces; answers of how many documents."""
        async with self._repository.transaction() as connection:
            session = await self._locked(connection, session_id)
            old = await self._documents.replaced_by(connection, session_id, job_id)
        await self.mark_chunks(session, old, outgoing(job_id), keep=incoming(job_id))
        return len(old)

    async def mark_chunks(
        self,
        session: Session,
        documents: Sequence[Document],
        stage: str,
        *,
        keep: str | None = None,
    ) -> None:
        """Put the documents' chunks into a stage, but for those that are in another to be kept."""
        # Without a stage it is no chunk: pipelines may have a field `document_id` of their own.
        others: list[Condition] = [Missing(STAGE)]
        if keep is not None:
            others.append(Match(STAGE, [keep]))
        for condition in chunks_of(documents):
            chunks = AllOf([condition, NoneOf(others)])
            await self._engine.set_payload(session.collection, {STAGE: stage}, chunks)

    async def show(self, session_id: str, job_id: str, *, next_seq: int, embedded: int) -> None:
        """Readers see what the job wrote from here on, and no more what it replaces."""
        async with self._repository.transaction() as connection:
            session = await self._locked(connection, session_id)
            if incoming(job_id) not in session.hidden_stages:
                return  # an earlier run of this step got as far as the commit
            old = await self._documents.replaced_by(connection, session_id, job_id)
            await self._documents.remove(connection, old)
            await self._documents.make_current(connection, session_id, job_id)
            await self._tell(connection, session_id, job_id)
            await self._documents.note_failed_updates(connection, session_id, job_id)
            hidden = _without(session.hidden_stages, incoming(job_id))
            if old:
                hidden = _with(hidden, outgoing(job_id))
            stats = session.processing_stats
            at = now()
            changed = replace(
                session,
                hidden_stages=hidden,
                removals=session.removals + bool(old),
                next_seq=next_seq,
                updated_at=at,
                last_activity_at=at,
                processing_stats=replace(
                    stats,
                    embeddings_created=stats.embeddings_created + embedded,
                    last_processing_time=at,
                ),
            )
            await self._repository.save(connection, session, await self._counted(changed))

    async def hide(self, session_id: str, job_id: str, document_ids: Sequence[str]) -> None:
        """Readers see these documents, whose chunks are marked, no more."""
        async with self._repository.transaction() as connection:
            session = await self._locked(connection, session_id)
            if outgoing(job_id) in session.hidden_stages:
                return  # an earlier run of this step got as far as the commit
            known = await self._documents.known(connection, session_id, "id", document_ids)
            await self._documents.remove(connection, [d for d in known if d.is_current])
            at = now()
            changed = replace(
                session,
                hidden_stages=_with(session.hidden_stages, outgoing(job_id)),
                removals=session.removals + 1,
                updated_at=at,
                last_activity_at=at,
            )
            await self._repository.save(connection, session, await self._counted(changed))

    async def remove_hidden(self, session_id: str, job_id: str) -> None:
        """Remove what was replaced; then nothing needs to be hidden any more."""
        stage = outgoing(job_id)
        session = await self._repository.get(session_id)
        if session is None or stage not in session.hidden_stages:
            return
        await self.remove_stage(session.collection, stage)
        await self._engine.flush(session.collection)
        await self._unhide(session_id, stage)

    async def take_back(self, session_id: str, job_id: str) -> bool:
        """Undo what a job did before its switch; False where it had switched already."""
        session = await self._repository.get(session_id)
        if session is None or incoming(job_id) not in session.hidden_stages:
            return False
        await self.remove_stage(session.collection, incoming(job_id))
        await self.unmark(session_id, job_id)
        async with self._repository.transaction() as connection:
            session = await self._repository.lock(connection, session_id)
            if session is None:
                return False
            waiting = await self._documents.all_of_job(connection, job_id)
            await self._documents.remove(connection, waiting)
            hidden = _without(session.hidden_stages, incoming(job_id))
            await self._repository.save(connection, session, replace(session, hidden_stages=hidden))
        return True

    async def unmark(self, session_id: str, job_id: str) -> bool:
        """Let go what was marked; False where it is hidden already."""
        session = await self._repository.get(session_id)
        if session is None or outgoing(job_id) in session.hidden_stages:
            return False
        marked = Match(STAGE, [outgoing(job_id)])
        await self._engine.set_payload(session.collection, {STAGE: KEPT}, marked)
        await self._engine.flush(session.collection)
        return True

    async def remove_stage(self, collection: str, stage: str) -> None:
        """Remove the chunks of a stage, a page at a time."""
        condition = Match(STAGE, [stage])
        while True:
            page = await self._engine.scroll(collection, filter=condition, limit=WINDOW)
            if page.records:
                await self._engine.delete(collection, [record.id for record in page.records])
            if len(page.records) < WINDOW:
                return

    async def _tell(self, connection: AsyncConnection, session_id: str, job_id: str) -> None:
        """Whoever follows the session hears of each document."""
        happened = []
        for document in await self._documents.all_of_job(connection, job_id):
            data: dict[str, Any] = {"document_id": document.id, "title": document.title}
            data["job_id"] = job_id
            if document.status is DocumentStatus.READY:
                data["chunks_count"] = document.chunks_count
                happened.append(NewEvent(session_id, EventKind.DOCUMENT_READY, data))
            elif document.status is DocumentStatus.FAILED:
                data["error"] = document.error
                happened.append(NewEvent(session_id, EventKind.DOCUMENT_FAILED, data))
        await append_events(connection, happened)

    async def _unhide(self, session_id: str, stage: str) -> None:
        async with self._repository.transaction() as connection:
            session = await self._locked(connection, session_id)
            hidden = _without(session.hidden_stages, stage)
            await self._repository.save(connection, session, replace(session, hidden_stages=hidden))

    async def _counted(self, session: Session) -> Session:
        """With the counts that hold once its hidden stages are hidden."""
        points = await self._engine.count(session.collection, visible(session))
        chunks = await self._engine.count(session.collection, visible_chunks(session))
        return replace(session, points_count=points, chunks_count=chunks)

    async def _locked(self, connection: AsyncConnection, session_id: str) -> Session:
        session = await self._repository.lock(connection, session_id)
        if session is None or not session.state.is_visible:
            raise Conflict(f"Session {session_id} is gone", recovery="Nothing is left to do.")
        return session


def chunks_of(documents: Sequence[Document]) -> list[Condition]:
    """Conditions that together select the documents' chunks, none of them very many."""
    conditions: list[Condition] = []
    small: list[str] = []
    weight = 0
    for document in documents:
        if document.chunks_count > WINDOW and document.first_seq is not None:
            last = document.first_seq + document.chunks_count
            mine = Match("document_id", [document.id])
            conditions += [
                AllOf([mine, Range("seq", gte=start, lt=min(start + WINDOW, last))])
                for start in range(document.first_seq, last, WINDOW)
            ]
            continue
        small.append(document.id)
        weight += document.chunks_count
        if weight >= WINDOW or len(small) == IDS_AT_ONCE:
            conditions.append(Match("document_id", small))
            small, weight = [], 0
    return conditions + ([Match("document_id", small)] if small else [])


def _with(stages: Sequence[str], stage: str) -> tuple[str, ...]:
    return (*(other for other in stages if other != stage), stage)


def _without(stages: Sequence[str], stage: str) -> tuple[str, ...]:
    return tuple(other for other in stages if other != stage)
