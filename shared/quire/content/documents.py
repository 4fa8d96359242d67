"""Documents as callers see them: what there is, their bytes, their text, and removing them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from quire.access.policy import Role
from quire.access.principal import Principal
from quire.blobs.port import BlobStore
from quire.content import removal
from quire.content.models import Document, DocumentStatus, Slice
from quire.content.repository import DocumentRepository
from quire.errors import Conflict, DocumentNotFound
from quire.jobs.port import JobRequest, Jobs
from quire.points.visibility import require_writable
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import Sessions


@dataclass(frozen=True, slots=True)
class DocumentPage:
    documents: Sequence[Document]
    next_cursor: str | None


class Documents:
    """Shows and removes documents on behalf of a caller."""

    def __init__(
        self,
        sessions: Sessions,
        repository: SessionRepository,
        documents: DocumentRepository,
        blobs: BlobStore,
        jobs: Jobs,
    ) -> None:
        self._sessions = sessions
        self._repository = repository
        self._documents = documents
        self._blobs = blobs
        self._jobs = jobs

    async def page(
        self,
        principal: Principal,
        session_id: str,
        *,
        cursor: int = -1,
        limit: int = 100,
        status: DocumentStatus | None = None,
    ) -> DocumentPage:
        """Documents in the order in which they first came; a cursor is the last one's ordinal."""
        await self._sessions.get(principal, session_id)
        found = await self._documents.page(session_id, after=cursor, limit=limit + 1, status=status)
        page = found[:limit]
        return DocumentPage(page, str(page[-1].ordinal) if len(found) > limit else None)

    async def get(self, principal: Principal, session_id: str, document_id: str) -> Document:
        await self._sessions.get(principal, session_id)
        document = await self._documents.get(session_id, document_id)
        if document is None:
            raise DocumentNotFound(f"Session {session_id} has no document {document_id}")
        return document

    def raw(self, document: Document, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes of what was sent, unchanged."""
        return self._bytes(document.raw, start, end)

    def text(self, document: Document, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes of the document's text in UTF-8: what its chunks were cut from."""
        return self._bytes(self.text_of(document), start, end)

    def text_of(self, document: Document) -> Slice:
        """Where its text lies; `Conflict` where there is none yet."""
        if document.text is None:
            raise Conflict(
                f"Document {document.id} has no text: it is {document.status}",
                recovery="Wait until it is ready; if it failed, its error says why.",
            )
        return document.text

    async def remove(
        self, principal: Principal, session_id: str, document_ids: Sequence[str]
    ) -> str:
        """Remove documents with all their chunks; answers the job that does it."""
        async with self._repository.transaction() as connection:
            session = await self._sessions.lock(connection, principal, session_id, Role.WRITE)
            require_writable(session)
            known = await self._documents.known(connection, session_id, "id", document_ids)
            for document_id in document_ids:
                if not any(document.id == document_id for document in known):
                    raise DocumentNotFound(f"Session {session_id} has no document {document_id}")
            return await self._jobs.submit(
                connection,
                JobRequest(
                    removal.KIND,
                    sessions=[session_id],
                    parameters={"document_ids": list(document_ids)},
                    owner_id=principal.subject,
                ),
            )

    def _bytes(self, part: Slice, start: int, end: int) -> AsyncIterator[bytes]:
        return self._blobs.get(part.sha256, start=part.start + start, end=part.start + end)
