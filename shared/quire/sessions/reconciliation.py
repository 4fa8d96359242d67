"""Comparing what the store says with what the engine holds, in both directions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import structlog

from quire.errors import Conflict, JobNotFound
from quire.jobs.port import Jobs
from quire.sessions.lifecycle import State
from quire.sessions.models import Session
from quire.sessions.purge import Purge, Reason
from quire.sessions.repository import SessionRepository
from quire.sessions.spares import SpareCollections
from quire.vectors.port import CollectionSpec, Distance, VectorEngine

log = structlog.get_logger(__name__)

# More than these missing at once looks like the wrong engine, not like orphans.
FEW = 3


@dataclass(slots=True)
class Findings:
    """Orphans: collections that no session owns, and sessions whose collection is gone; and
    sessions that a job holds which has ended."""

    sessions_checked: int = 0
    collections_checked: int = 0
    orphan_collections: list[str] = field(default_factory=list)
    # Whether points are known to be lost with the collection, by session.
    missing_collections: dict[str, bool] = field(default_factory=dict)
    # By session, the job that nobody can write to it for.
    held_sessions: dict[str, str] = field(default_factory=dict)
    repaired: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.orphan_collections or self.missing_collections or self.held_sessions)


class Reconciliation:
    """Finds orphans, and removes them when asked.

    A session's row is written before its collection and removed after it. So a collection that is
    listed *before* the rows are read, and has no row, is nobody's. Spare ones have rows too, and a
    name may go from one table to the other meanwhile: those are read before and after.
    """

    def __init__(
        self,
        repository: SessionRepository,
        engine: VectorEngine,
        spares: SpareCollections,
        purge: Purge,
        jobs: Jobs,
        prefix: str,
    ) -> None:
        self._repository = repository
        self._engine = engine
        self._spares = spares
        self._purge = purge
        self._jobs = jobs
        self._prefix = prefix

    async def run(self, *, repair: bool = False, force: bool = False) -> Findings:
        """Compare; with `repair` drop orphan collections and spare ones whose time has come, lay
        empty ones anew, purge the lost, free what ended jobs hold."""
        names = self._engine.collections()
        # A server may hold the collections of others too.
        listed = {name async for name in names if name.startswith(self._prefix)}
        findings = Findings(collections_checked=len(listed))
        owned = await self._spares.names()
        lost: list[Session] = []
        async for session in self._repository.walk():
            owned.add(session.collection)
            if session.successor is not None:
                owned.add(session.successor.collection)
            if not session.state.is_visible:
                continue  # on its way in or out; its own job or housekeeping sees to it
            findings.sessions_checked += 1
            if session.busy_job is not None and await self._is_held_in_vain(session):
                findings.held_sessions[session.id] = session.busy_job
            if session.pack is not None:
                continue  # it is cold: nothing is where its row says
            if session.collection not in listed and await self._is_missing(session):
                findings.missing_collections[session.id] = session.points_count > 0
                lost.append(session)
        findings.orphan_collections = sorted(listed - owned - await self._spares.names())
        if repair:
            self._refuse_if_it_looks_wrong(findings, force)
            for name in findings.orphan_collections:
                await self._engine.drop(name)
                findings.repaired.append(f"dropped collection {name}")
            for name in await self._spares.drop_overdue():
                findings.repaired.append(f"dropped spare collection {name}")
            for session in lost:
                findings.repaired.append(await self._mend(session))
            for session_id, job_id in findings.held_sessions.items():
                await self._free(session_id, job_id)
                findings.repaired.append(f"freed session {session_id} of job {job_id}")
            log.warning("reconciled", repaired=findings.repaired)
        return findings

    async def _is_missing(self, session: Session) -> bool:
        if await self._engine.exists(session.collection):
            return False
        # It may have gone to sleep since its row was read; the row says so before anything goes.
        latest = await self._repository.latest(session.id)
        return latest is not None and latest.collection == session.collection

    async def _is_held_in_vain(self, session: Session) -> bool:
        try:
            job = await self._jobs.get(session.busy_job or "")
        except JobNotFound:
            pass
        else:
            if not job.status.is_final:
                return False
        # A job lets go before it ends, and may have ended since the row was read.
        latest = await self._repository.latest(session.id)
        return latest is not None and latest.busy_job == session.busy_job

    async def _free(self, session_id: str, job_id: str) -> None:
        async with self._repository.transaction() as connection:
            locked = await self._repository.lock(connection, session_id)
            if locked is not None and locked.busy_job == job_id:
                await self._repository.save(connection, locked, replace(locked, busy_job=None))

    def _refuse_if_it_looks_wrong(self, findings: Findings, force: bool) -> None:
        missing, checked = len(findings.missing_collections), findings.sessions_checked
        if not force and missing > FEW and missing * 2 > checked:
            raise Conflict(
                f"The collections of {missing} of {checked} sessions are missing: this looks like "
                "another engine than the sessions were made on; nothing was changed",
                recovery="Check QUIRE_QDRANT_URL and QUIRE_DATA_DIR; use --force if it is right.",
            )

    async def _mend(self, session: Session) -> str:
        if session.points_count == 0:
            embedding = session.embedding
            spec = CollectionSpec(embedding.dimension, Distance(embedding.distance))
            await self._engine.create(session.collection, spec)
            return f"laid the empty collection of session {session.id} anew"
        async with self._repository.transaction() as connection:
            locked = await self._repository.lock(connection, session.id)
            if (
                locked is not None
                and locked.state is not State.PURGING
                and locked.collection == session.collection
            ):
                await self._purge.begin(connection, locked, Reason.LOST)
        return f"purged session {session.id}, whose points are lost"
