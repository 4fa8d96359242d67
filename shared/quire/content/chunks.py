"""Chunks by their address: one, a range, with neighbours, or all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from quire.access.principal import Principal
from quire.content.chunk_points import from_record
from quire.content.models import Chunk, Document
from quire.content.repository import DocumentRepository
from quire.errors import ChunkNotFound, Conflict, DocumentNotFound, InvalidInput
from quire.points.visibility import consistent, visible_chunks
from quire.sessions.models import Session
from quire.sessions.sessions import Sessions
from quire.vectors.port import AllOf, Condition, Match, Range, VectorEngine

NEIGHBOURS_MAX = 100
STREAM_WINDOW = 500
LAST_SEQ = 2**53


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """A chunk, its neighbours in its document, and the way to those beside it in the session."""

    chunk: Chunk
    before: Sequence[Chunk]
    after: Sequence[Chunk]
    previous_seq: int | None
    next_seq: int | None


@dataclass(frozen=True, slots=True)
class ChunkPage:
    """Chunks in the order of their seq, and where the next page starts."""

    chunks: Sequence[Chunk]
    next_start: int | None
    next_seq: int | None = None


class Chunks:
    """Reads chunks by position. Every answer is of one moment: before a change or after it."""

    def __init__(
        self,
        sessions: Sessions,
        documents: DocumentRepository,
        engine: VectorEngine,
    ) -> None:
        self._sessions = sessions
        self._documents = documents
        self._engine = engine

    async def get(
        self, principal: Principal, session_id: str, seq: int, *, before: int = 0, after: int = 0
    ) -> Neighbourhood:
        """The chunk with this seq, and so many of its document's chunks around it."""
        _check_neighbours(before, after)
        session = await self._sessions.open(principal, session_id)
        if not 0 <= seq < session.next_seq:
            raise _out_of_range(seq, session)

        async def read(session: Session) -> Neighbourhood:
            return await self._neighbourhood(session, seq, before, after)

        return await consistent(self._sessions, session, read)

    async def by_index(
        self,
        principal: Principal,
        session_id: str,
        document_id: str,
        index: int,
        *,
        before: int = 0,
        after: int = 0,
    ) -> Neighbourhood:
        """The document's chunk with this index."""
        _check_neighbours(before, after)
        session = await self._sessions.open(principal, session_id)

        async def read(session: Session) -> Neighbourhood:
            document = await self._document(session.id, document_id)
            last = document.chunks_count - 1
            if not 0 <= index <= last or document.first_seq is None:
                valid = f"valid: 0 to {last}" if last >= 0 else "it has none"
                raise ChunkNotFound(f"Document {document_id} has no chunk {index}; {valid}")
            return await self._neighbourhood(session, document.first_seq + index, before, after)

        return await consistent(self._sessions, session, read)

    async def page(
        self,
        principal: Principal,
        session_id: str,
        *,
        start: int = 0,
        limit: int = 100,
        document_id: str | None = None,
    ) -> ChunkPage:
        """So many chunks from a seq on, or from an index on where a document is named.

        What was removed is passed over: the others keep their numbers.
        """
        if start < 0:
            raise InvalidInput("start is 0 or more", field="query parameter start")
        session = await self._sessions.open(principal, session_id)

        async def read(session: Session) -> ChunkPage:
            if document_id is None:
                return await self._page(session, start, limit, session.next_seq)
            document = await self._document(session.id, document_id)
            first = document.first_seq or 0
            end = first + document.chunks_count
            page = await self._page(session, first + start, limit, end, document_id)
            following = None if page.next_start is None else page.next_start - first
            return ChunkPage(page.chunks, following, page.next_seq)

        return await consistent(self._sessions, session, read)

    async def stream(
        self, principal: Principal, session_id: str, *, document_id: str | None = None
    ) -> AsyncIterator[Sequence[Chunk]]:
        """All chunks, in their order, some at a time, as they are at the beginning.

        Raises `Conflict` when some are taken away meanwhile: what is sent would not fit together.
        """
        session = await self._sessions.open(principal, session_id)
        start, end = 0, session.next_seq
        if document_id is not None:
            document = await self._document(session_id, document_id)
            start = document.first_seq or 0
            end = start + document.chunks_count
        removals = session.removals
        while start < end:
            latest = await self._sessions.awake(await self._sessions.peek(principal, session_id))

            async def read(session: Session, start: int = start) -> ChunkPage:
                return await self._page(session, start, STREAM_WINDOW, end, document_id)

            page = await consistent(self._sessions, latest, read)
            latest = await self._sessions.peek(principal, session_id)
            if latest.removals != removals:
                raise Conflict(
                    f"Chunks were taken away while they were read; up to {start - 1} all is well",
                    recovery="Read the stream again.",
                )
            yield page.chunks
            if page.next_start is None:
                return
            start = page.next_start

    async def _neighbourhood(
        self, session: Session, seq: int, before: int, after: int
    ) -> Neighbourhood:
        # One more on each side, for the links.
        window = Range("seq", gte=seq - before - 1, lte=seq + after + 1)
        found = await self._read(session, window, before + after + 3)
        at = next((i for i, chunk in enumerate(found) if chunk.seq == seq), None)
        if at is None:
            raise ChunkNotFound(
                f"Chunk {seq} is gone: it was deleted, or its document removed or replaced",
                recovery="Read the list of chunks; those that are left keep their numbers.",
                gone=True,
            )
        chunk = found[at]

        def near(other: Chunk) -> bool:
            return (
                other.document_id == chunk.document_id
                and other.seq - chunk.seq == other.index - chunk.index
            )

        return Neighbourhood(
            chunk,
            [c for c in found[:at] if near(c) and c.seq >= seq - before],
            [c for c in found[at + 1 :] if near(c) and c.seq <= seq + after],
            found[at - 1].seq if at else await self._documents.last_seq_before(session.id, seq),
            found[at + 1].seq
            if at + 1 < len(found)
            else await self._documents.next_first_seq(session.id, seq + 1),
        )

    async def _page(
        self, session: Session, start: int, limit: int, end: int, document_id: str | None = None
    ) -> ChunkPage:
        chunks: list[Chunk] = []
        at: int | None = start
        while at is not None and at < end and len(chunks) < limit:
            upper = min(at + limit, end)
            window: Condition = Range("seq", gte=at, lt=upper)
            if document_id is not None:
                window = AllOf([window, Match("document_id", [document_id])])
            chunks += await self._read(session, window, limit)
            at = upper if upper >= end else await self._documents.next_first_seq(session.id, upper)
        chunks = chunks[:limit]
        if not chunks:
            return ChunkPage([], None)
        following = chunks[-1].seq + 1
        if following < end:
            after = await self._documents.next_first_seq(session.id, following)
            if after is not None and after < end:
                return ChunkPage(chunks, following, after)
        return ChunkPage(chunks, None)

    async def _read(self, session: Session, window: Condition, limit: int) -> list[Chunk]:
        page = await self._engine.scroll(
            session.collection, filter=visible_chunks(session, window), limit=limit
        )
        return sorted((from_record(record) for record in page.records), key=lambda c: c.seq)

    async def _document(self, session_id: str, document_id: str) -> Document:
        document = await self._documents.get(session_id, document_id)
        if document is None:
            raise DocumentNotFound(f"Session {session_id} has no document {document_id}")
        return document


def _check_neighbours(before: int, after: int) -> None:
    for name, number in (("before", before), ("after", after)):
        if not 0 <= number <= NEIGHBOURS_MAX:
            raise InvalidInput(f"{name} is 0 to {NEIGHBOURS_MAX}", field=f"query parameter {name}")


def _out_of_range(seq: int, session: Session) -> ChunkNotFound:
    if session.next_seq == 0:
        return ChunkNotFound(
            f"There is no chunk {seq}: session {session.id} has none yet",
            recovery="Ingest a document first: POST /sessions/{id}/documents.",
        )
    return ChunkNotFound(f"There is no chunk {seq}; valid range: 0–{session.next_seq - 1}")
