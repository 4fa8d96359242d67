"""A session's points as one file in the blob store, and back into the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path

from quire.blobs.ledger import BlobLedger
from quire.blobs.port import BlobStore
from quire.errors import FileRefused, StorageDamaged, VerificationFailed
from quire.residency.point_files import Folders, PointFiles, new_point_file, points_in
from quire.sessions.models import Pack, Session
from quire.vectors.digest import Digest, digest_of
from quire.vectors.port import (
    STANDARD_INDEXES,
    CollectionSpec,
    Distance,
    IndexKind,
    Point,
    VectorEngine,
)

GROUP = 256
"""Points in one write to the engine: such groups go beside each other."""
UNDER_WAY = 3
MANY = 10_000
"""From so many points on it pays to put the engine's indexing off."""


class Packing:
    """Packs collections away, and unpacks them; what it answers has been verified."""

    def __init__(
        self, engine: VectorEngine, blobs: BlobStore, ledger: BlobLedger, folders: Folders
    ) -> None:
        self._engine = engine
        self._files = PointFiles(blobs, ledger)
        self._folders = folders

    async def pack(self, session: Session) -> Pack:
        """Put the session's points into the blob store; the engine keeps them.

        They are read back from there before anybody may rely on it. Nobody refers to the blob yet.
        """
        info = await self._engine.info(session.collection)
        extra = {k: kind.value for k, kind in info.indexes.items() if k not in STANDARD_INDEXES}
        async with self._folders() as folder:
            path = folder / "points"
            written = await self._write(session, path)
            told = f"Of session {session.id}, {written.count} points were packed"
            blob = await self._files.put(path, written, told, partial(_damaged, session))
        return Pack(blob.sha256, written.count, str(written), extra)

    async def unpack(self, session: Session, pack: Pack, collection: str) -> None:
        """Make the collection out of the pack; it has exactly the points that were packed."""
        async with self._folders() as folder:
            path = folder / "points"
            laying = asyncio.create_task(self._lay(session, pack, collection))
            try:
                await self._files.fetch(pack.sha256, path, partial(_damaged, session))
                arrived = await self._fill(path, collection, laying)
            except FileRefused as error:
                raise _damaged(session, f"cannot be read: {error.message}") from error
            finally:
                # What is being made cannot be called back, and who drops it must come after.
                await asyncio.wait([laying])
                laying.exception()
        for key, kind in pack.indexes.items():
            await self._engine.create_index(collection, key, IndexKind(kind))
        count = await self._engine.count(collection)
        if arrived != Digest.parsed(pack.points, pack.digest) or count != pack.points:
            raise VerificationFailed(
                f"Session {session.id} has {pack.points} points, and {count} arrived in the "
                "engine, or others; it stays cold"
            )
        if pack.points >= MANY:
            await self._engine.end_filling(collection)
        # Its pack may go as soon as it is awake: a power cut must not take it back.
        await self._engine.flush(collection)

    async def _write(self, session: Session, path: Path) -> Digest:
        async with (
            new_point_file(path, session.embedding.dimension) as file,
            aclosing(self._engine.stream(session.collection)) as batches,
        ):
            async for batch in batches:
                await file.write(batch)
        return file.digest

    async def _lay(self, session: Session, pack: Pack, collection: str) -> None:
        embedding = session.embedding
        spec = CollectionSpec(embedding.dimension, Distance(embedding.distance))
        await self._engine.create(collection, spec)
        if pack.points >= MANY:
            await self._engine.begin_filling(collection)

    async def _fill(self, path: Path, collection: str, laying: asyncio.Task[None]) -> Digest:
        """Write the file's points, and tell what the engine says they are."""
        slots = asyncio.Semaphore(UNDER_WAY)
        total = Digest()

        async def write(points: Sequence[Point]) -> None:
            nonlocal total
            try:
                await self._engine.upsert(collection, points, as_read=True)
                ids = [point.id for point in points]
                found = await self._engine.retrieve(collection, ids, with_vectors=True)
                digest = await asyncio.to_thread(digest_of, found)
                total += digest
            finally:
                slots.release()

        groups = _groups(path)
        try:
            async with asyncio.TaskGroup() as writes:
                while (points := await asyncio.to_thread(next, groups, None)) is not None:
                    await asyncio.shield(laying)
                    await slots.acquire()
                    writes.create_task(write(points))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        await laying
        return total


def _groups(path: Path) -> Iterator[list[Point]]:
    for batch in points_in(path):
        for start in range(0, len(batch), GROUP):
            yield batch[start : start + GROUP]


def _damaged(session: Session, what: str) -> StorageDamaged:
    return StorageDamaged(
        f"Session {session.id} is cold, and its pack {what}",
        recovery="Nothing was changed. Bring its blob back from a backup of the blob store, or "
        "delete the session.",
        session_id=session.id,
    )
