"""Clusterings over HTTP: asked for, waited for, told, drawn; and the original client's call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.api.service import assert_problem
from tests.clustering.planted import SIZES, STRAYS, planted
from tests.clustering.posted import filled

if TYPE_CHECKING:
    from tests.api.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_session_is_clustered_told_and_drawn(local: Service) -> None:
    client = local.client
    path = await filled(client)
    assert_problem(await client.get(f"{path}/clusters"), 404, "clustering_not_found")
    # when it is clustered, and waited for
    response = await client.post(f"{path}/cluster", json={"coordinates": "pca"})
    assert response.status_code == 200, response.text
    # then the answer is what was found, and it can be asked for again
    told: dict[str, Any] = response.json()
    assert response.headers["x-quire-job"] == told["job_id"]
    assert [one["size"] for one in told["clusters"]] == list(SIZES)
    assert [one["label"] for one in told["clusters"]] == [0, 1, 2]
    assert told["clusters"][0]["terms"][:2] == ["invoice", "says"]
    assert (told["noise"], told["stale"]) == (STRAYS, 0)
    assert told["points_count"] == sum(SIZES) + STRAYS
    assert (await client.get(f"{path}/clusters")).json() == told
    # and the drawing comes in pages that lead on
    page = await client.get(f"{path}/clusters/drawing?limit=100")
    rest = await client.get(page.links["next"]["url"])
    assert "next" not in rest.links
    places = page.json() + rest.json()
    assert len({place["id"] for place in places}) == len(places) == told["points_count"]
    assert places[0].keys() == {"id", "x", "y", "cluster"}
    noise = (await client.get(f"{path}/clusters/drawing?cluster=-1")).json()
    assert len(noise) == STRAYS
    # when a client of the original service tells of new content
    await client.put(f"{path}/points", json={"points": planted(2, 4, first_id=5_000, seed=1)})
    response = await client.post(f"{path}/incremental-clustering", json=["a", "b"])
    # then it is answered as ever, and the points join their cluster
    noted = response.json()
    assert response.headers["x-quire-job"] == noted.pop("job_id")
    assert noted == {
        "message": "Incremental clustering triggered successfully",
        "session_id": path.rpartition("/")[2],
        "new_content_count": 2,
        "total_content_analyzed": 2,
    }
    job = (await client.get(f"/jobs/{response.headers['x-quire-job']}")).json()
    assert job["kind"] == "cluster"
    done = await local.quire.jobs.wait(job["id"], 30)
    assert done.result is not None
    assert done.result["incremental"]
    told = (await client.get(f"{path}/clusters")).json()
    assert [one["size"] for one in told["clusters"]] == [60, 45, 34]
    # and what is noted about the session is as the original service has it
    stats = (await client.get(f"{path}/stats")).json()["session_stats"]
    assert (stats["clusters_generated"], stats["content_analyzed"]) == (3, 2)


async def test_who_does_not_wait_gets_the_job(local: Service) -> None:
    path = await filled(local.client)
    response = await local.client.post(
        f"{path}/cluster",
        json={"algorithm": "kmeans", "clusters": 3},
        headers={"Prefer": "wait=0"},
    )
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/jobs/{job['id']}"
    cancelled = await local.client.post(f"/jobs/{job['id']}/cancel")
    assert cancelled.status_code in (200, 202)
    await local.quire.jobs.wait(job["id"], 30)
    assert_problem(await local.client.get(f"{path}/clusters"), 404, "clustering_not_found")


async def test_what_cannot_be_clustered_is_told(local: Service) -> None:
    client = local.client
    session_id = (await client.post("/sessions", json={"name": "empty"})).json()["id"]
    path = f"/sessions/{session_id}"
    problem = assert_problem(await client.post(f"{path}/cluster"), 422, "invalid_input")
    assert "too few points" in problem["detail"]
    for body, about in (
        ({"algorithm": "dbscan"}, "algorithm"),
        ({"clusters": 3}, "clusters"),
        ({"incremental": True, "seed": 4}, "incremental"),
        ({"filter": {"cluster": 3}}, "filter"),
    ):
        response = await client.post(f"{path}/cluster", json=body)
        assert_problem(response, 422, about=about)
    response = await client.post(f"{path}/cluster", json={"incremental": True})
    assert_problem(response, 404, "clustering_not_found")
    # the original client's call counts all the same, and begins nothing
    response = await client.post(f"{path}/incremental-clustering", json=["a"])
    assert response.status_code == 200
    assert "job_id" not in response.json()
    assert "x-quire-job" not in response.headers
