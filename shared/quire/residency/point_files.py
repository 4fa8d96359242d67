"""Points as files in the blob store: written, put and read back, and fetched again later."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from quire.blobs.ledger import BlobLedger
from quire.blobs.port import Blob, BlobStore
from quire.errors import BlobNotFound, StorageDamaged, VerificationFailed
from quire.vectors.digest import Digest, digest_of
from quire.vectors.port import Point, Record

if TYPE_CHECKING:
    from quire.bundle.points_file import PointsWriter

COPY_BYTES = 1 << 20

Folders = Callable[[], AbstractAsyncContextManager[Path]]
"""Makes a folder that lasts as long as it is used."""

Damaged = Callable[[str], StorageDamaged]
"""Makes the error out of what is wrong with a file, such as "is gone from the blob store"."""


class PointFiles:
    """Files of points, each of which is one blob."""

    def __init__(self, blobs: BlobStore, ledger: BlobLedger) -> None:
        self._blobs = blobs
        self._ledger = ledger

    async def put(self, path: Path, written: Digest, told: str, damaged: Damaged) -> Blob:
        """Put a file into the blob store, and read it back before anybody may rely on it.

        Nobody refers to the blob yet. `told` says what was put, should something else be there.
        """
        blob = await self._ledger.put(_blocks(path))
        again = path.with_name("again")
        await self.fetch(blob.sha256, again, damaged)
        found = await asyncio.to_thread(_digest_of_file, again)
        if found != written:
            raise VerificationFailed(
                f"{told}, and what is read back is {found.count} points that are not the same"
            )
        return blob

    async def fetch(self, sha256: str, path: Path, damaged: Damaged) -> None:
        """The file, if it is still what was put; raises what `damaged` makes if it is not."""
        hashed = hashlib.sha256()
        try:
            with path.open("wb") as file:
                async for content in self._blobs.get(sha256):
                    await asyncio.to_thread(_take_in, content, file.write, hashed.update)
        except BlobNotFound as error:
            raise damaged("is gone from the blob store") from error
        if hashed.hexdigest() != sha256:
            raise damaged("is not what was put into the blob store")


class NewPointFile:
    """A file that takes points in; `digest` tells those that it has."""

    def __init__(self, writer: PointsWriter) -> None:
        self.digest = Digest()
        self._writer = writer

    async def write(self, records: Sequence[Record]) -> None:
        self.digest += await asyncio.to_thread(self._write, records)

    def _write(self, records: Sequence[Record]) -> Digest:
        self._writer.write(records)
        return digest_of(records)


@asynccontextmanager
async def new_point_file(path: Path, dimension: int) -> AsyncIterator[NewPointFile]:
    """A file to write points into; it is whole when it has been left without an error."""
    writer = await asyncio.to_thread(_writer, path, dimension)
    try:
        yield NewPointFile(writer)
        await asyncio.to_thread(writer.close)
    except BaseException:
        writer.abandon()
        raise


# What reads and writes the files brings a large library: it is imported when it is first needed,
# and in the thread that needs it.


def points_in(path: Path) -> Iterator[list[Point]]:
    """The points of a file, in their order; blocking. Raises `FileRefused` if it is none."""
    from quire.bundle.points_file import read_points  # noqa: PLC0415

    yield from read_points(path)


def _writer(path: Path, dimension: int) -> PointsWriter:
    from quire.bundle.points_file import PointsWriter  # noqa: PLC0415

    return PointsWriter(path, dimension)


def _digest_of_file(path: Path) -> Digest:
    return sum((digest_of(batch) for batch in points_in(path)), Digest())


def _take_in(content: bytes, *takers: Callable[[bytes], object]) -> None:
    for take in takers:
        take(content)


async def _blocks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while content := await asyncio.to_thread(file.read, COPY_BYTES):
            yield content
