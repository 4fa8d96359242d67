"""Letting a session go cold: its points are packed and verified, or its shard is closed.

Nothing is taken away before the row says where the points are, and the row says so only if nothing
was written since they were read: whoever writes says so in that row, after the engine has taken it.
Who wrote to the collection that is left finds the session elsewhere, and writes again.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import datetime
from weakref import WeakValueDictionary

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.access.policy import session_not_found
from quire.blobs.ledger import BlobLedger
from quire.errors import CollectionNotFound, Conflict, QuireError
from quire.residency.packing import Packing
from quire.residency.recency import Recency
from quire.sessions.models import Residency, Session
from quire.sessions.repository import SessionRepository
from quire.sessions.spares import SpareCollections
from quire.store.columns import now
from quire.store.tables import job_sessions
from quire.telemetry.metrics import Metrics, ResidencyChange
from quire.vectors.port import VectorEngine

log = structlog.get_logger(__name__)

HOLDER = "pack"
"""What refers to a pack's blob."""

AT_ONCE = 4


class Sleeping:
    """Takes sessions out of the engine's memory, or out of the engine."""

    def __init__(
        self,
        repository: SessionRepository,
        engine: VectorEngine,
        ledger: BlobLedger,
        packing: Packing,
        spares: SpareCollections,
        recency: Recency,
        metrics: Metrics,
        prefix: str,
    ) -> None:
        self._repository = repository
        self._engine = engine
        self._ledger = ledger
        self._packing = packing
        self._spares = spares
        self._recency = recency
        self._metrics = metrics
        self._prefix = prefix
        self._slots = asyncio.Semaphore(AT_ONCE)
        # Weakly kept: a lock lives as long as somebody holds it or waits for it.
        self._alone: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def sleep(
        self, session_id: str, *, pack: bool, unless_used_since: datetime | None = None
    ) -> Session:
        """Let it go cold, or if it is, see that it is packed when that is wanted.

        `Conflict` tells what stands against it: a job, a pin, or a change meanwhile.
        """
        alone = self._alone.get(session_id)
        if alone is None:
            alone = self._alone[session_id] = asyncio.Lock()
        # Who comes second finds it cold, and not changed under their hands.
        async with alone, self._slots:
            session = await self._repository.latest(session_id)
            if session is None or not session.state.is_visible:
                raise session_not_found(session_id)
            if session.pack is not None or (session.residency is Residency.COLD and not pack):
                return session
            _require_restful(session)
            if pack:
                return await self._pack(session, unless_used_since)
            return await self._close(session, unless_used_since)

    async def _close(self, session: Session, unless_used_since: datetime | None) -> Session:
        async with self._repository.transaction() as connection:
            locked = await self._unchanged(connection, session, unless_used_since)
            cold = replace(locked, residency=Residency.COLD)
            await self._repository.relocate(connection, cold)
        self._recency.forget(session.id)
        await self._engine.release(session.collection)
        self._metrics.count_residency(ResidencyChange.CLOSED)
        return cold

    async def _pack(self, session: Session, unless_used_since: datetime | None) -> Session:
        async with self._repository.transaction() as connection:
            await self._unchanged(connection, session, unless_used_since)
        try:
            pack = await self._packing.pack(session)
        except CollectionNotFound:
            async with self._repository.transaction() as connection:
                await self._unchanged(connection, session, unless_used_since)
            raise  # and not because another process was faster
        async with self._repository.transaction() as connection:
            locked = await self._unchanged(connection, session, unless_used_since)
            await self._ledger.refer(connection, session.id, HOLDER, pack.sha256)
            await self._spares.reserve(
                connection, session.collection, session_id=session.id, until=now()
            )
            cold = replace(
                locked,
                residency=Residency.COLD,
                pack=pack,
                # A name that nothing has: who still uses the old one is told apart by it.
                collection=f"{self._prefix}{uuid.uuid4().hex}",
            )
            await self._repository.relocate(connection, cold)
        self._recency.forget(session.id)
        try:
            await self._spares.drop(session.collection)
        except QuireError as error:  # its row is there: the sweep drops it
            log.warning("collection not dropped yet", session_id=session.id, error=error.message)
        self._metrics.count_residency(ResidencyChange.PACKED)
        return cold

    async def _unchanged(
        self, connection: AsyncConnection, seen: Session, unless_used_since: datetime | None
    ) -> Session:
        """The locked session, if it is what was seen and nobody is about to change it."""
        locked = await self._repository.lock(connection, seen.id)
        if locked is None or not locked.state.is_visible:
            raise session_not_found(seen.id)
        _require_restful(locked)
        # Moving does not change the version, writing does.
        if _state(locked) != _state(seen):
            raise _busy(f"Session {seen.id} was changed while it was to go cold")
        if await connection.scalar(
            sa.select(sa.exists().where(job_sessions.c.session_id == seen.id))
        ):
            raise _busy(f"A job of session {seen.id} is not done")
        if unless_used_since is not None and self._recency.last_use(locked) > unless_used_since:
            raise _busy(f"Session {seen.id} was used meanwhile")
        return locked


def _state(session: Session) -> tuple[object, ...]:
    return session.version, session.collection, session.residency, session.pack


def _require_restful(session: Session) -> None:
    """Raise if the session has to stay where it is."""
    if session.pinned and session.deleted_at is None and session.archived_at is None:
        raise Conflict(
            f"Session {session.id} is pinned, which keeps it hot",
            recovery='Unpin it first: PATCH /sessions/{id} {"pinned": false}.',
        )
    job_id = session.busy_job
    if session.successor is not None:
        job_id = session.successor.job_id
    if job_id is not None or session.hidden_stages:
        raise _busy(f"Session {session.id} is being worked on", job_id)


def _busy(message: str, job_id: str | None = None) -> Conflict:
    recovery = "Wait until it is at rest, then try again."
    if job_id is None:
        return Conflict(message, recovery=recovery)
    return Conflict(message, recovery=recovery, job_id=job_id)
