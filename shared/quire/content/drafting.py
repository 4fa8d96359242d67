"""From documents to chunks that have their place: extracted, cut and numbered, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from quire.content.chunk_points import Draft
from quire.content.chunking import open_chunker
from quire.content.chunking.port import Chunker, Cut, Resume
from quire.content.cursor import Cursor
from quire.content.models import Document, DocumentStatus
from quire.content.reading import SliceReader, TextReader
from quire.content.repository import Outcome
from quire.embedding.scheduler import Embedder
from quire.errors import ExtractionFailed, InvalidInput, QuireError

DOCUMENTS_AT_ONCE = 200

Documents = Callable[[int, int], Awaitable[list[Document]]]
"""The job's documents from a position on, so many at most."""
WithText = Callable[[Document], Awaitable[Document]]
"""The document, its text extracted if it was not yet."""


@dataclass(slots=True)
class _Place:
    """Within the document that is being cut."""

    reader: TextReader
    index: int
    first_seq: int
    resume: Resume
    end: int


class Drafting:
    """Cuts documents from a cursor on; between two groups it can say where to go on later."""

    def __init__(
        self,
        cursor: Cursor,
        *,
        documents: Documents,
        with_text: WithText,
        slices: SliceReader,
        embedder: Embedder,
    ) -> None:
        self._done = cursor  # when a document is under way: as it was at its beginning
        self._seq, self._chunks = cursor.seq, cursor.chunks
        self._place: _Place | None = None
        self._documents = documents
        self._with_text = with_text
        self._slices = slices
        self._embedder = embedder
        self.failed: dict[int, QuireError] = {}
        self.outcomes: dict[int, Outcome] = {}

    @property
    def cursor(self) -> Cursor:
        """What comes after everything that was given out."""
        done, place = self._done, self._place
        if place is None:
            return done
        return Cursor(
            position=done.position,
            seq=self._seq,
            index=place.index,
            first_seq=place.first_seq,
            at=place.resume.at,
            byte=place.reader.byte_at(place.resume.at),
            state=place.resume.state,
            end=place.end,
            chunks=self._chunks,
            size=done.size,
        )

    async def groups(self, size: int) -> AsyncGenerator[list[Draft]]:
        """Chunks in their order, so many at a time; the last ones may be fewer."""
        group: list[Draft] = []
        async for document in self._remaining():
            try:
                async for draft in self._cut(document):
                    group.append(draft)
                    if len(group) == size:
                        yield group
                        group = []
                    if self._done.position in self.failed:
                        break  # whoever embeds it has found out
            except (ExtractionFailed, InvalidInput) as error:
                self.failed[self._done.position] = error
            self._close(document)
        if group:
            yield group

    async def _remaining(self) -> AsyncIterator[Document]:
        position = self._done.position
        while documents := await self._documents(position, DOCUMENTS_AT_ONCE):
            for document in documents:
                yield document
            position += len(documents)

    async def _cut(self, document: Document) -> AsyncIterator[Draft]:
        position = self._done.position
        document = await self._with_text(document)
        if document.text is None or document.kind is None:
            raise ExtractionFailed("No text was found in it")
        place = self._place = self._enter(document)
        chunker = open_chunker(
            document.kind,
            document.chunking,
            window=self._embedder.window,
            count_tokens=self._embedder.count_tokens,
            resume=place.resume,
        )
        async for cut in _cuts(chunker, place.reader):
            draft = Draft(document, position, place.index, self._seq, cut)
            place.index += 1
            place.resume, place.end = cut.resume, cut.end
            self._seq += 1
            self._chunks += 1
            yield draft

    def _enter(self, document: Document) -> _Place:
        start = self._done
        assert document.text is not None  # noqa: S101 - its only caller has looked
        return _Place(
            TextReader(self._slices, document.text, at=start.at, byte=start.byte),
            start.index,
            self._seq if start.first_seq is None else start.first_seq,
            Resume(start.at, start.state),
            start.end,
        )

    def _close(self, document: Document) -> None:
        position, place = self._done.position, self._place
        if position not in self.failed and place is not None:
            self.outcomes[position] = Outcome(
                position, DocumentStatus.READY, place.index, place.end, place.first_seq
            )
        self._place = None
        self._done = Cursor(
            position=position + 1,
            seq=self._seq,
            chunks=self._chunks,
            size=self._done.size + document.raw.size,
        )


async def _cuts(chunker: Chunker, reader: TextReader) -> AsyncIterator[Cut]:
    async for piece in reader.pieces():
        for cut in await asyncio.to_thread(chunker.feed, piece):
            yield cut
    for cut in await asyncio.to_thread(chunker.finish):
        yield cut
