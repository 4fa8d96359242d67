"""The session's own counters, after its points were written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from quire.access.policy import Role
from quire.access.principal import Principal
from quire.errors import Conflict
from quire.points.visibility import require_writable, visible, visible_chunks
from quire.sessions.models import Session
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import Sessions
from quire.store.columns import now
from quire.vectors.port import VectorEngine

ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted; what was not stays as it is."""

    points: int | None = None
    chunks: int | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What a write did besides: texts embedded, chunks taken away."""

    embedded: int = 0
    took_chunks: bool = False


NOTHING_ELSE = Done()
Count = Callable[[Session], Awaitable[Counts]]


class Counters:
    """Brings `points_count` and `chunks_count` up to date.

    The engine is written first and its points are counted afterwards, never reckoned from what was
    written: a kill in between leaves counts that are old, and the next write puts them right. The
    other way round the session would tell of points that nobody ever gets to see.
    """

    def __init__(
        self, sessions: Sessions, repository: SessionRepository, engine: VectorEngine
    ) -> None:
        self._sessions = sessions
        self._repository = repository
        self._engine = engine

    async def points(self, session: Session) -> Counts:
        """For writes that leave chunks alone."""
        return Counts(points=await self._engine.count(session.collection, visible(session)))

    async def points_and_chunks(self, session: Session) -> Counts:
        """For writes that may take chunks away."""
        chunks = await self._engine.count(session.collection, visible_chunks(session))
        return replace(await self.points(session), chunks=chunks)

    async def nothing(self, session: Session) -> Counts:
        """For writes after which there are as many as before."""
        return Counts()

    async def settle(
        self, principal: Principal, written: Session, count: Count, done: Done = NOTHING_ELSE
    ) -> Session:
        """Note a write that the engine has taken, if it went where the session's points are.

        It is counted before the row is locked, so that nobody waits for the engine; and again when
        the session changed meanwhile, so that of two writers the later counts the points of both.
        """
        for _ in range(ATTEMPTS):
            seen = await self._repository.get(written.id)
            counts = None if seen is None else await count(seen)
            async with self._locked(principal, written) as (connection, session):
                if seen is not None and counts is not None and session.version == seen.version:
                    return await self._save(connection, session, counts, done)
        async with self._locked(principal, written) as (connection, session):
            return await self._save(connection, session, await count(session), done)

    @asynccontextmanager
    async def _locked(
        self, principal: Principal, written: Session
    ) -> AsyncIterator[tuple[AsyncConnection, Session]]:
        async with self._repository.transaction() as connection:
            session = await self._sessions.lock(connection, principal, written.id, Role.WRITE)
            require_writable(session)
            if session.collection != written.collection:
                raise moved(session)
            yield connection, session

    async def _save(
        self, connection: AsyncConnection, session: Session, counts: Counts, done: Done
    ) -> Session:
        at = now()
        stats = session.processing_stats
        ttl = session.ttl_seconds
        new = replace(
            session,
            points_count=session.points_count if counts.points is None else counts.points,
            chunks_count=session.chunks_count if counts.chunks is None else counts.chunks,
            removals=session.removals + done.took_chunks,
            processing_stats=replace(
                stats,
                embeddings_created=stats.embeddings_created + done.embedded,
                last_processing_time=at,
            ),
            expires_at=session.expires_at if ttl is None else at + timedelta(seconds=ttl),
            updated_at=at,
            last_activity_at=at,
        )
        return await self._repository.save(connection, session, new)


class Moved(Conflict):
    """The session's points are in another collection than the one that was written to."""


def moved(session: Session) -> Moved:
    """What to say to who used the collection that the session had before."""
    return Moved(
        f"Session {session.id} moved meanwhile, and may lack what was just written",
        recovery="Repeat the request; if it was re-embedded, vectors of your own must be the new "
        "model's.",
    )
