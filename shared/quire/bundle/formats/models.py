"""What kinds of file there are, and what a first look at one finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from quire.bundle.formats.mapping import ColumnMapping

BATCH = 512
"""The most points in one list that a reader gives."""

BATCH_BYTES = 8 * 1024 * 1024
"""A list ends earlier when its points come to so much."""

ROW_BYTES_MAX = 64 * 1024 * 1024
"""The longest line, row or point that is read."""


class Format(StrEnum):
    BUNDLE = "bundle"
    PARQUET = "parquet"
    JSONL = "jsonl"
    CSV = "csv"
    SESSION_JSON = "json"
    """The original session service's export."""
    SNAPSHOT = "snapshot"
    """Of a Qdrant collection, or of one of its shards."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a file holds, as far as its beginning and its own tables of contents tell."""

    format: Format
    own: bool
    """Whether it has the columns that Quire writes: such a file gives the same points back."""
    points: int | None = None
    dimension: int | None = None
    has_vectors: bool = False
    has_sparse: bool = False
    has_text: bool = False
    distance: str | None = None
    columns: tuple[str, ...] = ()
    taken: ColumnMapping | None = None
    """Which column is read as what, where columns are mapped."""
    session: Mapping[str, Any] = field(default_factory=dict)
    """The session that an original export describes."""
    collection_name: str | None = None
