"""Documents as rows of the metadata store, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from quire.content.models import (
    ChunkSettings,
    Document,
    DocumentStatus,
    SizeUnit,
    Slice,
    TextKind,
)
from quire.store.tables import documents

SAME_NAMES = (
    "session_id",
    "id",
    "revision",
    "ordinal",
    "is_current",
    "job_id",
    "title",
    "media_type",
    "source_url",
    "metadata",
    "content_sha256",
    "characters",
    "chunks_count",
    "first_seq",
    "error",
    "created_at",
    "updated_at",
)


def to_row(document: Document, position: int) -> dict[str, Any]:
    row = {name: getattr(document, name) for name in SAME_NAMES}
    row["position"] = position
    row["status"] = document.status.value
    row["raw_sha256"] = document.raw.sha256
    row["raw_start"], row["raw_end"] = document.raw.start, document.raw.end
    row |= text_columns(document.text, document.kind)
    row["chunking"] = asdict(document.chunking)
    return row


def text_columns(text: Slice | None, kind: TextKind | None) -> dict[str, Any]:
    return {
        "text_sha256": text and text.sha256,
        "text_start": None if text is None else text.start,
        "text_end": None if text is None else text.end,
        "kind": kind and kind.value,
    }


def from_row(row: sa.Row[Any]) -> Document:
    values = row._mapping  # noqa: SLF001 - a public name of SQLAlchemy's, marked against clashes
    chunking = values["chunking"]
    text = None
    if values["text_sha256"] is not None:
        text = Slice(values["text_sha256"], values["text_start"], values["text_end"])
    return Document(
        **{name: values[name] for name in SAME_NAMES},
        status=DocumentStatus(values["status"]),
        raw=Slice(values["raw_sha256"], values["raw_start"], values["raw_end"]),
        text=text,
        kind=TextKind(values["kind"]) if values["kind"] else None,
        chunking=ChunkSettings(chunking["size"], chunking["overlap"], SizeUnit(chunking["unit"])),
    )


SELECT_DOCUMENTS = sa.select(documents)
