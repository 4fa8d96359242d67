"""Passages: what was found, with what stands around it, to be cited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quire.content.models import Chunk
from quire.content.repository import Heading
from quire.retrieval.hits import Hit
from quire.retrieval.items import chunk_link

GAP = "\n[…]\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A hit and its neighbours as one text. A pipeline's own point has no document and no seq."""

    citation: int
    document_id: str | None
    title: str | None
    source_url: str | None
    url: str
    seq_start: int | None
    seq_end: int | None
    context: str | None
    text: str
    score: float

    @property
    def heading(self) -> str:
        """What stands above its text in a prompt."""
        place = "" if self.seq_start is None else f"chunk {self.seq_start}"
        if self.seq_end != self.seq_start:
            place = f"chunks {self.seq_start}–{self.seq_end}"
        told = (self.title, self.document_id and f"document {self.document_id}", place, self.url)
        about = " · ".join(" ".join(part.split()) for part in told if part)
        context = f"\n{self.context}" if self.context else ""
        return f"[{self.citation}] {about}{context}"


def chunks_of(hit: Hit) -> tuple[list[Chunk], int]:
    """The hit between its neighbours, in their order, and its place among them."""
    if hit.chunk is None:
        return [], 0
    before = [around.chunk for around in hit.before]
    return [*before, hit.chunk, *(around.chunk for around in hit.after)], len(before)


def widest(sizes: Sequence[int], at: int, room: int) -> slice | None:
    """The most around a place that there is room for, on both sides alike; None if not even it."""
    start, end, left = at, at + 1, room - sizes[at]
    if left < 0:
        return None
    while True:
        grown = start, end
        if start > 0 and sizes[start - 1] <= left:
            start -= 1
            left -= sizes[start]
        if end < len(sizes) and sizes[end] <= left:
            left -= sizes[end]
            end += 1
        if grown == (start, end):
            return slice(start, end)


def passage_of(
    hit: Hit, chunks: Sequence[Chunk], citation: int, headings: Mapping[str, Heading]
) -> Passage:
    """The hit, as so many of the chunks around it."""
    chunk = hit.chunk
    if chunk is None:
        return Passage(
            citation=citation,
            document_id=None,
            title=None,
            source_url=None,
            url=f"/sessions/{hit.session.id}/points/{hit.record.id}",
            seq_start=None,
            seq_end=None,
            context=None,
            text=hit.text,
            score=hit.score,
        )
    heading = headings.get(chunk.document_id)
    return Passage(
        citation=citation,
        document_id=chunk.document_id,
        title=None if heading is None else heading.title,
        source_url=None if heading is None else heading.source_url,
        url=f"{chunk_link(hit.session.id, chunk.seq)}",
        seq_start=chunks[0].seq,
        seq_end=chunks[-1].seq,
        context=chunks[0].context,
        text=joined(chunks),
        score=hit.score,
    )


def joined(chunks: Sequence[Chunk]) -> str:
    """The text of chunks that follow one another: what overlaps once, what is missing marked."""
    text, end = chunks[0].text, chunks[0].end
    for chunk in chunks[1:]:
        if chunk.start > end:
            text += GAP + chunk.text
        else:
            text += chunk.text[end - chunk.start :]
        end = max(end, chunk.end)
    return text
