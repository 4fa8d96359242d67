"""The end of a transfer: all it made is seen, and all it changes changes, in one transaction.

Until then nobody sees anything of it, and no session that it reads from has been touched. What a
session's collection was before stays for a while, so that the whole can be undone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.content.repository import DocumentRepository
from quire.errors import Conflict, QuireError, VerificationFailed
from quire.points.visibility import require_writable
from quire.sessions.lifecycle import Action, State
from quire.sessions.models import Embedding, Session
from quire.sessions.purge import Purge, Reason
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import moved
from quire.sessions.spares import SpareCollections
from quire.store.columns import now
from quire.store.database import Database
from quire.store.tables import claims, documents
from quire.transfer.lineage import Line, LineageRecords
from quire.transfer.replaced import ReplacedDocuments

BUILDING_DAYS = 30

ALONG = "activity"
"""Where the first line of a job tells what came along."""

ComeAlong = Callable[[AsyncConnection], Awaitable[Mapping[str, Any]]]
"""Brings what else comes with the points, in the finale's transaction; answers what that was."""


@dataclass(frozen=True, slots=True)
class Built:
    """A collection that is filled and verified, and what its session is like with it."""

    session_id: str
    collection: str
    points: int
    chunks: int
    next_seq: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Fields that are added to the session's."""
    lineage: Mapping[str, Any] = field(default_factory=dict)
    dropped_documents: Sequence[str] = ()
    """Documents of the session that are no longer in it."""
    kept: str | None = None
    """The blob that holds what is replaced or dropped."""
    embedding: Embedding | None = None
    """What its vectors are made with, where that is not what the session has now."""


class Finale:
    """Concludes transfers, and takes back those that failed."""

    def __init__(
        self,
        database: Database,
        repository: SessionRepository,
        rows: DocumentRepository,
        spares: SpareCollections,
        purge: Purge,
        lines: LineageRecords,
        replaced: ReplacedDocuments,
        undo_hours: float,
    ) -> None:
        self._database = database
        self._repository = repository
        self._rows = rows
        self._spares = spares
        self._purge = purge
        self._lines = lines
        self._replaced = replaced
        self._undo = timedelta(hours=undo_hours)

    async def begin(self, job_id: str, busy: Sequence[str], collections: Sequence[str]) -> None:
        """Have writers of these sessions wait, and note the collections that are to be built."""
        async with self._repository.transaction() as connection:
            for session_id in sorted(busy):
                session = await self._visible(connection, session_id)
                if session.busy_job != job_id:
                    require_writable(session)
                    await self._repository.save(
                        connection, session, replace(session, busy_job=job_id)
                    )
            until = now() + timedelta(days=BUILDING_DAYS)
            for name in collections:
                await self._spares.reserve(
                    connection, name, session_id=None, until=until, job_id=job_id
                )

    async def conclude(
        self,
        job_id: str,
        built: Sequence[Built],
        sources: Sequence[str],
        lines: Sequence[Line],
        *,
        archive: bool,
        come_along: ComeAlong | None = None,
    ) -> Mapping[str, Any]:
        """Show what was built; archive the sources if that was asked for, and free them.

        Answers what came along.
        """
        async with self._repository.transaction() as connection:
            if concluded := await self._lines.of_job(connection, job_id):
                # an earlier run of this step got as far as the commit
                told = (line.details for line in concluded)
                return next((details[ALONG] for details in told if ALONG in details), {})
            results = {one.session_id: one for one in built}
            undo: dict[str, Any] = {"new": [], "changed": {}, "archived": [], "left": {}}
            for session_id in sorted({*results, *sources}):
                session = await self._repository.lock(connection, session_id)
                if session is None or session.state is State.PURGING:
                    raise Conflict(
                        f"Session {session_id} is gone", recovery="Nothing is left to do."
                    )
                changed = session
                if session.busy_job == job_id:
                    changed = replace(session, busy_job=None)
                if session_id in results:
                    documents_count = await self._documents(connection, session_id)
                    changed = await self._with(connection, changed, results[session_id], job_id)
                if archive and session_id in sources:
                    changed = moved(changed, Action.ARCHIVE, now())
                if changed != session:
                    await self._repository.save(connection, session, changed)
                if session_id in results:
                    undo["left"][session_id] = changed.updated_at.isoformat()
                if session_id in results and session.state is not State.PROVISIONING:
                    undo["changed"][session_id] = {
                        **_before(session, results[session_id]),
                        "documents_count": documents_count,
                    }
                elif session_id in results:
                    undo["new"].append(session_id)
                if changed.state is State.ARCHIVED and session.state is not State.ARCHIVED:
                    undo["archived"].append(session_id)
            along = {} if come_along is None else await come_along(connection)
            details = {**lines[0].details, "undo": undo, ALONG: along}
            await self._lines.add(connection, [replace(lines[0], details=details), *lines[1:]])
            await _forget_claims(connection, job_id)
            return along

    async def _with(
        self, connection: AsyncConnection, session: Session, result: Built, job_id: str
    ) -> Session:
        at = now()
        is_new = session.state is State.PROVISIONING
        if is_new:
            session = replace(session, state=State.ACTIVE)
        else:
            await self._retire(connection, session, job_id, at)
            await self._replaced.take(
                connection, session, job_id, result.dropped_documents, result.kept
            )
        if not await self._spares.adopt(connection, result.collection):
            raise VerificationFailed(f"Collection {result.collection} was given up meanwhile")
        await connection.execute(
            sa.update(documents)
            .where(documents.c.session_id == session.id, documents.c.job_id == job_id)
            .values(is_current=True)
        )
        return replace(
            session,
            collection=result.collection,
            points_count=result.points,
            chunks_count=result.chunks,
            next_seq=max(result.next_seq, session.next_seq),
            hidden_stages=(),
            embedding=result.embedding or session.embedding,
            removals=session.removals + (not is_new),
            metadata={**session.metadata, **result.metadata},
            lineage={**session.lineage, **result.lineage},
            updated_at=at,
            last_activity_at=at,
        )

    async def _documents(self, connection: AsyncConnection, session_id: str) -> int:
        query = sa.select(sa.func.count()).where(
            documents.c.session_id == session_id, documents.c.is_current
        )
        return int(await connection.scalar(query) or 0)

    async def _retire(
        self, connection: AsyncConnection, session: Session, job_id: str, at: datetime
    ) -> None:
        """The collection that a session had is kept until it is too late to undo."""
        await self._spares.reserve(
            connection,
            session.collection,
            session_id=session.id,
            until=at + self._undo,
            job_id=job_id,
        )

    async def take_back(self, job_id: str, builds: Mapping[str, str], busy: Sequence[str]) -> bool:
        """Nothing stays of a transfer that failed; False where it had been concluded already.

        `builds` names the collection that was being built for each session.
        """
        async with self._database.read() as connection:
            if await self._lines.of_job(connection, job_id):
                return False
        for session_id, collection in builds.items():
            await self._spares.drop(collection)
            async with self._repository.transaction() as connection:
                session = await self._repository.lock(connection, session_id)
                if session is None:
                    continue
                if session.made_by == job_id and session.state is State.PROVISIONING:
                    await self._purge.begin(connection, session, Reason.UNFINISHED)
                else:
                    mine = await self._rows.all_of_job(connection, job_id)
                    await self._rows.remove(
                        connection, [d for d in mine if d.session_id == session_id]
                    )
        async with self._repository.transaction() as connection:
            await _forget_claims(connection, job_id)
            for session_id in sorted(busy):
                session = await self._repository.lock(connection, session_id)
                if session is not None and session.busy_job == job_id:
                    await self._repository.save(
                        connection, session, replace(session, busy_job=None)
                    )
        return True

    async def _visible(self, connection: AsyncConnection, session_id: str) -> Session:
        session = await self._repository.lock(connection, session_id)
        if session is None or not session.state.is_visible:
            raise QuireError(f"Session {session_id} is gone")
        return session


def _before(session: Session, result: Built) -> dict[str, Any]:
    """What undoing has to know of a session that the transfer changed."""
    return {
        "points": session.points_count,
        "chunks": session.chunks_count,
        "collection": session.collection,
        "updated_at": session.updated_at.isoformat(),
        "hidden_stages": list(session.hidden_stages),
        "metadata": {key: session.metadata.get(key) for key in result.metadata},
        "lineage": {key: session.lineage.get(key) for key in result.lineage},
        "embedding": asdict(session.embedding),
        "documents": result.kept,
    }


async def _forget_claims(connection: AsyncConnection, job_id: str) -> None:
    await connection.execute(sa.delete(claims).where(claims.c.job_id == job_id))
