"""What goes into a bundle, as whoever exports a session hands it over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quire.vectors.port import Record


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes of a document; equal keys mean equal bytes."""

    size: int
    key: str
    read: Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class DocumentEntry:
    """A document's row, its bytes, and its text where that was read out of them."""

    row: Mapping[str, Any]
    raw: Body
    text: Body | None


@dataclass(frozen=True, slots=True)
class BundleContents:
    """A session, to be read once, from beginning to end.

    `embedding` has provider, model, revision, dimension, distance and chunker; `tables` are named
    as in `parts.TABLES`. `points` are in an order of their own that does not change: the same
    contents make the same bytes.
    """

    session: Mapping[str, Any]
    embedding: Mapping[str, Any]
    points: AsyncIterator[Sequence[Record]]
    documents: AsyncIterator[DocumentEntry]
    tables: Mapping[str, AsyncIterator[Mapping[str, Any]]] = field(default_factory=dict)
    vectors: bool = True
    creator: str = "quire"
