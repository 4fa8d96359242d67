"""A hit: a point that was found, in which session, and how well it fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from quire.content.chunk_points import from_record, is_chunk
from quire.content.models import Chunk
from quire.sessions.models import Session
from quire.vectors.port import Record


@dataclass(frozen=True, slots=True)
class Around:
    """A chunk beside a hit; it has a score if it was found itself."""

    chunk: Chunk
    score: float | None


@dataclass(frozen=True, slots=True)
class Hit:
    session: Session
    record: Record
    score: float
    before: Sequence[Around] = field(default=())
    after: Sequence[Around] = field(default=())

    @property
    def chunk(self) -> Chunk | None:
        """The chunk that it is; None for a point that a pipeline brought."""
        return from_record(self.record) if is_chunk(self.record) else None

    @property
    def text(self) -> str:
        text = self.record.payload.get("text")
        return text if isinstance(text, str) else ""

    @property
    def embedded(self) -> str:
        """The text with what it stands under, as keyword search knows it."""
        context = self.record.payload.get("context")
        return f"{context}\n{self.text}" if isinstance(context, str) else self.text
