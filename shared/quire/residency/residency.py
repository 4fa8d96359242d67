"""Residency as a whole: what is hot, what is cold, and how one becomes the other."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from quire.blobs.ledger import BlobLedger
from quire.blobs.port import BlobStore
from quire.errors import Conflict, QuireError, SessionNotFound
from quire.residency.packing import Packing
from quire.residency.point_files import Folders
from quire.residency.recency import Recency
from quire.residency.sleeping import Sleeping
from quire.residency.sweeping import Sweeping, Swept
from quire.residency.waking import Waking
from quire.sessions.models import Residency as State
from quire.sessions.models import Session
from quire.sessions.repository import SessionRepository
from quire.sessions.spares import SpareCollections
from quire.sessions.waking import still_cold
from quire.settings import Settings
from quire.store.database import Database
from quire.telemetry.metrics import Metrics
from quire.vectors.port import VectorEngine

log = structlog.get_logger(__name__)

SURPLUS = 0.1
"""With so many too many hot sessions the sweep does not wait for its time."""
CROWDED = 0.5
"""With so many too many, who makes one more waits for the sweep."""
ROOM_SECONDS = 5.0


class Residency:
    """Keeps used sessions hot and lets the others go cold; it is what `Sessions` knows as `Waker`.

    On an engine of this process a cold session's shard is closed, and packed after longer idleness.
    On a server it is packed at once: its points are in the blob store, and the collection is gone.
    """

    def __init__(
        self,
        database: Database,
        repository: SessionRepository,
        engine: VectorEngine,
        blobs: BlobStore,
        ledger: BlobLedger,
        spares: SpareCollections,
        metrics: Metrics,
        settings: Settings,
        folders: Folders,
    ) -> None:
        self._database = database
        self._hot_max = settings.hot_sessions_max
        # An engine that cannot tell what it has open cannot close it either.
        self._packs_at_once = engine.hot_collections() is None
        self._recency = Recency()
        self._spares = spares
        prefix = settings.qdrant.collection_prefix
        packing = Packing(engine, blobs, ledger, folders)
        self._sleeping = Sleeping(
            repository, engine, ledger, packing, spares, self._recency, metrics, prefix
        )
        self._waking = Waking(repository, ledger, packing, spares, metrics, prefix, self.made)
        self._sweeping = Sweeping(
            database,
            repository,
            self._sleeping,
            spares,
            self._recency,
            settings.residency,
            hot_max=self._hot_max,
            packs_at_once=self._packs_at_once,
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        self._relief: asyncio.Task[Any] | None = None
        self._relieved = True

    async def awake(self, session: Session, *, patience: float | None = None) -> Session:
        """See `Waker`."""
        if session.residency is State.HOT:
            self._recency.used(session.id)
            return session
        if patience is None:
            await self.room()
        elif session.id in self._waking.failed:
            patience = None  # or who does not wait would be put off for ever
        waking = self._waking.begin(session.id)
        # Not awaited itself: who does not wait any longer must not take it from those who do.
        await asyncio.wait([waking], timeout=patience)
        if not waking.done():
            raise still_cold(session)
        return waking.result()

    async def sleep(self, session_id: str, *, pack: bool | None = None) -> Session:
        """See `Waker`."""
        pack = self._packs_at_once or bool(pack)
        return await self._sleeping.sleep(session_id, pack=pack)

    def wake_soon(self, session: Session) -> None:
        """See `Waker`."""
        self._waking.begin(session.id)

    def sleep_soon(self, session: Session) -> None:
        """See `Waker`."""
        self._begin(
            self._sleeping.sleep(
                session.id,
                pack=self._packs_at_once,
                unless_used_since=self._recency.last_use(session),
            )
        )

    def made(self, session: Session) -> None:
        """See `Waker`."""
        self._recency.used(session.id)
        self._sweeping.hot += 1
        if self._is_over(SURPLUS):
            self._relieve()

    async def room(self) -> None:
        """See `Waker`."""
        if self._is_over(CROWDED) and self._relieved:
            await asyncio.wait([self._relieve()], timeout=ROOM_SECONDS)

    async def sweep(self) -> Swept:
        """Let the idle and the surplus go cold, and drop spare collections; for housekeeping."""
        return await self._sweeping.sweep()

    async def open(self) -> None:
        """At the start of the only process there is: take away what a killed one left."""
        if dropped := await self._spares.drop_abandoned():
            log.info("collections that were being filled are dropped", collections=len(dropped))

    async def close(self) -> None:
        """Let what is under way finish."""
        await self._waking.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _is_over(self, share: float) -> bool:
        return self._sweeping.hot > self._hot_max * (1 + share)

    def _relieve(self) -> asyncio.Task[Any]:
        if self._relief is None or self._relief.done():
            self._relief = self._begin(self._let_surplus_go())
        return self._relief

    async def _let_surplus_go(self) -> None:
        async with self._database.alone("residency surplus") as is_ours:
            if is_ours:
                # Where all that are hot are needed, nobody should wait for what cannot be.
                self._relieved = await self._sweeping.sleep_surplus() > 0

    def _begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _logged(work: Coroutine[Any, Any, Any]) -> None:
    try:
        await work
    except (Conflict, SessionNotFound):
        pass  # somebody needs it where it is, or it went
    except QuireError as error:
        log.warning("residency not changed", error=error.message)
    except Exception:  # a boundary: nobody waits for it
        log.exception("residency not changed")
