"""Clustering: a session's points find their groups, and new points join them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response

from quire.points.requests import address
from quire_api.authentication import Caller
from quire_api.clustering_shapes import (
    ClusteringNoted,
    ClusterSession,
    ClustersShape,
    PlaceShape,
    clusters_shape,
)
from quire_api.http import (
    PageSize,
    TheQuire,
    Wait,
    job_shape,
    json_response,
    next_link,
    require_not_failed,
)
from quire_api.problems import problem_responses
from quire_api.routers.jobs import JobShape

router = APIRouter(prefix="/sessions/{session_id}", tags=["clustering"])

STILL: dict[int | str, dict[str, Any]] = {
    202: {"model": JobShape, "description": "a job is still at it; `Location` is where it is"}
}


@router.post(
    "/cluster",
    response_model=ClustersShape,
    responses={**STILL, **problem_responses(400, 401, 403, 404, 409, 410, 413, 422, 500, 503)},
)
async def cluster_session(
    session_id: str,
    caller: Caller,
    quire: TheQuire,
    wait: Wait,
    body: ClusterSession | None = None,
) -> Response:
    """Find clusters among the points, and write each point's label into its payload."""
    request = (body or ClusterSession()).request()
    job_id = await quire.clustering.begin(caller, session_id, request)
    job = await quire.jobs.wait(job_id, wait)
    require_not_failed(job)
    if job.result is None:
        return json_response(job_shape(job), 202, {"Location": f"/jobs/{job.id}"})
    found = await quire.clustering.described(caller, session_id)
    return json_response(clusters_shape(found), headers={"X-Quire-Job": job.id})


@router.get(
    "/clusters",
    response_model=ClustersShape,
    responses=problem_responses(401, 403, 404, 409, 410, 503),
)
async def list_clusters(session_id: str, caller: Caller, quire: TheQuire) -> Response:
    """The clusters that were found last, and how many points have come since."""
    found = await quire.clustering.described(caller, session_id)
    return json_response(clusters_shape(found))


@router.get(
    "/clusters/drawing",
    response_model=list[PlaceShape],
    responses=problem_responses(401, 403, 404, 409, 410, 422, 503),
)
async def draw_clusters(
    request: Request,
    session_id: str,
    caller: Caller,
    quire: TheQuire,
    limit: PageSize,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
    cluster: Annotated[
        int | None, Query(ge=-1, le=1_000, description="only the points with this label")
    ] = None,
) -> Response:
    """Where points are in two dimensions. The next page, if there is one, is in `Link`."""
    page = await quire.clustering.drawing(
        caller,
        session_id,
        cluster=cluster,
        cursor=None if cursor is None else address(cursor, "query parameter cursor"),
        limit=limit,
    )
    following = None if page.next_cursor is None else str(page.next_cursor)
    return json_response(page.places, headers=next_link(request, following))


@router.post(
    "/incremental-clustering",
    response_model=ClusteringNoted,
    responses=problem_responses(400, 401, 403, 404, 409, 410, 413, 422, 503),
)
async def incremental_clustering(
    session_id: str,
    caller: Caller,
    quire: TheQuire,
    new_content_ids: Annotated[list[str], Body(max_length=100_000)],
) -> Response:
    """Count new content, as the original service did, and have it clustered by a job.

    New points join the clusters that are there; where there are none, all points are clustered.
    """
    counts = {"content_analyzed": len(new_content_ids)}
    session = await quire.statistics.add(caller, session_id, counts, None)
    job_id = await quire.clustering.follow(caller, session)
    noted = {
        "message": "Incremental clustering triggered successfully",
        "session_id": session.id,
        "new_content_count": len(new_content_ids),
        "total_content_analyzed": session.processing_stats.content_analyzed,
    }
    if job_id is None:
        return json_response(noted)
    return json_response({**noted, "job_id": job_id}, headers={"X-Quire-Job": job_id})
