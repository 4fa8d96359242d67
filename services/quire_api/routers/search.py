"""Searching one session, or several as if they were one; and moving one to another model."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field

from quire.jobs.port import JobStatus
from quire.retrieval.pages import QueryPage
from quire_api.authentication import Caller
from quire_api.http import TheQuire, Wait, job_shape, json_response, require_not_failed
from quire_api.problems import problem_responses
from quire_api.query_shapes import QueryPageShape, page_shape
from quire_api.routers.jobs import JobShape
from quire_api.search_shapes import Searching, SearchingSessions
from quire_api.shapes import Input, SessionShape, session_shape

router = APIRouter(tags=["search"])

OF_SEARCHING = problem_responses(400, 401, 404, 409, 410, 413, 422, 503)


class Reembed(Input):
    model_config = ConfigDict(json_schema_extra={"example": {"provider": "minilm"}})

    provider: str | None = Field(None, description="unset: what new sessions have")
    model: str | None = None


@router.post("/sessions/{session_id}/search", response_model=QueryPageShape, responses=OF_SEARCHING)
async def search_session(
    session_id: str, body: Searching, caller: Caller, quire: TheQuire
) -> Response:
    """Find chunks and points. The answer is the first page; its `query_id` leads to the others."""
    page = await quire.search.search(caller, [session_id], body.request(), body.asked())
    return _first(page, f"/sessions/{session_id}")


@router.post("/search", response_model=QueryPageShape, responses=OF_SEARCHING)
async def search_sessions(body: SearchingSessions, caller: Caller, quire: TheQuire) -> Response:
    """The same over several sessions; each result names its own in `session_id`."""
    page = await quire.search.search(caller, body.session_ids, body.request(), body.asked())
    return _first(page, "")


@router.post(
    "/sessions/{session_id}/reembed",
    response_model=SessionShape,
    responses={
        202: {"model": JobShape, "description": "the job still runs"},
        **problem_responses(400, 401, 403, 404, 409, 410, 422, 503),
    },
)
async def reembed_session(
    session_id: str, body: Reembed, caller: Caller, quire: TheQuire, wait: Wait
) -> Response:
    """Move the session to another model. Until it is done, reads see the old vectors."""
    job_id = await quire.reembedding.begin(caller, session_id, body.provider, body.model)
    job = await quire.jobs.wait(job_id, wait)
    require_not_failed(job)
    if job.status is not JobStatus.SUCCEEDED:
        return json_response(job_shape(job), 202, {"Location": f"/jobs/{job_id}"})
    return json_response(session_shape(await quire.sessions.get(caller, session_id)))


def _first(page: QueryPage, at: str) -> Response:
    headers = {}
    if page.has_next:
        headers["Link"] = f'<{at}/queries/{page.query_id}/pages/1>; rel="next"'
    return json_response(page_shape(page), headers=headers)
