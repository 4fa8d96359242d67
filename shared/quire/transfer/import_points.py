"""Points of a file on their way into a session: checked, renamed, embedded where needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from quire.content.switching import KEPT
from quire.embedding.scheduler import Embedder
from quire.errors import FileRefused, InvalidInput
from quire.transfer.feeds import ORIGIN, other_id
from quire.transfer.import_request import Inspected
from quire.vectors.bm25 import Bm25
from quire.vectors.port import STAGE, CollectionSpec, Point
from quire.vectors.validation import checked_points

CHUNK_FIELDS: Mapping[str, type] = {
    "document_id": str,
    "text": str,
    "index": int,
    "seq": int,
    "start": int,
    "end": int,
    "tokens": int,
}
"""What every chunk has, and of which type."""


class Incoming:
    """Makes points of a file into points of the session."""

    def __init__(
        self,
        inspected: Inspected,
        session_id: str,
        spec: CollectionSpec,
        embedder: Callable[[], Awaitable[Embedder]],
        *,
        new_ids: bool,
    ) -> None:
        self._inspected = inspected
        self._session_id = session_id
        self._spec = spec
        self._embedder = embedder
        """Opened when there is something to embed: models are large."""
        self._new_ids = new_ids
        self._words = Bm25()

    async def points(
        self, batches: AsyncIterator[Sequence[Point]]
    ) -> AsyncIterator[Sequence[Point]]:
        """The same batches, as the engine is going to give them back."""
        async for batch in batches:
            if self._inspected.digest is not None:
                # The engine checks them once more, and what arrives is held against the digest.
                yield await asyncio.to_thread(self._settled, batch)
                continue
            points: Sequence[Point] = await asyncio.to_thread(self._settled, batch)
            if self._inspected.embeds:
                points = await self._embedded(points)
            yield await asyncio.to_thread(self._checked, points)

    def _settled(self, batch: Sequence[Point]) -> list[Point]:
        points = [self._of_session(point) for point in batch]
        if self._inspected.embeds or not self._inspected.is_bundle:
            return [self._with_words(point) for point in points]
        return points

    def _of_session(self, point: Point) -> Point:
        payload = dict(point.payload)
        if STAGE in payload:
            if self._inspected.is_bundle:
                _require_chunk(point, self._inspected.next_seq)
                payload[STAGE] = KEPT
            else:
                # Without its document a chunk is a point like any other.
                del payload[STAGE]
        if not self._new_ids:
            return replace(point, payload=payload)
        payload[ORIGIN] = {"session_id": self._inspected.origin, "id": point.id}
        return replace(point, id=other_id(self._session_id, point.id), payload=payload)

    def _with_words(self, point: Point) -> Point:
        text = _text(point.payload)
        if point.sparse is not None or text is None:
            return point
        return replace(point, sparse=self._words.document(text))

    async def _embedded(self, points: Sequence[Point]) -> Sequence[Point]:
        """With vectors for those that have a text and no vector."""
        texts = [_text(p.payload) if p.dense is None else None for p in points]
        present = [text for text in texts if text is not None]
        if not present:
            return points
        embedder = await self._embedder()
        counts = await asyncio.to_thread(embedder.count_tokens, present)
        if max(counts) > embedder.window:
            raise FileRefused(
                f"A text has {max(counts)} tokens, more than the {embedder.window} that "
                f"{embedder.identity} takes in",
                recovery="Cut it, or ingest it as a document: POST /sessions/{id}/documents.",
            )
        vectors = iter(await embedder.passages(present))
        return [
            point if text is None else replace(point, dense=next(vectors).tolist())
            for point, text in zip(points, texts, strict=True)
        ]

    def _checked(self, points: Sequence[Point]) -> list[Point]:
        try:
            found = checked_points(points, self._spec)
        except InvalidInput as error:
            raise FileRefused(f"The points cannot be taken in: {error.message}") from None
        if len(found) != len(points):
            raise twice()
        return found


def _text(payload: Mapping[str, Any]) -> str | None:
    """What of a point is embedded."""
    text, context = payload.get("text"), payload.get("context")
    if not isinstance(text, str) or not text.strip():
        return None
    return f"{context}\n{text}" if isinstance(context, str) else text


def _require_chunk(point: Point, next_seq: int) -> None:
    """Raise unless the chunk can be read as one."""
    for name, kind in CHUNK_FIELDS.items():
        if type(point.payload.get(name)) is not kind:
            raise FileRefused(f"The chunk {point.id} has no valid {name}", field=name)
    if not 0 <= point.payload["seq"] < next_seq:
        raise FileRefused(f"The chunk {point.id} has a seq that the session has not given")


def twice() -> FileRefused:
    """Of two points with one id the later would silently take the earlier one's place."""
    return FileRefused(
        "The file has points with the same id",
        recovery="Give each its own id, or leave the ids out; in a mapping, choose another column.",
    )
