"""A session's points as a file in the blob store: written, read back, and read again later."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quire.blobs.ledger import BlobLedger
from quire.blobs.port import BlobStore
from quire.errors import BlobNotFound, FileRefused, StorageDamaged, VerificationFailed
from quire.points.visibility import visible
from quire.sessions.models import Session
from quire.vectors.digest import Digest, digest_of
from quire.vectors.port import STAGE, Point, Record, VectorEngine

if TYPE_CHECKING:
    from quire.bundle.points_file import PointsWriter

BLOCK_BYTES = 1 << 20

Folders = Callable[[], AbstractAsyncContextManager[Path]]
MayGoOn = Callable[[int], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of points, and what is in it."""

    sha256: str
    size: int
    points: int
    chunks: int
    digest: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class KeptPoints:
    """Puts points into the blob store, and gets their files from there."""

    def __init__(
        self, engine: VectorEngine, blobs: BlobStore, ledger: BlobLedger, folders: Folders
    ) -> None:
        self._engine = engine
        self._blobs = blobs
        self._ledger = ledger
        self.folder = folders

    async def keep(self, session: Session, may_go_on: MayGoOn) -> Kept | None:
        """Put what is to be seen of an awake session; None when it may not go on.

        It is read back before anybody may rely on it. Nobody refers to the blob yet.
        """
        async with self.folder() as folder:
            written = await self._write(session, folder / "points", may_go_on)
            if written is None:
                return None
            digest, chunks = written
            blob = await self._ledger.put(_blocks(folder / "points"))
            await self.fetch(blob.sha256, folder / "again")
            found = await asyncio.to_thread(_digest_of_file, folder / "again")
        if found != digest:
            raise VerificationFailed(
                f"Of session {session.id}, {digest.count} points were kept, and what is read back "
                f"is {found.count} points that are not the same"
            )
        return Kept(blob.sha256, blob.size, digest.count, chunks, str(digest))

    async def fetch(self, sha256: str, path: Path) -> None:
        """The file, if it is still what was put; raises `StorageDamaged` if it is not."""
        hashed = hashlib.sha256()
        try:
            with path.open("wb") as file:
                async for content in self._blobs.get(sha256):
                    hashed.update(content)
                    await asyncio.to_thread(file.write, content)
        except BlobNotFound as error:
            raise _damaged("is gone from the blob store") from error
        if hashed.hexdigest() != sha256:
            raise _damaged("is not what was put into the blob store")

    async def _write(
        self, session: Session, path: Path, may_go_on: MayGoOn
    ) -> tuple[Digest, int] | None:
        digest, chunks = Digest(), 0
        writer = await asyncio.to_thread(_writer, path, session.embedding.dimension)

        def write(records: Sequence[Record]) -> Digest:
            writer.write(records)
            return digest_of(records)

        try:
            stream = self._engine.stream(session.collection, filter=visible(session))
            async with aclosing(stream) as batches:
                async for batch in batches:
                    digest += await asyncio.to_thread(write, batch)
                    chunks += sum(STAGE in record.payload for record in batch)
                    if not await may_go_on(digest.count):
                        writer.abandon()
                        return None
            await asyncio.to_thread(writer.close)
        except BaseException:
            writer.abandon()
            raise
        return digest, chunks


class Reading:
    """The points of a file, in their order, some at a time; it can be taken up at any place."""

    def __init__(self, path: Path) -> None:
        self.place = 0
        self.path = path
        self._batches: Iterator[list[Point]] | None = None
        self._rest: list[Point] = []

    async def go_to(self, place: int) -> None:
        """Have the next points be those after the first so many."""
        if self._batches is None or self.place != place:
            self._batches, self._rest, self.place = _points(self.path), [], 0
        while self.place < place and (batch := await self._next()) is not None:
            taken = min(len(batch), place - self.place)
            self._rest = batch[taken:]
            self.place += taken

    def __aiter__(self) -> AsyncIterator[list[Point]]:
        return self

    async def __anext__(self) -> list[Point]:
        batch = await self._next()
        if batch is None:
            raise StopAsyncIteration
        self.place += len(batch)
        return batch

    async def _next(self) -> list[Point] | None:
        if self._rest:
            rest, self._rest = self._rest, []
            return rest
        if self._batches is None:
            self._batches = _points(self.path)
        try:
            return await asyncio.to_thread(next, self._batches, None)
        except FileRefused as error:
            raise _damaged(f"cannot be read: {error.message}") from error


# What reads and writes the files brings a large library: it is imported when it is first needed.


def _writer(path: Path, dimension: int) -> PointsWriter:
    from quire.bundle.points_file import PointsWriter  # noqa: PLC0415

    return PointsWriter(path, dimension)


def _points(path: Path) -> Iterator[list[Point]]:
    from quire.bundle.points_file import read_points  # noqa: PLC0415

    # A generator: the library is loaded with the first points, in the thread that reads them.
    yield from read_points(path)


def _digest_of_file(path: Path) -> Digest:
    return sum((digest_of(batch) for batch in _points(path)), Digest())


async def _blocks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while content := await asyncio.to_thread(file.read, BLOCK_BYTES):
            yield content


def _damaged(what: str) -> StorageDamaged:
    return StorageDamaged(
        f"The file of the checkpoint's points {what}",
        recovery="Nothing was changed. Bring its blob back from a backup of the blob store, or "
        "delete the checkpoint.",
    )
