"""Clustering as callers see it: begun, described, drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from quire.access.policy import Role
from quire.access.principal import Principal
from quire.blobs.ledger import BlobLedger
from quire.blobs.port import BlobStore
from quire.clustering.discovery import Discovery
from quire.clustering.job import KIND, ClusterJob, outdated, unlabelled
from quire.clustering.model import NOISE
from quire.clustering.requests import (
    MAX_CLUSTERS,
    MIN_POINTS,
    ClusterRequest,
    Coordinates,
    Fields,
)
from quire.clustering.rows import Clustering as Row
from quire.clustering.rows import ClusteringRows
from quire.errors import ClusteringNotFound, Conflict
from quire.jobs.port import JobFilter, JobRequest, Jobs, JobStatus
from quire.points.facets import counted_values
from quire.points.visibility import consistent, visible
from quire.sessions.lifecycle import State
from quire.sessions.models import Session
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import Sessions, require_not_deleted
from quire.settings import ClusteringSettings
from quire.store.database import Database
from quire.vectors.port import AllOf, Condition, Match, Missing, NoneOf, PointId, VectorEngine


@dataclass(frozen=True, slots=True)
class Clustered:
    """A session's last clustering, with as many points as are in its clusters now."""

    row: Row
    noise: int
    stale: int
    """Points that have no label: they came later, or have no vector."""
    is_current: bool
    """False once the session was embedded anew; then new points cannot be given to the clusters."""


@dataclass(frozen=True, slots=True)
class Place:
    """A point in the drawing."""

    id: PointId
    x: float
    y: float
    cluster: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """A page of a drawing, in the order of the ids."""

    places: Sequence[Place]
    next_cursor: PointId | None


class Clustering:
    """Begins clusterings and tells of them, on behalf of a caller."""

    def __init__(
        self,
        database: Database,
        sessions: Sessions,
        repository: SessionRepository,
        engine: VectorEngine,
        blobs: BlobStore,
        ledger: BlobLedger,
        jobs: Jobs,
        folders: Callable[[], AbstractAsyncContextManager[Path]],
        settings: ClusteringSettings,
    ) -> None:
        self._sessions = sessions
        self._repository = repository
        self._engine = engine
        self._jobs = jobs
        self._rows = ClusteringRows(database, ledger)
        discovery = Discovery(engine, folders, settings)
        ClusterJob(sessions, repository, self._rows, engine, blobs, ledger, discovery, jobs)

    async def begin(self, principal: Principal, session_id: str, request: ClusterRequest) -> str:
        """Submit the job. Until it writes labels, at its end, the session may be written to."""
        request = request.checked()
        if request.incremental:
            session = await self._sessions.get(principal, session_id)
            row = await self._rows.get(session_id)
            if row is None:
                raise _not_clustered(session_id)
            if not row.is_of(session):
                raise outdated(session)
        async with self._repository.transaction() as connection:
            session = await self._sessions.lock(connection, principal, session_id, Role.WRITE)
            _require_active(session)
            return await self._jobs.submit(
                connection,
                JobRequest(
                    KIND,
                    sessions=[session_id],
                    parameters=request.as_json(),
                    owner_id=principal.subject,
                ),
            )

    async def follow(self, principal: Principal, session: Session) -> str | None:
        """Have new content clustered, for who only says that there is some; answers the job.

        New points join the clusters that are there. Where there are none, or only of another model,
        all are clustered, as the session's `clustering_params` say. A job that waits will do.
        None where there is nothing to do it with: too few points, or the session is not active.
        """
        if session.points_count < MIN_POINTS or session.state is not State.ACTIVE:
            return None
        waiting = JobFilter(session_id=session.id, kind=KIND, status=JobStatus.QUEUED)
        for job in await self._jobs.find(waiting, limit=1):
            return job.id
        row = await self._rows.get(session.id)
        if row is not None and row.is_of(session):
            request = ClusterRequest(incremental=True)
        else:
            request = ClusterRequest.configured(session.configuration.clustering_params)
        try:
            return await self.begin(principal, session.id, request)
        except (Conflict, ClusteringNotFound):
            return None  # it was archived, or embedded anew, at this very moment

    async def described(self, principal: Principal, session_id: str) -> Clustered:
        """The clusters, as large as they are now."""
        session, row = await self._clustered(principal, session_id)
        fields = Fields(row.request.field)

        async def read(session: Session) -> tuple[dict[int, int], int]:
            counted = await counted_values(
                self._engine, session, fields.label, None, MAX_CLUSTERS + 1
            )
            stale = await self._engine.count(session.collection, unlabelled(session, row.request))
            return {int(one.value): one.count for one in counted}, stale

        sizes, stale = await consistent(self._sessions, session, read)
        clusters = [replace(one, size=sizes.get(one.label, 0)) for one in row.clusters]
        return Clustered(
            replace(row, clusters=clusters), sizes.get(NOISE, 0), stale, row.is_of(session)
        )

    async def drawing(
        self,
        principal: Principal,
        session_id: str,
        *,
        cluster: int | None = None,
        cursor: PointId | None = None,
        limit: int = 1_000,
    ) -> Drawing:
        """Where points are in the drawing: all, or those of one cluster."""
        session, row = await self._clustered(principal, session_id)
        if row.request.coordinates is Coordinates.NONE:
            raise Conflict(
                f"Session {session_id} was clustered without coordinates",
                recovery="Cluster it again with coordinates: pca or umap.",
            )
        fields = Fields(row.request.field)
        drawn: list[Condition] = [
            NoneOf([Missing(name)]) for name in (fields.label, fields.x, fields.y)
        ]
        if cluster is not None:
            drawn.append(Match(fields.label, [cluster]))

        async def read(session: Session) -> Drawing:
            page = await self._engine.scroll(
                session.collection,
                filter=visible(session, AllOf(drawn)),
                cursor=cursor,
                limit=limit,
            )
            places = [
                Place(
                    record.id,
                    record.payload[fields.x],
                    record.payload[fields.y],
                    record.payload[fields.label],
                )
                for record in page.records
            ]
            return Drawing(places, page.next_cursor)

        return await consistent(self._sessions, session, read)

    async def _clustered(self, principal: Principal, session_id: str) -> tuple[Session, Row]:
        session = await self._sessions.get(principal, session_id)
        row = await self._rows.get(session_id)
        if row is None:
            raise _not_clustered(session_id)
        return await self._sessions.awake(session), row


def _not_clustered(session_id: str) -> ClusteringNotFound:
    return ClusteringNotFound(f"Session {session_id} was not clustered yet")


def _require_active(session: Session) -> None:
    require_not_deleted(session)
    if session.state is not State.ACTIVE:
        raise Conflict(
            f"Session {session.id} is {session.state.value}",
            recovery="Restore the session, then cluster it.",
        )
