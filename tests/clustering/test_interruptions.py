"""Clusterings that are interrupted while they write labels: all of them are there, or none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from quire.clustering import job as clustering_job
from quire.clustering.requests import Algorithm, ClusterRequest
from quire.errors import ClusteringNotFound, Conflict, InvalidInput
from quire.jobs.port import JobStatus
from quire.settings import JobSettings
from quire.store.tables import blob_references
from tests.clustering.planted import clustered, ended, labels_of, planted, records, with_clusters
from tests.points.workspace import on_edge
from tests.sessions.house import ADA, create, row_count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from quire.app import Quire
    from quire.sessions.models import Session
    from quire.vectors.port import Point

IMPATIENT = JobSettings(poll_seconds=0.05, lease_seconds=1, grace_seconds=0.1)
MANY = 700
REQUEST = ClusterRequest(algorithm=Algorithm.KMEANS, clusters=2)


@pytest.fixture(autouse=True)
def _portions_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering_job, "PATIENCE_SECONDS", 0.0)


async def with_many(quire: Quire) -> Session:
    """More points than are labelled in one portion."""
    session = await create(quire, dimension=24)
    for subject in (0, 1):
        points = planted(subject, MANY, first_id=subject * MANY)
        await quire.points.upsert(ADA, session.id, points)
    return session


def at_the_second_portion(quire: Quire, meet: Callable[[], Any]) -> None:
    """Have something happen when labels are being written, and some are."""
    upsert, written = quire.engine.upsert, 0

    async def interrupted(name: str, points: Sequence[Point], **how: Any) -> None:
        nonlocal written
        if any("cluster" in point.payload for point in points):
            written += 1
            if written == 4:
                await meet()
        await upsert(name, points, **how)

    quire.engine.upsert = interrupted  # type: ignore[method-assign]


async def test_stopped_in_its_midst_it_goes_on_where_it_was(tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def wait_for_the_end() -> None:
        arrived.set()
        await asyncio.Event().wait()

    # given a clustering that writes its labels
    async with on_edge(tmp_path, jobs=IMPATIENT) as quire:
        session = await with_many(quire)
        at_the_second_portion(quire, wait_for_the_end)
        job_id = await quire.clustering.begin(ADA, session.id, REQUEST)
        async with asyncio.timeout(30):
            await arrived.wait()
        # then the session is held for it
        with pytest.raises(Conflict, match=job_id):
            await quire.points.upsert(ADA, session.id, planted(0, 1, first_id=9_000))
        # when the process goes away
    # then the next one brings it to its end
    async with on_edge(tmp_path, jobs=IMPATIENT) as quire:
        job = await ended(quire, job_id)
        assert job.result is not None
        assert job.result["points"] == 2 * MANY
        scrolled = await records(quire, session)
        assert len(labels_of(scrolled, 0)) == 1
        counts = await quire.points.facets(ADA, session.id, "cluster", limit=10)
        assert [one.count for one in counts] == [MANY, MANY]
        assert (await quire.sessions.get(ADA, session.id)).busy_job is None


async def test_what_fails_in_its_midst_leaves_no_labels(tmp_path: Path) -> None:
    async def fail() -> None:
        raise InvalidInput("The engine refuses")

    async with on_edge(tmp_path) as quire:
        session = await with_many(quire)
        at_the_second_portion(quire, fail)
        job_id = await quire.clustering.begin(ADA, session.id, REQUEST)
        job = await ended(quire, job_id, JobStatus.FAILED)
        assert job.error is not None
        assert job.error["message"] == "The engine refuses"
        found = await records(quire, session)
        assert all(record.payload.keys() == {"text", "subject"} for record in found)
        with pytest.raises(ClusteringNotFound):
            await quire.clustering.described(ADA, session.id)
        assert await row_count(quire, blob_references, session.id) == 0
        # and whoever comes next may write
        await quire.points.upsert(ADA, session.id, planted(0, 1, first_id=9_000))


async def test_what_fails_while_points_join_leaves_the_clusters(tmp_path: Path) -> None:
    async def fail() -> None:
        raise InvalidInput("The engine refuses")

    async with on_edge(tmp_path) as quire:
        session = await with_clusters(quire)
        await clustered(quire, session, algorithm=Algorithm.KMEANS, clusters=3)
        for start in (0, MANY):
            new = planted(0, MANY, first_id=5_000 + start, seed=3)
            await quire.points.upsert(ADA, session.id, new)
        at_the_second_portion(quire, fail)
        job_id = await quire.clustering.begin(ADA, session.id, ClusterRequest(incremental=True))
        await ended(quire, job_id, JobStatus.FAILED)
        told = await quire.clustering.described(ADA, session.id)
        assert 0 < told.stale < 2 * MANY
        # they are of the same clustering, so the next one goes on
        job = await ended(
            quire, await quire.clustering.begin(ADA, session.id, ClusterRequest(incremental=True))
        )
        assert job.result is not None
        assert (await quire.clustering.described(ADA, session.id)).stale == 0
