"""Hits with the chunks around them, merged where they touch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from quire.content.chunk_points import from_record
from quire.content.models import Chunk
from quire.points.visibility import consistent, visible_chunks
from quire.retrieval.hits import Around, Hit
from quire.sessions.models import Session
from quire.sessions.sessions import Sessions
from quire.vectors.port import (
    MAX_PAGE,
    AllOf,
    AnyOf,
    Condition,
    Match,
    PointId,
    Range,
    VectorEngine,
)

SPANS_AT_ONCE = 50


@dataclass(slots=True)
class Span:
    """Chunks of one document from one seq to another, and the hits among them."""

    document_id: str
    first: int
    last: int
    hits: list[Hit]


async def with_neighbours(
    sessions: Sessions,
    engine: VectorEngine,
    hits: Sequence[Hit],
    *,
    before: int,
    after: int,
) -> list[Hit]:
    """The hits in their order, each with its neighbours; those whose neighbours touch are one.

    The best of them stands for all, and the others are among its neighbours, with their scores.
    """
    by_session: dict[str, list[Hit]] = defaultdict(list)
    for hit in hits:
        by_session[hit.session.id].append(hit)
    widened: dict[int, Hit] = {}
    for found in by_session.values():
        spans = spans_of(found, before, after)
        chunks = await _read(sessions, engine, found[0].session, spans)
        for span in spans:
            best = max(span.hits, key=lambda hit: hit.score)
            widened[id(best)] = _widened(best, span, chunks)
    return [widened.get(id(hit), hit) for hit in hits if id(hit) in widened or hit.chunk is None]


def spans_of(hits: Sequence[Hit], before: int, after: int) -> list[Span]:
    """The hits' neighbourhoods, merged where they overlap or touch."""
    places = sorted(
        (chunk.document_id, chunk.seq, at)
        for at, hit in enumerate(hits)
        if (chunk := hit.chunk) is not None
    )
    spans: list[Span] = []
    for document_id, seq, at in places:
        last = spans[-1] if spans else None
        if last is not None and last.document_id == document_id and seq - before <= last.last + 1:
            last.last = max(last.last, seq + after)
            last.hits.append(hits[at])
        else:
            spans.append(Span(document_id, seq - before, seq + after, [hits[at]]))
    return spans


async def _read(
    sessions: Sessions, engine: VectorEngine, session: Session, spans: Sequence[Span]
) -> dict[int, Chunk]:
    """The chunks of all spans, by seq."""

    async def read(session: Session) -> dict[int, Chunk]:
        chunks: dict[int, Chunk] = {}
        for at in range(0, len(spans), SPANS_AT_ONCE):
            wanted = AnyOf([_condition(span) for span in spans[at : at + SPANS_AT_ONCE]])
            shown = visible_chunks(session, wanted)
            cursor: PointId | None = None
            while True:
                page = await engine.scroll(
                    session.collection, filter=shown, cursor=cursor, limit=MAX_PAGE
                )
                found = [from_record(record) for record in page.records]
                chunks |= {chunk.seq: chunk for chunk in found}
                cursor = page.next_cursor
                if cursor is None:
                    break
        return chunks

    return await consistent(sessions, session, read)


def _condition(span: Span) -> Condition:
    within = Range("seq", gte=max(0, span.first), lte=span.last)
    return AllOf([Match("document_id", [span.document_id]), within])


def _widened(best: Hit, span: Span, chunks: dict[int, Chunk]) -> Hit:
    scores = {hit.record.id: hit.score for hit in span.hits}
    chunk = best.chunk
    seq = chunk.seq if chunk is not None else 0
    around = [
        Around(other, scores.get(other.id))
        for at in range(max(0, span.first), span.last + 1)
        if (other := chunks.get(at)) is not None and other.document_id == span.document_id
    ]
    return replace(
        best,
        before=[a for a in around if a.chunk.seq < seq],
        after=[a for a in around if a.chunk.seq > seq],
    )
