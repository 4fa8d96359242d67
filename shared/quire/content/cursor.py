"""How far an ingest has come: all that must be known to go on after a crash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Cursor:
    """The next chunk to be made is `index` of the document at `position`, and gets `seq`."""

    position: int = 0
    seq: int = 0
    index: int = 0
    first_seq: int | None = None
    at: int = 0
    """The character from which the document's text is cut on, and its byte."""
    byte: int = 0
    state: Mapping[str, Any] = field(default_factory=dict)
    end: int = 0
    """Where the last chunk ended."""
    chunks: int = 0
    """Made so far, in all documents."""
    size: int = 0
    """Raw bytes of the documents that are done."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Cursor:
        return cls(**value)
