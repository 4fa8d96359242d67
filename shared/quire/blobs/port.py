"""The blob port: raw bytes, addressed by their sha256."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Blob:
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class StoredBlob(Blob):
    """A blob as a listing shows it."""

    stored_at: datetime


class StagedBlob(Protocol):
    """Content that has arrived whole, and is not visible yet."""

    @property
    def blob(self) -> Blob: ...

    async def promote(self) -> None:
        """Make it visible, durably, whole or not at all.

        May be repeated: the staged content is kept until the stage is left.
        """
        ...


class BlobStore(Protocol):
    """Where blobs are. It knows nothing of who refers to them; `quire.blobs.ledger` does.

    A method given something that is no sha256 raises `InvalidInput`; a store that does not
    answer is `Unavailable`, one without room `StorageFull`.
    """

    def stage(self, content: AsyncIterable[bytes]) -> AbstractAsyncContextManager[StagedBlob]:
        """Take in a stream, in constant memory; what is not promoted is gone at the end."""
        ...

    async def put(self, content: AsyncIterable[bytes]) -> Blob:
        """Stage and promote. Content that must outlive a sweep goes through the ledger."""
        ...

    def get(self, sha256: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`; `BlobNotFound` if there is none.

        The range is cut to the blob's size, as a slice is.
        """
        ...

    async def stat(self, sha256: str) -> Blob:
        """What is known of a blob without reading it; `BlobNotFound` if there is none."""
        ...

    async def verify(self, sha256: str) -> bool:
        """Read it all, and tell whether it is what its address says."""
        ...

    async def delete(self, sha256: str) -> None:
        """Idempotent."""
        ...

    def blobs(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        """All blobs whose address begins with `prefix`, in no order; for the sweep."""
        ...

    async def sweep_unfinished(self, before: datetime) -> int:
        """Remove what uploads left behind that never finished; answers how many."""
        ...

    async def ping(self) -> str:
        """What and where the store is; raises `Unavailable` when it does not answer."""
        ...
