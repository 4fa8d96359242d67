"""A session's points as a file in the blob store: written, read back, and read again later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from quire.blobs.ledger import BlobLedger
from quire.blobs.port import BlobStore
from quire.errors import FileRefused, StorageDamaged
from quire.points.visibility import visible
from quire.residency.point_files import Folders, PointFiles, new_point_file, points_in
from quire.sessions.models import Session
from quire.vectors.digest import Digest
from quire.vectors.port import STAGE, Point, VectorEngine

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
        self._files = PointFiles(blobs, ledger)
        self.folder = folders

    async def keep(self, session: Session, may_go_on: MayGoOn) -> Kept | None:
        """Put what is to be seen of an awake session; None when it may not go on.

        It is read back before anybody may rely on it. Nobody refers to the blob yet.
        """
        async with self.folder() as folder:
            path = folder / "points"
            written = await self._write(session, path, may_go_on)
            if written is None:
                return None
            digest, chunks = written
            told = f"Of session {session.id}, {digest.count} points were kept"
            blob = await self._files.put(path, digest, told, _damaged)
        return Kept(blob.sha256, blob.size, digest.count, chunks, str(digest))

    async def fetch(self, sha256: str, path: Path) -> None:
        """The file, if it is still what was put; raises `StorageDamaged` if it is not."""
        await self._files.fetch(sha256, path, _damaged)

    async def _write(
        self, session: Session, path: Path, may_go_on: MayGoOn
    ) -> tuple[Digest, int] | None:
        chunks = 0
        stream = self._engine.stream(session.collection, filter=visible(session))
        async with (
            new_point_file(path, session.embedding.dimension) as file,
            aclosing(stream) as batches,
        ):
            async for batch in batches:
                await file.write(batch)
                chunks += sum(STAGE in record.payload for record in batch)
                if not await may_go_on(file.digest.count):
                    return None
        return file.digest, chunks


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
            self._batches, self._rest, self.place = points_in(self.path), [], 0
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
            self._batches = points_in(self.path)
        try:
            return await asyncio.to_thread(next, self._batches, None)
        except FileRefused as error:
            raise _damaged(f"cannot be read: {error.message}") from error


def _damaged(what: str) -> StorageDamaged:
    return StorageDamaged(
        f"The file of the checkpoint's points {what}",
        recovery="Nothing was changed. Bring its blob back from a backup of the blob store, or "
        "delete the checkpoint.",
    )
