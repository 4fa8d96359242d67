"""The sweep: what nobody refers to goes, and so does what crashes left behind."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from quire.blobs.address import SHARDS
from quire.blobs.port import Blob, BlobStore, StoredBlob
from quire.errors import BlobNotFound
from quire.store.columns import EPOCH, now
from quire.store.database import Database
from quire.store.tables import blob_references, blobs
from quire.store.upsert import insert_into

# How long a request to delete may still be on its way after the sweep that sent it died.
SETTLED_AFTER = timedelta(seconds=30)
# Deleted while their rows are locked, and on SQLite nobody else can write meanwhile.
BATCH = 50
ADOPTED_AT_ONCE = 500
# With more rows than this, rows and objects are compared shard by shard: bounded memory.
ROWS_AT_ONCE = 20_000
MISSING_MAX = 1000

_unreferenced = ~sa.exists().where(blob_references.c.sha256 == blobs.c.sha256)


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep did, and what it cannot repair."""

    deleted: int
    """Blobs that nobody referred to, orphans among them."""
    freed_bytes: int
    orphans: int
    """Objects in the store that had no row."""
    unfinished: int
    """Uploads that never finished."""
    missing: tuple[str, ...]
    """Blobs with a row but no object: data is lost. The first thousand."""


class Sweep:
    """One pass. Any number may run at once, beside puts and references."""

    def __init__(
        self, database: Database, store: BlobStore, cutoff: datetime, at: datetime
    ) -> None:
        """Takes what was last touched before the cutoff."""
        self._database = database
        self._store = store
        self._cutoff = cutoff
        self._settled = at - SETTLED_AFTER

    async def run(self) -> SweepReport:
        unfinished = await self._store.sweep_unfinished(self._cutoff)
        orphans, missing = await self._compare()
        deleted = freed = 0
        after: str | None = ""
        while after is not None:
            stamp, condemned, after = await self._condemn(after)
            if condemned:
                gone = await self._execute(condemned, stamp)
                deleted += len(gone)
                freed += sum(blob.size for blob in gone)
        still_missing = [sha256 for sha256 in missing if await self._is_missing(sha256)]
        return SweepReport(deleted, freed, orphans, unfinished, tuple(still_missing))

    async def _compare(self) -> tuple[int, list[str]]:
        """Adopt old objects that have no row, and list rows that seem to have no object."""
        async with self._database.read() as connection:
            rows = (
                await connection.execute(sa.select(sa.func.count()).select_from(blobs))
            ).scalar_one()
        orphans = 0
        missing: list[str] = []
        for shard in ("",) if rows <= ROWS_AT_ONCE else SHARDS:
            # Rows first: what is put meanwhile looks like an orphan, but too young a one.
            expected = await self._entered(shard)
            unknown: list[StoredBlob] = []
            async for found in self._store.blobs(shard):
                if found.sha256 in expected:
                    expected[found.sha256] = True
                elif found.stored_at < self._cutoff:
                    unknown.append(found)
                    if len(unknown) == ADOPTED_AT_ONCE:
                        orphans += await self._adopt(unknown)
                        unknown.clear()
            orphans += await self._adopt(unknown)
            lost = [sha256 for sha256, seen in expected.items() if not seen]
            missing += lost[: MISSING_MAX - len(missing)]
        return orphans, missing

    async def _entered(self, shard: str) -> dict[str, bool]:
        query = sa.select(blobs.c.sha256)
        if shard:
            # "g" follows every digit that an address can have.
            query = query.where(blobs.c.sha256 >= shard, blobs.c.sha256 < f"{shard}g")
        async with self._database.read() as connection:
            return dict.fromkeys((await connection.execute(query)).scalars(), False)

    async def _adopt(self, orphans: list[StoredBlob]) -> int:
        """Give them condemned rows, so that they go the way of all blobs: under a row's lock."""
        if not orphans:
            return 0
        values = [
            {"sha256": blob.sha256, "size": blob.size, "touched_at": EPOCH, "condemned": True}
            for blob in orphans
        ]
        adopt = insert_into(self._database, blobs).values(values).on_conflict_do_nothing()
        async with self._database.write() as connection:
            # Not the row count, which the drivers do not always know here.
            adopted = await connection.execute(adopt.returning(blobs.c.sha256))
            return len(adopted.all())

    async def _condemn(self, after: str) -> tuple[datetime, list[str], str | None]:
        """Mark the next few; from then on nobody can refer to them. Answers where to go on.

        The mark outlives a crash between deleting object and row, so that no reference can ever
        come to a row whose object is gone.
        """
        stamp = now()
        candidates = (
            sa.select(blobs.c.sha256)
            .where(blobs.c.sha256 > after)
            .where(
                sa.or_(
                    ~blobs.c.condemned & (blobs.c.touched_at < self._cutoff),
                    # Those of a sweep that was cut short, once it is surely dead.
                    blobs.c.condemned & (blobs.c.touched_at < self._settled),
                )
            )
            .where(_unreferenced)
            .order_by(blobs.c.sha256)
            .limit(BATCH)
            .with_for_update(of=blobs, skip_locked=True)
        )
        async with self._database.write() as connection:
            found = list((await connection.execute(candidates)).scalars())
            # Looked at again now that they are locked: the first look may have been at a
            # snapshot from before a reference that was committed while the lock was taken.
            condemn = (
                sa.update(blobs)
                .where(blobs.c.sha256.in_(found), _unreferenced)
                .values(condemned=True, touched_at=stamp)
                .returning(blobs.c.sha256)
            )
            condemned = list((await connection.execute(condemn)).scalars()) if found else []
        return stamp, condemned, found[-1] if len(found) == BATCH else None

    async def _execute(self, condemned: list[str], stamp: datetime) -> list[Blob]:
        """Delete objects, then rows, unless a put has saved them meanwhile."""
        deletion = asyncio.create_task(self._delete(condemned, stamp))
        try:
            return await asyncio.shield(deletion)
        except asyncio.CancelledError:
            # A request cannot be called back once it is sent: keep the locks until it is answered.
            await asyncio.wait([deletion])
            raise

    async def _delete(self, condemned: list[str], stamp: datetime) -> list[Blob]:
        ours = (
            sa.select(blobs.c.sha256, blobs.c.size)
            .where(blobs.c.sha256.in_(condemned))
            .where(blobs.c.condemned, blobs.c.touched_at == stamp)
            # In order, and waiting: a put that looks whether we are done locks a row briefly, and
            # passing over that row would leave it condemned. Nobody else locks condemned rows.
            .order_by(blobs.c.sha256)
            .with_for_update()
        )
        async with self._database.write() as connection:
            doomed = [Blob(*row) for row in await connection.execute(ours)]
            deletions = [self._store.delete(blob.sha256) for blob in doomed]
            # Every one is waited for before the locks go, whatever became of the others.
            for outcome in await asyncio.gather(*deletions, return_exceptions=True):
                if outcome is not None:
                    raise outcome
            gone = [blob.sha256 for blob in doomed]
            await connection.execute(sa.delete(blobs).where(blobs.c.sha256.in_(gone)))
        return doomed

    async def _is_missing(self, sha256: str) -> bool:
        query = sa.select(blobs.c.condemned).where(blobs.c.sha256 == sha256)
        async with self._database.read() as connection:
            if (await connection.execute(query)).scalar_one_or_none() is not False:
                return False
        try:
            await self._store.stat(sha256)
        except BlobNotFound:
            return True
        return False
