"""Bringing documents, and seeing which there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from quire.content.models import Document
from quire.content.sources import IngestOptions, Source
from quire_mcp.arguments import ChunkSize, Cursor, SessionId
from quire_mcp.callers import caller
from quire_mcp.shapes import call
from quire_mcp.toolbox import Toolbox
from quire_mcp.waiting import Wait, followed


class DocumentArgument(BaseModel):
    """A document to be taken in."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(description="What it says.", examples=["Leaves are gathered into quires."])
    id: str | None = Field(
        None, description="An id of your own; the document that has it is replaced."
    )
    title: str | None = None
    url: str | None = Field(None, description="Where it is from.", examples=["https://example.org"])
    content_type: str = Field(
        "text/plain", examples=["text/markdown", "application/json", "text/html"]
    )
    metadata: dict[str, Any] = Field(
        default_factory=dict, description="Fields to filter by.", examples=[{"service": "api"}]
    )

    def source(self) -> Source:
        return Source(
            content=self.text.encode(errors="surrogatepass"),
            content_type=self.content_type,
            id=self.id,
            title=self.title,
            source_url=self.url,
            metadata=self.metadata,
        )


class DocumentBrief(TypedDict):
    document_id: str
    title: str | None
    source_url: str | None
    status: Annotated[str, Field(description="pending, ready or failed.")]
    total_chunks: int
    first_chunk_index: int | None
    size_bytes: int
    error: str | None


class Ingested(TypedDict):
    session_id: str
    status: Annotated[str, Field(description="success, or running while a job is at it.")]
    job_id: str | None
    documents: list[DocumentBrief]
    total_documents: int
    next: str


class DocumentList(TypedDict):
    session_id: str
    documents: list[DocumentBrief]
    next_cursor: str | None
    next: str


def offer(toolbox: Toolbox) -> None:
    """The tools of this module."""
    quire, budget = toolbox.quire, toolbox.budget

    @toolbox.writes("Take documents in", destructive=True, idempotent=True)
    async def ingest(
        session_id: SessionId,
        documents: Annotated[
            list[DocumentArgument],
            Field(
                description="They are seen at once.",
                examples=[[{"title": "A letter", "text": "Dear friend, …"}]],
            ),
        ],
        chunk_size: ChunkSize = None,
        chunk_overlap: Annotated[
            int | None,
            Field(
                description="Characters that a chunk shares with the one before.", examples=[100]
            ),
        ] = None,
        wait_seconds: Wait = 30,
    ) -> Ingested:
        """Take documents into a session: they are cut into chunks, and can then be found."""
        sources = [document.source() for document in documents]
        options = IngestOptions(chunk_size=chunk_size, chunk_overlap=chunk_overlap)
        admitted = await quire.admission.admit(caller().principal, session_id, sources, options)
        is_done = True
        if admitted.job_id is not None:
            job = await followed(quire, admitted.job_id, wait_seconds)
            is_done = job.status.is_final
            admitted = await quire.admission.current(session_id, admitted)
        following = f"Find something: {call('search_session', session_id=session_id)} with a query."
        if not is_done:
            following = f"It goes on by itself: {call('get_job', job_id=admitted.job_id)}"
        briefs = [document_brief(document) for document in admitted.documents]

        def built(shown: Sequence[DocumentBrief]) -> Ingested:
            return {
                "session_id": session_id,
                "status": "success" if is_done else "running",
                "job_id": admitted.job_id,
                "documents": list(shown),
                "total_documents": len(briefs),
                "next": following
                if len(shown) == len(briefs)
                else f"{following} All documents: {call('list_documents', session_id=session_id)}",
            }

        return budget.fit_items(briefs, built)

    @toolbox.reads("List documents")
    async def list_documents(
        session_id: SessionId,
        limit: Annotated[int, Field(description="How many.", ge=1, le=100)] = 50,
        cursor: Cursor = None,
    ) -> DocumentList:
        """A session's documents, in the order in which they came, with their chunks."""
        after = int(cursor) if cursor is not None and cursor.isascii() and cursor.isdigit() else -1
        page = await quire.documents.page(caller().principal, session_id, cursor=after, limit=limit)
        briefs = [document_brief(document) for document in page.documents]

        def built(shown: Sequence[DocumentBrief]) -> DocumentList:
            following = page.next_cursor
            if len(shown) < len(briefs):
                following = str(page.documents[len(shown) - 1].ordinal)
            told = "Read one: get_session_chunk(session_id, its first_chunk_index)."
            if following is not None:
                more = call("list_documents", session_id=session_id, cursor=following)
                told += f" The next page: {more}"
            return {
                "session_id": session_id,
                "documents": list(shown),
                "next_cursor": following,
                "next": told,
            }

        return budget.fit_items(briefs, built)


def document_brief(document: Document) -> DocumentBrief:
    """A document in a list."""
    title, url = document.title, document.source_url
    return {
        "document_id": document.id,
        "title": None if title is None else title[:200],
        "source_url": None if url is None else url[:500],
        "status": document.status.value,
        "total_chunks": document.chunks_count,
        "first_chunk_index": document.first_seq,
        "size_bytes": document.raw.size,
        "error": None if document.error is None else str(document.error.get("message"))[:300],
    }
