"""The ledger: which blobs there are, and who refers to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.blobs.address import require_address
from quire.blobs.port import Blob, BlobStore
from quire.blobs.sweep import SETTLED_AFTER, Sweep, SweepReport
from quire.errors import BlobNotFound, Unavailable
from quire.store.columns import now
from quire.store.database import Database
from quire.store.tables import blob_references, blobs
from quire.store.upsert import insert_into

# Between two attempts to enter a blob that a sweep holds; a healthy sweep holds one for
# milliseconds.
PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 1.0, 2.0)


class BlobLedger:
    """Counts references to blobs in SQL; the sweep takes those that nobody refers to.

    Put first, then refer, in the transaction that writes what holds the blob. Between the two
    the blob is safe for `grace_seconds`. Never put inside a transaction: it takes one of its own.
    """

    def __init__(self, database: Database, store: BlobStore, grace_seconds: float) -> None:
        self._database = database
        self._store = store
        self._grace = timedelta(seconds=grace_seconds)

    async def put(self, content: AsyncIterable[bytes]) -> Blob:
        """Store content and enter it; what is entered is in the store.

        The object is promoted first, then the row is written; a crash in between leaves an
        object without a row, which the sweep takes.
        """
        async with self._store.stage(content) as staged:
            for pause in PAUSES:
                await staged.promote()
                if await self._enter(staged.blob):
                    return staged.blob
                await asyncio.sleep(pause)
        raise Unavailable(
            "The same content is just being swept", retry_after=SETTLED_AFTER.total_seconds()
        )

    async def refer(
        self, connection: AsyncConnection, session_id: str, holder: str, sha256: str
    ) -> Blob:
        """Make something of a session a holder of the blob, in the caller's transaction."""
        # Shared, so that two transactions referring to the same blobs in another order cannot
        # deadlock; yet it waits for a sweep that is condemning this blob, and holds off the next.
        row = (
            await connection.execute(
                sa.select(blobs.c.size)
                # Not looked at afterwards: the sweep counts on condemned rows not being held.
                .where(blobs.c.sha256 == require_address(sha256), ~blobs.c.condemned)
                .with_for_update(read=True)
            )
        ).one_or_none()
        if row is None:
            raise BlobNotFound(
                f"There is no blob {sha256}", recovery="Put its content again.", sha256=sha256
            )
        await connection.execute(
            insert_into(self._database, blob_references)
            .values(session_id=session_id, holder=holder, sha256=sha256)
            .on_conflict_do_nothing()
        )
        return Blob(sha256, row.size)

    async def release(
        self, connection: AsyncConnection, session_id: str, holder: str | None = None
    ) -> int:
        """End a holder's references, or all of a session's; answers how many there were."""
        statement = sa.delete(blob_references).where(blob_references.c.session_id == session_id)
        if holder is not None:
            statement = statement.where(blob_references.c.holder == holder)
        return (await connection.execute(statement)).rowcount

    async def sweep(self, at: datetime) -> SweepReport:
        """Remove what nobody refers to and what crashes left behind, untouched since the grace."""
        return await Sweep(self._database, self._store, at - self._grace, at).run()

    async def _enter(self, blob: Blob) -> bool:
        """Write the row; False where the object may be on its way out.

        A sweep deletes an object only while it holds the row's lock, and removes the row in the
        same transaction. So once we have the lock, either that deletion is over, and looking
        shows that the object is gone; or it has not begun, and it will find the row touched and
        let go. Looking before having the lock would prove nothing.
        """
        at = now()
        insert = insert_into(self._database, blobs).values(
            sha256=blob.sha256, size=blob.size, touched_at=at, condemned=False
        )
        fresh = {name: insert.excluded[name] for name in ("size", "touched_at", "condemned")}
        try:
            async with self._database.write() as connection:
                entered = await connection.execute(
                    insert.on_conflict_do_update(
                        index_elements=[blobs.c.sha256],
                        set_=fresh,
                        # Condemned a moment ago, and its sweep does not hold the lock: if that
                        # sweep died, its last request may still reach the store.
                        where=~blobs.c.condemned | (blobs.c.touched_at < at - SETTLED_AFTER),
                    ).returning(blobs.c.sha256)
                )
                if entered.one_or_none() is None:
                    return False
                await self._store.stat(blob.sha256)
        except BlobNotFound:
            return False
        return True
