"""Uploads: content on its way into a store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from typing import Protocol

from quire.blobs.port import StagedBlob

BLOCK = 1024 * 1024


class Upload(StagedBlob, Protocol):
    """A staged blob in the making: written, closed, promoted; discarded in any case."""

    @property
    def path(self) -> str:
        """Where the content is staged, as the store names it."""
        ...

    async def write(self, block: bytes) -> None: ...

    async def close(self) -> None:
        """The content is complete."""
        ...

    async def discard(self) -> None:
        """Take away what is staged. Never fails: what it cannot remove, the sweep will."""
        ...


async def blocks(content: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """The same bytes in blocks of one size, so that each costs one turn of a thread."""
    held = bytearray()
    async for chunk in content:
        rest = memoryview(chunk)
        while rest:
            taken = rest[: BLOCK - len(held)]
            held += taken
            rest = rest[len(taken) :]
            if len(held) == BLOCK:
                yield bytes(held)
                held.clear()
    if held:
        yield bytes(held)
