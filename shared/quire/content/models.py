"""Documents and chunks, as values that never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from quire.vectors.port import PointId

Json = Mapping[str, Any]


class DocumentStatus(StrEnum):
    PENDING = "pending"  # its job has not come to it
    READY = "ready"
    FAILED = "failed"  # its error says why


class SizeUnit(StrEnum):
    CHARACTERS = "characters"
    TOKENS = "tokens"


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """How a document is cut. No chunk is ever larger than the embedding window, whatever this says.

    Without overlap the chunks join back to the text.
    """

    size: int = 1_000
    overlap: int = 0
    unit: SizeUnit = SizeUnit.CHARACTERS


class TextKind(StrEnum):
    """What a document's text is, once it is text: decides how it is cut."""

    PLAIN = "plain"
    MARKDOWN = "markdown"
    JSON = "json"
    LINES = "ndjson"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Slice:
    """Bytes `start` up to, not including, `end` of a blob."""

    sha256: str
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One ingested source, in one revision; its raw bytes are kept."""

    session_id: str
    id: str
    revision: int
    ordinal: int
    is_current: bool
    status: DocumentStatus
    job_id: str | None
    title: str | None
    media_type: str
    source_url: str | None
    metadata: Json
    raw: Slice
    content_sha256: str
    text: Slice | None
    """Where its text lies, in UTF-8; None until it has been extracted."""
    kind: TextKind | None
    chunking: ChunkSettings
    characters: int = 0
    chunks_count: int = 0
    first_seq: int | None = None
    error: Json | None = None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Chunk:
    """An addressable piece of a document."""

    id: PointId
    document_id: str
    index: int
    seq: int
    text: str
    start: int
    end: int
    tokens: int
    context: str | None = None
    """What the text stands under (a table's header, a record's path); embedded with it."""
    metadata: Json = field(default_factory=dict)
    payload: Json = field(default_factory=dict)
    """What pipelines wrote to its point besides."""
