"""A chunk is a point: what of it goes where in the payload, and back."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from quire.content.chunking.port import Cut
from quire.content.models import Chunk, Document
from quire.points.visibility import incoming
from quire.vectors.bm25 import Bm25
from quire.vectors.port import STAGE, Point, Record

# Of every chunk's id: so the same chunk of the same revision has the same id everywhere.
NAMESPACE = uuid.UUID("6f1f9f0c-6f83-5d0e-9a44-0b7a3f2f8f6b")

OWN_FIELDS = frozenset(
    {"document_id", "index", "seq", "text", "start", "end", "tokens", "context", "metadata", STAGE}
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A chunk that has its place but no vectors yet."""

    document: Document
    position: int
    index: int
    seq: int
    cut: Cut


def chunk_id(document: Document, index: int) -> str:
    return str(uuid.uuid5(NAMESPACE, f"{document.id}\n{document.revision}\n{index}"))


def to_point(draft: Draft, dense: Sequence[float], bm25: Bm25, job_id: str) -> Point:
    document, cut = draft.document, draft.cut
    payload = {
        "document_id": document.id,
        "index": draft.index,
        "seq": draft.seq,
        "text": cut.text,
        "start": cut.start,
        "end": cut.end,
        "tokens": cut.tokens,
        "metadata": dict(document.metadata),
        STAGE: incoming(job_id),
    }
    if cut.context is not None:
        payload["context"] = cut.context
    return Point(
        id=chunk_id(document, draft.index),
        dense=dense,
        sparse=bm25.document(cut.embedded),
        payload=payload,
    )


def is_chunk(record: Record) -> bool:
    return STAGE in record.payload


def from_record(record: Record) -> Chunk:
    payload = record.payload
    return Chunk(
        id=record.id,
        document_id=payload["document_id"],
        index=payload["index"],
        seq=payload["seq"],
        text=payload["text"],
        start=payload["start"],
        end=payload["end"],
        tokens=payload["tokens"],
        context=payload.get("context"),
        metadata=payload.get("metadata", {}),
        payload={name: value for name, value in payload.items() if name not in OWN_FIELDS},
    )
