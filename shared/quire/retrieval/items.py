"""Chunks and hits as JSON: the same in REST answers, pages of queries and tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from quire.content.chunk_points import OWN_FIELDS
from quire.content.models import Chunk
from quire.content.repository import Heading
from quire.retrieval.hits import Around, Hit

Json = dict[str, Any]


def chunk_item(session_id: str, chunk: Chunk) -> Json:
    """A chunk as it is shown; where the document is known, `links` are filled in."""
    return {
        "id": chunk.id,
        "document_id": chunk.document_id,
        "index": chunk.index,
        "seq": chunk.seq,
        "text": chunk.text,
        "start": chunk.start,
        "end": chunk.end,
        "tokens": chunk.tokens,
        "context": chunk.context,
        "metadata": chunk.metadata,
        "payload": chunk.payload,
        "links": {"document": document_link(session_id, chunk.document_id)},
    }


def linked(item: Json, session_id: str, previous_seq: int | None, next_seq: int | None) -> Json:
    """The item with the way to the chunks before and after it."""
    item["links"] = {
        "prev": chunk_link(session_id, previous_seq),
        "next": chunk_link(session_id, next_seq),
        **item["links"],
    }
    return item


def hit_item(hit: Hit, headings: Mapping[str, Mapping[str, Heading]], *, vectors: bool) -> Json:
    """A hit as it is shown; the headings are by session and document."""
    session_id, chunk = hit.session.id, hit.chunk
    if chunk is None:
        item = _point_item(hit)
    else:
        item = chunk_item(session_id, chunk)
        heading = headings[session_id].get(chunk.document_id)
        is_last = heading is None or chunk.index >= heading.chunks_count - 1
        linked(
            item,
            session_id,
            chunk.seq - 1 if chunk.index else None,
            None if is_last else chunk.seq + 1,
        )
        item["title"] = heading and heading.title
        item["source_url"] = heading and heading.source_url
    item["session_id"] = session_id
    item["score"] = hit.score
    if vectors:
        item["vector"] = None if hit.record.dense is None else list(hit.record.dense)
    if hit.before or hit.after:
        item["before"] = _around(session_id, hit.before)
        item["after"] = _around(session_id, hit.after)
    return item


def chunk_link(session_id: str, seq: int | None) -> str | None:
    return None if seq is None else f"/sessions/{session_id}/chunks/{seq}"


def document_link(session_id: str, document_id: str) -> str:
    return f"/sessions/{session_id}/documents/{quote(document_id, safe='')}"


def _around(session_id: str, around: Sequence[Around]) -> list[Json]:
    return [
        chunk_item(session_id, other.chunk)
        | ({} if other.score is None else {"score": other.score})
        for other in around
    ]


def _point_item(hit: Hit) -> Json:
    """A pipeline's point in the shape of a chunk: what it does not have is null."""
    payload = hit.record.payload
    metadata = payload.get("metadata")
    return {
        "id": hit.record.id,
        "document_id": None,
        "index": None,
        "seq": None,
        "text": hit.text or None,
        "start": None,
        "end": None,
        "tokens": None,
        "context": None,
        "metadata": metadata if isinstance(metadata, dict) else {},
        "payload": {k: v for k, v in payload.items() if k not in OWN_FIELDS},
        "links": {"point": f"/sessions/{hit.session.id}/points/{hit.record.id}"},
    }
