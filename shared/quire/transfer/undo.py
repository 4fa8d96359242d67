"""Undoing a merge, a split or a restored checkpoint: as if it had not been, for a while.

A session that the transfer made goes; one that it changed gets back the collection and the
documents that it had; one that it archived is active again. All of that is one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.access import policy
from quire.access.policy import Role
from quire.access.principal import Principal
from quire.content.models import Document
from quire.content.repository import DocumentRepository
from quire.content.rows import SELECT_DOCUMENTS, from_row
from quire.errors import Conflict, Forbidden, JobNotFound
from quire.jobs.port import JobContext, JobKind, JobRequest, Jobs
from quire.points.visibility import require_writable
from quire.sessions.lifecycle import State
from quire.sessions.models import Embedding, Session
from quire.sessions.purge import Purge, Reason
from quire.sessions.repository import SessionRepository
from quire.sessions.spares import SpareCollections
from quire.sessions.waking import Waker
from quire.sessions.work import Work
from quire.store.columns import now
from quire.store.database import Database
from quire.store.tables import (
    blob_references,
    documents,
    lineage,
    sessions,
    spare_collections,
)
from quire.transfer.activity_rows import ActivityRows
from quire.transfer.deed import Deed
from quire.transfer.lineage import LineageRecords
from quire.transfer.replaced import ReplacedDocuments, holder_of

KIND = "undo"
KEPT = (State.ACTIVE.value, State.ARCHIVED.value)
NOTHING_LEFT = "Nothing is left to do."


class Undo:
    """Begins and runs undoing, on behalf of who has the role `admin` in all sessions concerned."""

    def __init__(
        self,
        database: Database,
        repository: SessionRepository,
        rows: DocumentRepository,
        lines: LineageRecords,
        replaced: ReplacedDocuments,
        activity: ActivityRows,
        spares: SpareCollections,
        purge: Purge,
        waker: Waker,
        work: Work,
        jobs: Jobs,
        undo_hours: float,
    ) -> None:
        self._database = database
        self._repository = repository
        self._rows = rows
        self._lines = lines
        self._replaced = replaced
        self._activity = activity
        self._spares = spares
        self._purge = purge
        self._waker = waker
        self._work = work
        self._jobs = jobs
        self._window = timedelta(hours=undo_hours)
        jobs.register(JobKind(KIND, self._run))

    async def begin(self, principal: Principal, job_id: str, *, force: bool = False) -> str:
        """Submit the job that undoes another one; answers its id.

        `Conflict` says what stands against it. With `force` sessions are taken back that were
        changed since, and lose those changes.
        """
        async with self._repository.transaction() as connection:
            deed = Deed.of(await self._lines.of_job(connection, job_id))
            found = await self._locked(connection, [] if deed is None else deed.concerned)
            if deed is not None and any(policy.role_of(principal, s) for s in found.values()):
                _require_admin(principal, found)
                if deed.is_undone:
                    raise Conflict(f"Job {job_id} is undone already", recovery=NOTHING_LEFT)
                if now() > deed.at + self._window:
                    raise _too_late(deed)
                await self._check(connection, deed, found, force)
                request = JobRequest(
                    KIND,
                    sessions=sorted(found, key=lambda name: name not in deed.changed),
                    parameters={"job_id": job_id, "force": force},
                    owner_id=principal.subject,
                )
                return await self._jobs.submit(connection, request)
        job = await self._work.get(principal, job_id)  # raises where there is no such job
        if deed is None:
            raise Conflict(
                f"Job {job_id} ({job.kind}) is nothing that can be undone",
                recovery="Merges, splits and restored checkpoints can be; what a fork or an import "
                "made is deleted like any session.",
            )
        if found:
            raise _not_admin()
        raise Conflict(f"What job {job_id} made is gone", recovery=NOTHING_LEFT)

    async def forget(self, at: datetime) -> int:
        """Let go of what is kept for undoing what can no longer be undone; answers of how much.

        Collections are dropped by the sweep of spare ones, when their time has come.
        """
        is_held = sa.and_(
            blob_references.c.session_id.in_([lineage.c.child_id, lineage.c.parent_id]),
            blob_references.c.holder == sa.literal(holder_of("")) + lineage.c.job_id,
        )
        held = (
            sa.select(blob_references.c.session_id, lineage.c.job_id)
            .select_from(sa.join(lineage, blob_references, is_held))
            .where(lineage.c.created_at < at - self._window)
            .distinct()
        )
        async with self._database.read() as connection:
            late = [(row[0], row[1]) for row in await connection.execute(held)]
        for session_id, job_id in late:
            async with self._database.write() as connection:
                await self._replaced.let_go(connection, session_id, job_id)
        await self._activity.forget(at - self._window)
        of_no_session = ~sa.exists().where(sessions.c.id == spare_collections.c.session_id)
        async with self._database.write() as connection:
            await connection.execute(
                sa.update(spare_collections)
                .where(of_no_session, spare_collections.c.session_id.is_not(None))
                .where(spare_collections.c.until > at)
                .values(until=at)
            )
        return len(late)

    async def _run(self, context: JobContext) -> Mapping[str, Any]:
        job_id, force = context.parameters["job_id"], context.parameters["force"]
        await context.step("wake", self._wake, job_id)
        context.finishing()
        return await context.step("undo", self._undo, job_id, force)

    async def _wake(self, job_id: str) -> None:
        """What a cold session has is in no collection; awake they are all alike."""
        deed = await self._deed(job_id)
        for session_id in deed.changed:
            session = await self._repository.get(session_id)
            if session is not None and session.state.is_visible:
                await self._waker.awake(session)

    async def _undo(self, job_id: str, force: bool) -> Mapping[str, Any]:
        deed = await self._deed(job_id)
        kept: dict[str, list[Document]] = {}
        for session_id, before in deed.changed.items():
            if before["documents"] is not None and not deed.is_undone:
                kept[session_id] = await self._replaced.read(before["documents"])
        async with self._repository.transaction() as connection:
            found = await self._locked(connection, deed.concerned)
            if not await self._is_undone(connection, job_id):  # by an earlier run of this step
                await self._check(connection, deed, found, force)
                for session_id, session in found.items():
                    if session_id in deed.new:
                        await self._purge.begin(connection, session, Reason.ASKED)
                    elif session_id in deed.changed:
                        await self._give_back(connection, session, deed, kept.get(session_id, []))
                    elif (active := _reactivated(session, deed)) != session:
                        await self._repository.save(connection, session, active)
                await self._lines.note_undone(connection, job_id)
        return {
            "undone": job_id,
            "removed_sessions": list(deed.new),
            "changed_sessions": sorted(deed.changed),
            "reactivated_sessions": list(deed.archived),
        }

    async def _give_back(
        self, connection: AsyncConnection, session: Session, deed: Deed, kept: list[Document]
    ) -> None:
        """The session as it was before: its collection, its counts, its documents, its activity."""
        before = deed.changed[session.id]
        if not await self._spares.adopt(connection, before["collection"]):
            raise _too_late(deed)
        await self._spares.reserve(
            connection, session.collection, session_id=session.id, until=now()
        )
        await self._rows.remove(connection, await self._came_since(connection, session.id, deed))
        known = await self._rows.known(connection, session.id, "id", [d.id for d in kept])
        await self._replaced.give_back(connection, session, deed.job_id, _free(kept, known))
        if await self._count(connection, session.id) != before["documents_count"]:
            raise Conflict(
                f"Documents that session {session.id} had before were removed or replaced since, "
                "and cannot be brought back",
                recovery="Restore a checkpoint instead, or go on with what there is.",
            )
        await self._activity.take_back(connection, session.id, deed.job_id)
        at = now()
        # As it was, also in this: so that what was done before can be undone next.
        is_left = session.updated_at == datetime.fromisoformat(deed.left[session.id])
        updated_at = datetime.fromisoformat(before["updated_at"]) if is_left else at
        await self._repository.save(
            connection,
            session,
            replace(
                _reactivated(session, deed),
                collection=before["collection"],
                points_count=before["points"],
                chunks_count=before["chunks"],
                embedding=Embedding(**before["embedding"]),
                hidden_stages=tuple(before["hidden_stages"]),
                removals=session.removals + 1,
                metadata=_with(session.metadata, before["metadata"]),
                lineage=_with(session.lineage, before["lineage"]),
                updated_at=updated_at,
                last_activity_at=at,
            ),
        )

    async def _came_since(
        self, connection: AsyncConnection, session_id: str, deed: Deed
    ) -> list[Document]:
        """What readers see that was not there before: the transfer's documents, and later ones."""
        query = SELECT_DOCUMENTS.where(
            documents.c.session_id == session_id,
            documents.c.is_current,
            sa.or_(documents.c.job_id == deed.job_id, documents.c.updated_at > deed.at),
        )
        return [from_row(row) for row in await connection.execute(query)]

    async def _count(self, connection: AsyncConnection, session_id: str) -> int:
        is_seen = sa.and_(documents.c.session_id == session_id, documents.c.is_current)
        return int(await connection.scalar(sa.select(sa.func.count()).where(is_seen)) or 0)

    async def _check(
        self,
        connection: AsyncConnection,
        deed: Deed,
        found: Mapping[str, Session],
        force: bool,
    ) -> None:
        """Raise unless all can still be as it was before."""
        for session_id in deed.changed:
            if session_id not in found:
                raise Conflict(f"Session {session_id}, which it changed, is gone")
            require_writable(found[session_id])
            await self._require_last(connection, session_id, deed)
        if force:
            return
        for session_id, left in deed.left.items():
            session = found.get(session_id)
            if session is not None and session.updated_at != datetime.fromisoformat(left):
                raise Conflict(
                    f"Session {session_id} was changed since",
                    recovery="Undo it with force=true if those changes may be lost.",
                    session_id=session_id,
                )
        are_there = sa.and_(sessions.c.id.in_(deed.parents), sessions.c.state.in_(KEPT))
        query = sa.select(sa.func.count()).select_from(sessions).where(are_there)
        if await connection.scalar(query) != len(deed.parents):
            raise Conflict(
                "A session that it took from is gone: what came from there would be lost",
                recovery="Undo it with force=true if it may be lost.",
            )

    async def _require_last(self, connection: AsyncConnection, session_id: str, deed: Deed) -> None:
        """Raise if another transfer changed the session since: that has to be undone first."""
        for line in await self._lines.around([session_id], connection=connection):
            later = Deed.of([line])
            if later is None or later.is_undone or later.at <= deed.at:
                continue
            if session_id in later.changed:
                raise Conflict(
                    f"Session {session_id} was changed by job {later.job_id} since",
                    recovery=f"Undo job {later.job_id} first.",
                    session_id=session_id,
                )

    async def _locked(
        self, connection: AsyncConnection, session_ids: Sequence[str]
    ) -> dict[str, Session]:
        """Those of them that are there, in the order of their ids."""
        found: dict[str, Session] = {}
        for session_id in sorted(session_ids):
            session = await self._repository.lock(connection, session_id)
            if session is not None and session.state.is_visible:
                found[session_id] = session
        return found

    async def _deed(self, job_id: str) -> Deed:
        async with self._database.read() as connection:
            deed = Deed.of(await self._lines.of_job(connection, job_id))
        if deed is None:
            raise JobNotFound(f"Nothing is known of job {job_id}")
        return deed

    async def _is_undone(self, connection: AsyncConnection, job_id: str) -> bool:
        return any(line.undone_at for line in await self._lines.of_job(connection, job_id))


def _with(now_there: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """These fields as they were; None is one that was not there."""
    merged = {**now_there, **before}
    return {key: value for key, value in merged.items() if key not in before or value is not None}


def _reactivated(session: Session, deed: Deed) -> Session:
    """Active again, if it was the transfer that archived it, and nobody has since."""
    at = session.archived_at
    if session.id not in deed.archived or session.state is not State.ARCHIVED:
        return session
    if at is None or at > deed.at:
        return session
    return replace(session, state=State.ACTIVE, archived_at=None, updated_at=now())


def _free(kept: Sequence[Document], known: Sequence[Document]) -> list[Document]:
    """These documents, with another revision where theirs is taken by one that is on its way."""
    latest = {document.id: document.revision for document in known}
    taken = {(document.id, document.revision) for document in known}
    return [
        replace(document, revision=latest[document.id] + 1)
        if (document.id, document.revision) in taken
        else document
        for document in kept
    ]


def _require_admin(principal: Principal, concerned: Mapping[str, Session]) -> None:
    if not all(policy.role_of(principal, session) for session in concerned.values()):
        raise _not_admin()  # without naming what is not theirs to see
    for session in concerned.values():
        policy.require(principal, session, Role.ADMIN)


def _not_admin() -> Forbidden:
    return Forbidden("This needs the role admin in every session that the job made or changed")


def _too_late(deed: Deed) -> Conflict:
    return Conflict(
        f"Job {deed.job_id} was done at {deed.at.isoformat(timespec='seconds')}: it is too late to "
        "undo it (QUIRE_TRANSFER_UNDO_HOURS)",
        recovery="What it made is deleted, and what it archived restored, like any session.",
    )
