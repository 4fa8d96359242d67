"""The blob port: raw bytes, addressed by their sha256."""

from __future__ import annotations

from collections.abc import AsyncIterator
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


class BlobStore(Protocol):
    """Where blobs are. It knows nothing of who refers to them; `quire.blobs.ledger` does."""

    async def put(self, content: AsyncIterator[bytes]) -> Blob:
        """Store a stream, in constant memory; the blob appears whole or not at all."""
        ...

    def get(self, sha256: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`; `BlobNotFound` if there is none."""
        ...

    async def stat(self, sha256: str) -> Blob: ...

    async def delete(self, sha256: str) -> None:
        """Idempotent."""
        ...

    def blobs(self) -> AsyncIterator[StoredBlob]:
        """All blobs; for the reconciler."""
        ...

    async def sweep_unfinished(self, before: datetime) -> int:
        """Remove what uploads left behind that never finished; answers how many."""
        ...

    async def ping(self) -> str: ...
