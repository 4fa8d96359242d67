"""The job that clusters a session.

First the clusters are found, which reads only and can be called off. Then the session is held, so
that nobody writes to it, and every point gets its label; from there on the job goes through to its
end, after whatever kill. Where it cannot, it takes all labels away again: a session has those of
one clustering, or none.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from quire.blobs.ledger import BlobLedger
from quire.blobs.port import BlobStore
from quire.clustering.discovery import Discovery
from quire.clustering.labelling import Labeller, Labelling
from quire.clustering.model import NOISE, ClusterModel
from quire.clustering.requests import MAX_CLUSTERS, ClusterRequest, Coordinates, Fields
from quire.clustering.rows import Cluster, Clustering, ClusteringRows, embedding_told
from quire.errors import ClusteringNotFound, Conflict, LimitExceeded
from quire.jobs.port import JobContext, JobKind, Jobs
from quire.points.facets import MAX_INDEXES
from quire.points.visibility import visible
from quire.sessions.models import Session
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import Sessions
from quire.store.columns import now
from quire.vectors.port import (
    AllOf,
    Condition,
    IndexKind,
    Missing,
    NoneOf,
    PointId,
    VectorEngine,
)

KIND = "cluster"
PATIENCE_SECONDS = 8.0
LOOK_SECONDS = 0.5


class ClusterJob:
    """Runs clusterings, full and incremental."""

    def __init__(
        self,
        sessions: Sessions,
        repository: SessionRepository,
        rows: ClusteringRows,
        engine: VectorEngine,
        blobs: BlobStore,
        ledger: BlobLedger,
        discovery: Discovery,
        jobs: Jobs,
    ) -> None:
        self._sessions = sessions
        self._repository = repository
        self._rows = rows
        self._engine = engine
        self._blobs = blobs
        self._ledger = ledger
        self._discovery = discovery
        self._labelling = Labelling(engine)
        self._jobs = jobs
        jobs.register(JobKind(KIND, self._run, compensate=self._take_back))

    async def _run(self, context: JobContext) -> Mapping[str, Any]:
        request = ClusterRequest.from_json(context.parameters)
        find = self._recall if request.incremental else self._find
        found = await context.step("find", find, context)
        # Cancelled before this step, or not at all.
        await context.step("hold", self._hold, context)
        context.finishing()
        if not request.incremental:
            await context.step("clear", self._clear_others, context)
        cursor: PointId | None = None
        done = number = 0
        while cursor is not None or not number:
            number += 1
            cursor, done = await context.step(
                f"portion {number}", self._portion, context, found, cursor, done
            )
        counts = await context.step("conclude", self._conclude, context, found)
        await context.progress(counts["points"], counts["points"], "points")
        return {
            "algorithm": found["request"]["algorithm"],
            "incremental": request.incremental,
            "sampled": found["sampled"],
            **counts,
        }

    async def _find(self, context: JobContext) -> Mapping[str, Any]:
        """The clusters, their model in the blob store; nothing when the job is cancelled."""
        request = ClusterRequest.from_json(context.parameters)
        session = await self._session(context)
        await self._require_indexable(session, request.field)
        looked_at = time.monotonic()

        async def wanted() -> bool:
            nonlocal looked_at
            if time.monotonic() - looked_at < LOOK_SECONDS:
                return True
            looked_at = time.monotonic()
            return not (await self._jobs.get(context.job_id)).cancel_requested

        async def told(done: int, total: int) -> None:
            await context.progress(done, total, "sampled points")

        found = await self._discovery.run(session, request, wanted, told)
        if found is None:
            return {}

        async def content() -> AsyncIterator[bytes]:
            yield found.model

        blob = await self._ledger.put(content())
        async with self._repository.transaction() as connection:
            await self._rows.hold(connection, session.id, context.job_id, blob.sha256)
        return {
            "request": request.as_json(),
            "model": blob.sha256,
            "clusters": found.clusters,
            "sampled": found.sampled,
        }

    async def _recall(self, context: JobContext) -> Mapping[str, Any]:
        """The clusters that were found before, for points that came later."""
        session = await self._session(context)
        row = await self._rows.get(session.id)
        if row is None:
            raise ClusteringNotFound
        if not row.is_of(session):
            raise outdated(session)
        await self._require_indexable(session, row.request.field)
        return {
            "request": row.request.as_json(),
            "model": row.model_sha256,
            "clusters": [asdict(cluster) for cluster in row.clusters],
            "sampled": 0,
        }

    async def _require_indexable(self, session: Session, field: str) -> None:
        indexes = (await self._engine.info(session.collection)).indexes
        kind = indexes.get(field, IndexKind.INTEGER)
        if kind is not IndexKind.INTEGER:
            raise Conflict(
                f"{field} of session {session.id} is indexed as {kind.value}: its points have "
                "labels of another kind there",
                recovery="Name another `field` for the labels.",
            )
        if field not in indexes and len(indexes) >= MAX_INDEXES:
            raise LimitExceeded(
                f"{len(indexes)} fields of session {session.id} are indexed, and labels need one "
                f"more; the most is {MAX_INDEXES}",
                recovery="Name a `field` that is indexed already and holds integers.",
            )

    async def _hold(self, context: JobContext) -> None:
        async with self._repository.transaction() as connection:
            session = await self._repository.lock(connection, context.sessions[0])
            if session is None or not session.state.is_visible:
                raise Conflict("The session is gone", recovery="Nothing is left to do.")
            if session.busy_job == context.job_id:
                return  # an earlier run of this step got as far as the commit
            if session.busy_job is not None:
                raise Conflict(
                    f"Session {session.id} is taken up by job {session.busy_job}",
                    recovery="Wait until that job is done, then cluster again.",
                )
            held = replace(session, busy_job=context.job_id)
            await self._repository.save(connection, session, held)

    async def _clear_others(self, context: JobContext) -> None:
        """Labels of points that are not clustered now are those of another clustering."""
        request = ClusterRequest.from_json(context.parameters)
        session = await self._session(context)
        if (chosen := request.condition()) is not None:
            others = visible(session, NoneOf([chosen]))
            await self._labelling.clear(session.collection, others, Fields(request.field))

    async def _portion(
        self,
        context: JobContext,
        found: Mapping[str, Any],
        cursor: PointId | None,
        done: int,
    ) -> tuple[PointId | None, int]:
        """Label points for a while; answers where to go on, and how many it is."""
        session = await self._session(context)
        request = ClusterRequest.from_json(found["request"])
        condition, before = visible(session, request.condition()), 0
        if ClusterRequest.from_json(context.parameters).incremental:
            condition, before = unlabelled(session, request), done
        content = b"".join([block async for block in self._blobs.get(found["model"])])
        labeller = Labeller(
            ClusterModel.loaded(content),
            [cluster["name"] for cluster in found["clusters"]],
            Fields(request.field),
            drawn=request.coordinates is not Coordinates.NONE,
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        total = before + await self._engine.count(session.collection, condition)

        async def may_go_on(written: int) -> bool:
            nonlocal done
            done += written
            await context.progress(min(done, total), total, "points")
            return time.monotonic() < deadline

        following = await self._labelling.write(
            session.collection, condition, cursor, labeller, may_go_on
        )
        return following, done

    async def _conclude(self, context: JobContext, found: Mapping[str, Any]) -> Mapping[str, int]:
        """Count, keep what was found, and let writers in again; answers how much it is."""
        session = await self._session(context)
        request = ClusterRequest.from_json(found["request"])
        is_incremental = ClusterRequest.from_json(context.parameters).incremental
        collection = session.collection
        await self._engine.create_index(collection, request.field, IndexKind.INTEGER)
        await self._engine.flush(collection)
        counted = await self._engine.facet(
            collection, request.field, filter=visible(session), limit=MAX_CLUSTERS + 1
        )
        sizes = {int(one.value): one.count for one in counted}
        row = await self._rows.get(session.id) if is_incremental else None
        clusters = [
            Cluster(**{**told, "size": sizes.get(told["label"], 0)}) for told in found["clusters"]
        ]
        row = Clustering(
            session_id=session.id,
            job_id=context.job_id if row is None else row.job_id,
            request=request,
            clusters=clusters,
            model_sha256=found["model"],
            points_count=sum(sizes.values()),
            embedding=embedding_told(session),
            created_at=now() if row is None else row.created_at,
        )
        answer = {
            "clusters": len(clusters),
            "points": row.points_count,
            "noise": sizes.get(NOISE, 0),
        }
        async with self._repository.transaction() as connection:
            locked = await self._repository.lock(connection, session.id)
            if locked is None or locked.busy_job != context.job_id:
                return answer  # an earlier run of this step got as far as the commit
            await self._rows.put(connection, row)
            at, stats = now(), locked.processing_stats
            new = 0 if is_incremental else len(clusters)
            stats = replace(
                stats,
                clusters_generated=stats.clusters_generated + new,
                last_processing_time=at,
            )
            freed = replace(
                locked,
                busy_job=None,
                processing_stats=stats,
                updated_at=at,
                last_activity_at=at,
            )
            await self._repository.save(connection, locked, freed)
        return answer

    async def _take_back(self, context: JobContext) -> None:
        if is_mixed := await context.step("look", self._is_mixed, context):
            await context.step("take labels away", self._clear_all, context)
        await context.step("free", self._free, context, is_mixed)

    async def _is_mixed(self, context: JobContext) -> bool:
        """Whether labels of two clusterings may be there; incremental ones are of the same."""
        session = await self._repository.latest(context.sessions[0])
        is_held = session is not None and session.busy_job == context.job_id
        return is_held and not context.parameters["incremental"]

    async def _clear_all(self, context: JobContext) -> None:
        session = await self._session(context)
        fields = Fields(context.parameters["field"])
        await self._labelling.clear(session.collection, visible(session), fields)

    async def _free(self, context: JobContext, is_cleared: bool) -> None:
        async with self._repository.transaction() as connection:
            session = await self._repository.lock(connection, context.sessions[0])
            if session is None:
                return
            if is_cleared:
                await self._rows.remove(connection, session.id)
            await self._rows.let_go(connection, session.id, context.job_id)
            if session.busy_job == context.job_id:
                freed = replace(session, busy_job=None)
                await self._repository.save(connection, session, freed)

    async def _session(self, context: JobContext) -> Session:
        """The session as it is, its collection in the engine."""
        session = await self._repository.get(context.sessions[0])
        if session is None:
            raise Conflict("The session is gone", recovery="Nothing is left to do.")
        return await self._sessions.awake(session)


def unlabelled(session: Session, request: ClusterRequest) -> Condition:
    """The points that a clustering is of, and that have no label."""
    without: Condition = Missing(request.field)
    shown = visible(session, request.condition())
    return without if shown is None else AllOf([shown, without])


def outdated(session: Session) -> Conflict:
    """What to say when the vectors are no longer those that clusters were found in."""
    return Conflict(
        f"Session {session.id} was embedded anew since it was clustered",
        recovery="Cluster it as a whole: leave incremental out.",
    )
