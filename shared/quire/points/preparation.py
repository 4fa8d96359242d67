"""From what a caller sends to what the engine stores: texts get their vectors here."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from quire.embedding.embedders import Embedders
from quire.embedding.port import EXTERNAL
from quire.embedding.scheduler import Embedder
from quire.errors import InvalidInput
from quire.points.requests import TEXT, NewPoint, placed
from quire.sessions.identity import identity_of
from quire.sessions.models import Session
from quire.vectors.bm25 import Bm25
from quire.vectors.port import CollectionSpec, Distance, Point, SparseVector
from quire.vectors.validation import checked_points


@dataclass(frozen=True, slots=True)
class Prepared:
    """Points ready to be written, and how many of them were embedded."""

    points: Sequence[Point]
    embedded: int


class Preparation:
    """Makes the vectors that new points still lack."""

    def __init__(self, embedders: Embedders) -> None:
        self._embedders = embedders
        self._words = Bm25()

    async def prepare(self, session: Session, new: Sequence[NewPoint]) -> Prepared:
        """The points with all their vectors.

        Nothing is embedded for a request that would be refused. Where there is nothing to embed,
        nothing is checked here: the engine checks a batch whole before it writes.
        """
        texts = {n: point.text for n, point in enumerate(new) if point.text is not None}
        vectors: dict[int, Sequence[float]] = {}
        if texts:
            embedder = await self.embedder(session, f"points[{next(iter(texts))}].text")
            drafts = [Point(point.id, point.vector, point.sparse, point.payload) for point in new]
            with placed():
                await asyncio.to_thread(checked_points, drafts, laid(session))
            await _require_within_window(embedder, texts)
            rows = await embedder.passages([*texts.values()])
            vectors = {n: row.tolist() for n, row in zip(texts, rows, strict=True)}
        words = await asyncio.to_thread(self._words_of, new)
        points = [
            Point(point.id, vectors.get(n, point.vector), words[n], point.payload)
            for n, point in enumerate(new)
        ]
        return Prepared(points, len(texts))

    async def embedder(self, session: Session, place: str) -> Embedder:
        """What embeds for this session; refused where the vectors are a pipeline's own."""
        embedding = session.embedding
        if embedding.provider == EXTERNAL:
            raise InvalidInput(
                f"{place}: the vectors of session {session.id} are made elsewhere, so nothing is "
                f"embedded here; send a vector of {embedding.dimension} numbers",
                field=place,
            )
        return await self._embedders.of(identity_of(embedding))

    def _words_of(self, new: Sequence[NewPoint]) -> list[SparseVector | None]:
        """The words by which each point is found: the caller's weights, else those of its text."""
        found: list[SparseVector | None] = []
        for point in new:
            text = point.payload.get(TEXT)
            if point.sparse is None and isinstance(text, str):
                found.append(self._words.document(text))
            else:
                found.append(point.sparse)
        return found


def laid(session: Session) -> CollectionSpec:
    """How the session's collection was laid, as the checks of vectors need it."""
    return CollectionSpec(session.embedding.dimension, Distance(session.embedding.distance))


async def _require_within_window(embedder: Embedder, texts: dict[int, str]) -> None:
    counts = await asyncio.to_thread(embedder.count_tokens, [*texts.values()])
    for n, count in zip(texts, counts, strict=True):
        if count > embedder.window:
            raise InvalidInput(
                f"points[{n}].text has {count} tokens; the model takes in {embedder.window}, and "
                "nothing is embedded truncated",
                field=f"points[{n}].text",
                recovery="Shorten it, or send it as a document, which is cut into chunks that fit: "
                "POST /sessions/{id}/documents.",
                tokens=count,
                window=embedder.window,
            )
