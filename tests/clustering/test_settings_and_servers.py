"""Clustering elsewhere: on a server, of more points than a sample takes, within a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quire.clustering.requests import Algorithm, ClusterRequest
from quire.jobs.port import JobStatus
from quire.settings import ClusteringSettings
from tests.clustering.planted import (
    SIZES,
    STRAYS,
    clustered,
    ended,
    labels_of,
    planted,
    records,
    with_clusters,
)
from tests.points.workspace import on_edge, on_server
from tests.sessions.house import ADA

if TYPE_CHECKING:
    from pathlib import Path

    from tests.backends.qdrant import QdrantServer


async def test_a_sample_finds_the_clusters_of_all(tmp_path: Path) -> None:
    async with on_edge(tmp_path, clustering=ClusteringSettings(sample=200)) as quire:
        session = await with_clusters(quire)
        await quire.points.upsert(ADA, session.id, planted(0, 300, first_id=3_000, seed=4))
        for algorithm in Algorithm:
            count = 3 if algorithm is Algorithm.KMEANS else None
            job = await clustered(quire, session, algorithm=algorithm, clusters=count)
            assert job.result is not None
            assert job.result["sampled"] == 200
            assert job.result["clusters"] == 3
            found = await records(quire, session)
            for subject in range(3):
                own = [r.payload["cluster"] for r in found if r.payload["subject"] == subject]
                # HDBSCAN leaves out what is farther away than nearly all of the sample
                assert own.count(max(set(own), key=own.count)) >= 0.85 * len(own)


async def test_a_process_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    async with on_edge(tmp_path, clustering=ClusteringSettings(seconds=0.01)) as quire:
        session = await with_clusters(quire)
        job_id = await quire.clustering.begin(ADA, session.id, ClusterRequest())
        job = await ended(quire, job_id, JobStatus.FAILED)
        assert job.error is not None
        assert "QUIRE_CLUSTERING_SECONDS" in job.error["message"]


async def test_planted_clusters_are_found_on_a_server(
    tmp_path: Path, qdrant_server: QdrantServer
) -> None:
    async with on_server(tmp_path, qdrant_server) as quire:
        session = await with_clusters(quire)
        job = await clustered(quire, session)
        assert job.result is not None
        assert (job.result["clusters"], job.result["noise"]) == (3, STRAYS)
        found = await records(quire, session)
        assert [labels_of(found, subject) for subject in (0, 1, 2, -1)] == [{0}, {1}, {2}, {-1}]
        told = await quire.clustering.described(ADA, session.id)
        assert [one.size for one in told.row.clusters] == list(SIZES)
