"""Planted clusters are found, written to payloads, and told."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from quire.clustering import job as clustering_job
from quire.clustering.requests import Algorithm, ClusterRequest, Coordinates
from quire.errors import ClusteringNotFound, Conflict, Forbidden, InvalidInput, SessionNotFound
from quire.jobs.port import JobFilter, JobStatus
from quire.points.filters import parse_filter
from quire.points.requests import Selection
from quire.sessions.models import Configuration
from quire.store.tables import blob_references, clusterings
from quire.transfer.split_request import ByField, SplitRequest
from quire.vectors.floats import settled
from quire.vectors.port import Point
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
from tests.points.workspace import changed, on_edge, payload_of
from tests.sessions.house import ADA, ALAN, create, purged, row_count

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quire.app import Quire

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALL = sum(SIZES) + STRAYS


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quire]:
    async with on_edge(tmp_path_factory.mktemp("clustering")) as quire:
        yield quire


async def test_planted_clusters_are_found_and_told(quire: Quire) -> None:
    # given three planted clusters, some strays, and a point without a vector
    session = await with_clusters(quire)
    bare = Point(999, payload={"subject": None, "cluster": 7})
    await quire.engine.upsert(session.collection, [bare])
    # when they are clustered
    job = await clustered(quire, session, coordinates=Coordinates.PCA)
    # then each is a cluster, the largest first, and the strays are none
    assert job.result is not None
    assert (job.result["clusters"], job.result["noise"], job.result["points"]) == (3, STRAYS, ALL)
    found = await records(quire, session)
    assert [labels_of(found, subject) for subject in (0, 1, 2, -1)] == [{0}, {1}, {2}, {-1}]
    # and each point has what belongs to a label, in numbers that stay what they are
    for record in found:
        payload = record.payload
        if record.id == 999:
            assert payload == {"subject": None}  # what label it had is of no clustering
            continue
        assert payload["cluster_name"] == "noise" or payload["cluster"] >= 0
        assert 0 <= payload["cluster_probability"] <= 1
        assert (payload["cluster_probability"] == 0) == (payload["cluster"] == -1)
        numbers = [payload[f"cluster_{name}"] for name in ("distance", "x", "y")]
        assert all(isfinite(number) for number in numbers)
        assert settled(payload) == payload
    # and the clusters are told, named by the words that only their texts have
    told = await quire.clustering.described(ADA, session.id)
    assert [one.size for one in told.row.clusters] == list(SIZES)
    assert [one.name for one in told.row.clusters] == [
        "invoice, says, payment",
        "wren, toad, sing",
        "engine, drops, oil",
    ]
    assert (told.noise, told.stale, told.is_current) == (STRAYS, 1, True)
    assert all(0.5 < one.probability <= 1 and one.spread > 0 for one in told.row.clusters)
    # and the session counts them, and takes what is written again
    after = await quire.sessions.get(ADA, session.id)
    assert after.processing_stats.clusters_generated == 3
    assert after.processing_stats.last_processing_time is not None
    assert after.busy_job is None
    counts = await quire.points.facets(ADA, session.id, "cluster", limit=10)
    assert {one.value: one.count for one in counts} == {0: 60, 1: 45, 2: 30, -1: STRAYS}
    # and every point of the drawing is drawn once, near those of its cluster
    places = []
    cursor = None
    while cursor is not None or not places:
        page = await quire.clustering.drawing(ADA, session.id, cursor=cursor, limit=50)
        places += page.places
        cursor = page.next_cursor
    assert len({place.id for place in places}) == len(places) == ALL
    own = await quire.clustering.drawing(ADA, session.id, cluster=2)
    assert {place.cluster for place in own.places} == {2}
    assert len(own.places) == 30

    # when new points come
    new = planted(1, 20, first_id=2_000, seed=9) + planted(2, 5, first_id=2_100, seed=9)
    far = [{"id": 2_200, "vector": [0.0] * 23 + [-1.0], "payload": {"subject": -1}}]
    await quire.points.upsert(ADA, session.id, new + far)
    assert (await quire.clustering.described(ADA, session.id)).stale == 27
    old = {record.id: record.payload for record in await records(quire, session)}
    job = await clustered(quire, session, incremental=True)
    # then they join the clusters that are there, and what had a label keeps it
    found = await records(quire, session)
    assert [labels_of(found, subject) for subject in (1, 2, -1)] == [{1}, {2}, {-1}]
    assert [r.payload for r in found if r.id < 999] == [
        payload for identity, payload in old.items() if identity < 999
    ]
    assert {"cluster_x", "cluster_name"} <= (await payload_of(quire, session, 2_000)).keys()
    told = await quire.clustering.described(ADA, session.id)
    assert [one.size for one in told.row.clusters] == [60, 65, 35]
    assert (told.noise, told.stale) == (STRAYS + 1, 1)
    assert (await quire.sessions.get(ADA, session.id)).processing_stats.clusters_generated == 3

    # when the session is split by the clusters
    split = SplitRequest(by=ByField(field="cluster"), remove_points=False)
    job = await ended(quire, await quire.transfers.split.begin(ADA, session.id, split))
    assert job.result is not None
    # then there is one for each, the noise among them, called by its name
    parts = [await quire.sessions.peek(ADA, name) for name in job.result["new_session_ids"]]
    assert {part.name: part.points_count for part in parts} == {
        "s: invoice, says, payment": 60,
        "s: wren, toad, sing": 65,
        "s: engine, drops, oil": 35,
        "s: noise": STRAYS + 1,
    }
    # and when all are clustered anew, without a drawing and elsewhere, nothing is left of it
    await clustered(quire, session, algorithm=Algorithm.KMEANS, clusters=3)
    assert "cluster_x" not in await payload_of(quire, session, 100)
    with pytest.raises(Conflict, match="without coordinates"):
        await quire.clustering.drawing(ADA, session.id)
    assert await row_count(quire, clusterings, session.id) == 1
    assert await row_count(quire, blob_references, session.id) == 1
    await purged(quire, ADA, session.id)
    assert await row_count(quire, blob_references, session.id) == 0
    assert await row_count(quire, clusterings, session.id) == 0


async def test_only_what_a_filter_selects_is_clustered(quire: Quire) -> None:
    session = await with_clusters(quire)
    everything = Selection(everything=True)
    await quire.points.set_payload(ADA, session.id, {"cluster": 5, "cluster_name": "x"}, everything)
    filter = {"subject": [0, 1]}
    await clustered(quire, session, algorithm=Algorithm.KMEANS, clusters=2, filter=filter, seed=3)
    found = await records(quire, session)
    assert [labels_of(found, subject) for subject in (0, 1)] == [{0}, {1}]
    # what is left out has no label, least of all one of another clustering
    others = [r.payload for r in found if r.payload["subject"] not in (0, 1)]
    assert not any(name.startswith("cluster") for payload in others for name in payload)
    assert (await quire.clustering.described(ADA, session.id)).stale == 0
    with pytest.raises(InvalidInput, match="which this clustering writes"):
        ClusterRequest(filter={"cluster": 1}).checked()
    assert parse_filter(filter) is not None


async def test_too_few_points_are_refused_and_nothing_changes(quire: Quire) -> None:
    session = await create(quire, dimension=24)
    await quire.points.upsert(ADA, session.id, planted(0, 9, first_id=0))
    await quire.engine.upsert(session.collection, [Point(n) for n in range(50, 60)])
    job_id = await quire.clustering.begin(ADA, session.id, ClusterRequest())
    job = await ended(quire, job_id, JobStatus.FAILED)
    assert job.error is not None
    assert job.error["code"] == "invalid_input"
    assert "9 have a vector, and it takes at least 10" in job.error["message"]
    assert (await quire.sessions.get(ADA, session.id)).busy_job is None
    with pytest.raises(ClusteringNotFound):
        await quire.clustering.described(ADA, session.id)
    with pytest.raises(ClusteringNotFound):
        await quire.clustering.begin(ADA, session.id, ClusterRequest(incremental=True))


async def test_labels_of_another_kind_are_not_overwritten(quire: Quire) -> None:
    session = await create(quire, dimension=24)
    await quire.points.upsert(ADA, session.id, planted(0, 20, first_id=0))
    everything = Selection(everything=True)
    await quire.points.set_payload(ADA, session.id, {"cluster": "birds"}, everything)
    await quire.points.facets(ADA, session.id, "cluster", limit=10)
    job_id = await quire.clustering.begin(ADA, session.id, ClusterRequest())
    job = await ended(quire, job_id, JobStatus.FAILED)
    assert job.error is not None
    assert job.error["code"] == "conflict"
    assert (await payload_of(quire, session, 3))["cluster"] == "birds"


async def test_cancelled_it_leaves_the_session_as_it_was(
    quire: Quire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clustering_job, "LOOK_SECONDS", 0.0)
    session = await with_clusters(quire)
    before = await records(quire, session)
    job_id = await quire.clustering.begin(ADA, session.id, ClusterRequest())
    while (await quire.jobs.get(job_id)).progress.total is None:
        pass  # until its process is being waited for
    await quire.jobs.cancel(job_id)
    await ended(quire, job_id, JobStatus.CANCELLED)
    assert await records(quire, session) == before
    assert await row_count(quire, blob_references, session.id) == 0
    after = await quire.sessions.get(ADA, session.id)
    assert (after.busy_job, after.version) == (None, session.version + 1)  # the points' own


async def test_who_may_and_when(quire: Quire) -> None:
    session = await with_clusters(quire)
    with pytest.raises(SessionNotFound):
        await quire.clustering.begin(ALAN, session.id, ClusterRequest())
    with pytest.raises(SessionNotFound):
        await quire.clustering.described(ALAN, session.id)
    reader = replace(ADA, scope=type(ADA.scope)("read"))
    with pytest.raises(Forbidden):
        await quire.clustering.begin(reader, session.id, ClusterRequest())
    await quire.sessions.archive(ADA, session.id)
    with pytest.raises(Conflict, match="archived"):
        await quire.clustering.begin(ADA, session.id, ClusterRequest())


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"clusters": 3}, "clusters"),
        ({"algorithm": Algorithm.KMEANS, "clusters": 1}, "clusters"),
        ({"algorithm": Algorithm.KMEANS, "clusters": 1_001}, "clusters"),
        ({"algorithm": Algorithm.KMEANS, "min_cluster_size": 5}, "min_cluster_size"),
        ({"min_cluster_size": 1}, "min_cluster_size"),
        ({"field": "text"}, "field"),
        ({"field": "document_id"}, "field"),
        ({"field": "a.b"}, "field"),
        ({"seed": -1}, "seed"),
        ({"incremental": True, "seed": 3}, "incremental"),
        ({"filter": {"none": [{"cluster_x": {"gt": 1}}]}}, "filter"),
    ],
)
async def test_what_cannot_be_is_refused_by_the_field(asked: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        ClusterRequest(**asked).checked()
    assert refusal.value.field == field


async def test_content_that_is_announced_is_clustered(quire: Quire) -> None:
    # given a session that says how it wants to be clustered
    session = await with_clusters(quire)
    params = {"algorithm": "kmeans", "clusters": 3, "linkage": "ward"}
    session = await changed(quire, session, configuration=Configuration(clustering_params=params))
    # when content is announced before there are clusters
    job_id = await quire.clustering.follow(ADA, session)
    assert job_id is not None
    job = await ended(quire, job_id)
    # then all of it is clustered, so
    assert job.result is not None
    assert (job.result["algorithm"], job.result["incremental"]) == ("kmeans", False)
    # and afterwards only what is new
    await quire.points.upsert(ADA, session.id, planted(1, 3, first_id=5_000, seed=2))
    job_id = await quire.clustering.follow(ADA, session)
    assert job_id is not None
    job = await ended(quire, job_id)
    assert job.result is not None
    assert (job.result["incremental"], job.result["points"]) == (True, ALL + 3)
    # and vectors of another model join nothing
    embedding = replace(session.embedding, revision="2")
    session = await changed(quire, session, embedding=embedding)
    assert not (await quire.clustering.described(ADA, session.id)).is_current
    with pytest.raises(Conflict, match="embedded anew"):
        await quire.clustering.begin(ADA, session.id, ClusterRequest(incremental=True))
    # where there is nothing to cluster, nothing is begun
    empty = await create(quire)
    assert await quire.clustering.follow(ADA, empty) is None
    assert not await quire.jobs.find(JobFilter(session_id=empty.id))
