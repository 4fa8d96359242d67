"""Removing a session for good: its collection, its blobs' references, its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from quire.blobs.ledger import BlobLedger
from quire.events.log import EventKind, NewEvent, append_events
from quire.jobs.port import JobContext, JobKind, JobRequest, Jobs
from quire.sessions.lifecycle import Action, after
from quire.sessions.models import Session
from quire.sessions.repository import SessionRepository
from quire.sessions.tombstones import bury
from quire.store.columns import now
from quire.vectors.port import VectorEngine


class Reason(StrEnum):
    """Why a session goes for good."""

    ASKED = "asked"
    EXPIRED = "expired"
    RETENTION = "retention"
    UNFINISHED = "unfinished"  # its creation was cut off
    LOST = "lost"  # its collection is gone from the engine


class Purge:
    """Marks a session as going, in one transaction with the job that removes it.

    From that moment nobody sees it. The job waits for those that still change the session, and
    each of its steps may be repeated, so a kill between them leaves nothing behind.
    """

    def __init__(
        self, repository: SessionRepository, engine: VectorEngine, ledger: BlobLedger, jobs: Jobs
    ) -> None:
        self._repository = repository
        self._engine = engine
        self._ledger = ledger
        self._jobs = jobs
        jobs.register(JobKind("purge", self._run, cancellable=False))

    async def begin(
        self,
        connection: AsyncConnection,
        session: Session,
        reason: Reason,
        asked_by: str | None = None,
    ) -> str:
        """Within the transaction that locked the session; answers the job's id."""
        gone = replace(session, state=after(session.state, Action.PURGE), updated_at=now())
        await self._repository.save(connection, session, gone)
        await append_events(connection, [_farewell(session, reason)])
        return await self._jobs.submit(
            connection,
            JobRequest(
                "purge",
                sessions=[session.id],
                parameters={"collection": session.collection, "reason": reason.value},
                owner_id=asked_by or session.owner_id,
            ),
        )

    async def _run(self, context: JobContext) -> Mapping[str, Any]:
        session_id = context.sessions[0]
        collection, reason = context.parameters["collection"], context.parameters["reason"]
        await context.step("drop collection", self._engine.drop, collection)
        await context.step("remove rows", self._remove_rows, session_id, collection, reason)
        return {"session_id": session_id, "reason": reason}

    async def _remove_rows(self, session_id: str, collection: str, reason: str) -> None:
        async with self._repository.transaction() as connection:
            session = await self._repository.lock(connection, session_id)
            if session is None or session.collection != collection:
                return  # an earlier run of this step got as far as the commit
            await self._ledger.release(connection, session_id)
            await self._repository.remove(connection, session_id)
            if reason == Reason.EXPIRED:
                await bury(connection, session)


def _farewell(session: Session, reason: Reason) -> NewEvent:
    is_expired = reason is Reason.EXPIRED
    kind = EventKind.SESSION_EXPIRED if is_expired else EventKind.SESSION_DELETED
    return NewEvent(session.id, kind, {"reason": reason.value})
