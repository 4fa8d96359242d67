"""What goes into a bundle, as whoever exports a session hands it over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quire.vectors.port import Record


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes of a document or an attachment; equal keys mean equal bytes."""

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
class AttachmentEntry:
    """An attachment's row, and its bytes."""

    row: Mapping[str, Any]
    content: Body


async def nothing() -> AsyncIterator[Any]:
    """Where a session has none of something."""
    return
    yield


@dataclass(frozen=True, slots=True)
class BundleContents:
    """A session, to be read once, from beginning to end.

    `embedding` has provider, model, revision, dimension, distance and chunker; `tables` are named
    as in `parts.TABLES`, without attachments, which have content. `points` are in an order of their
    own that does not change: the same contents make the same bytes.
    """

    session: Mapping[str, Any]
    embedding: Mapping[str, Any]
    points: AsyncIterator[Sequence[Record]]
    documents: AsyncIterator[DocumentEntry]
    tables: Mapping[str, AsyncIterator[Mapping[str, Any]]] = field(default_factory=dict)
    attachments: AsyncIterator[AttachmentEntry] = field(default_factory=nothing)
    vectors: bool = True
    creator: str = "quire"
