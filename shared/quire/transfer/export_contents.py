"""What of a session goes into a file: its points as they are at one moment, and all else of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Container, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from quire.blobs.port import BlobStore
from quire.bundle.contents import Body, BundleContents, DocumentEntry
from quire.content.models import Document, DocumentStatus, Slice
from quire.content.reading import SliceReader
from quire.content.repository import DocumentRepository
from quire.content.switching import KEPT
from quire.points.visibility import visible
from quire.sessions.models import Session
from quire.transfer.activity_told import ActivityReader
from quire.transfer.document_rows import document_json
from quire.transfer.feeds import EVERYTHING
from quire.transfer.lineage import LineageRecords
from quire.transfer.selection import Everything, Selection, selected
from quire.transfer.session_told import session_json
from quire.vectors.port import STAGE, IndexKind, Record, SparseVector, VectorEngine

PAGE = 200

NOT_CARRIED = frozenset({"session_id", "job_id", "is_current", "raw", "text"})
"""Of a document's row: what is said elsewhere, or concerns nobody elsewhere."""


class ExportContents:
    """Reads sessions for those who write files of them."""

    def __init__(
        self,
        engine: VectorEngine,
        rows: DocumentRepository,
        blobs: BlobStore,
        lines: LineageRecords,
        activity: ActivityReader,
    ) -> None:
        self._engine = engine
        self._rows = rows
        self._blobs = blobs
        self._lines = lines
        self.activity = activity

    def of(self, session: Session, selection: Selection = EVERYTHING) -> SessionContents:
        """What is in the session, or the selected points of it with their documents."""
        return SessionContents(self, session, selection)

    async def points(
        self, session: Session, selection: Selection
    ) -> AsyncGenerator[Sequence[Record], None]:
        """The points that were to be seen when the session was read, in the order of their ids.

        Chunks that came later have a later seq; those that are gone by now are missing.
        """
        stream = selected(
            self._engine, session.collection, selection, shown=visible(session), after=None
        )
        async with aclosing(stream) as batches:
            async for records in batches:
                yield await asyncio.to_thread(_settled, records, session.next_seq)

    async def indexes(self, session: Session) -> Mapping[str, IndexKind]:
        return (await self._engine.info(session.collection)).indexes

    async def documents(
        self, session: Session, chosen: Container[str] | None
    ) -> AsyncIterator[DocumentEntry]:
        """The documents, with all their bytes; `chosen` is None for all of them."""
        # Each reads on in its own blob; through one of them they would send each other back.
        raws, texts = SliceReader(self._blobs), SliceReader(self._blobs)
        after = -1
        while page := await self._rows.page(session.id, after=after, limit=PAGE):
            after = page[-1].ordinal
            for document in page:
                if not _was_there(document, session):
                    continue
                if chosen is not None and document.id not in chosen:
                    continue
                yield DocumentEntry(
                    {k: v for k, v in document_json(document).items() if k not in NOT_CARRIED},
                    _body(raws, document.raw),
                    None if document.text is None else _body(texts, document.text),
                )

    async def lineage(self, session: Session) -> AsyncIterator[Mapping[str, Any]]:
        """Where the session came from; names of sessions that others may not see stay here."""
        for line in await self._lines.around([session.id]):
            if line.child_id == session.id and line.undone_at is None:
                yield {
                    "kind": line.kind.value,
                    "parent_id": line.parent_id,
                    "points": line.points,
                    "documents": line.documents,
                    "created_at": line.created_at and line.created_at.isoformat(),
                }


class SessionContents:
    """One session on its way into a file; to be closed when it is not read to its end."""

    def __init__(self, reader: ExportContents, session: Session, selection: Selection) -> None:
        self._reader = reader
        self._session = session
        self._chosen = None if isinstance(selection, Everything) else set[str]()
        self._stream = reader.points(session, selection)

    async def points(self) -> AsyncIterator[Sequence[Record]]:
        """Once, from beginning to end."""
        async for records in self._stream:
            if self._chosen is not None:
                chunks = (record.payload for record in records if STAGE in record.payload)
                self._chosen.update(payload["document_id"] for payload in chunks)
            yield records

    async def bundle(self, *, vectors: bool = True) -> BundleContents:
        """All that a bundle holds. The same session gives the same contents.

        A selection of points has none of the session's activity.
        """
        session, reader = self._session, self._reader
        told: dict[str, Any] = {"tables": {"lineage": reader.lineage(session)}}
        if self._chosen is None:
            told["tables"] |= reader.activity.tables(session.id)
            told["attachments"] = reader.activity.attachments(session.id)
        return BundleContents(
            session=session_json(session, await reader.indexes(session)),
            embedding=asdict(session.embedding),
            points=self.points(),
            documents=reader.documents(session, self._chosen),
            vectors=vectors,
            **told,
        )

    async def aclose(self) -> None:
        await self._stream.aclose()


def _settled(records: Sequence[Record], next_seq: int) -> list[Record]:
    """The same whatever engine they are from, and whichever job wrote them."""
    found: list[Record] = []
    for record in records:
        payload = record.payload
        if STAGE in payload:
            if payload["seq"] >= next_seq:
                continue
            payload = {**payload, STAGE: KEPT}
        found.append(
            replace(record, payload=_in_order(payload), sparse=_terms_in_order(record.sparse))
        )
    return found


def _in_order(value: Any) -> Any:
    """With the fields of every object sorted: engines give them back in orders of their own."""
    if isinstance(value, dict):
        return {name: _in_order(value[name]) for name in sorted(value)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


def _terms_in_order(sparse: SparseVector | None) -> SparseVector | None:
    if sparse is None or list(sparse.indices) == (ordered := sorted(sparse.indices)):
        return sparse
    values = dict(zip(sparse.indices, sparse.values, strict=True))
    return SparseVector(ordered, [values[index] for index in ordered])


def _was_there(document: Document, session: Session) -> bool:
    """What a job still takes in does not come along, nor what it showed after that moment."""
    if document.status is DocumentStatus.PENDING:
        return False
    return document.first_seq is None or document.first_seq < session.next_seq


def _body(reader: SliceReader, part: Slice) -> Body:
    key = f"{part.sha256}:{part.start}-{part.end}"
    return Body(part.size, key, partial(reader.bytes, part))
