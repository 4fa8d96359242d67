"""Checkpoints: make them, compare them, go back to one."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response

from quire.app import Quire
from quire.jobs.port import JobStatus
from quire_api.authentication import Caller
from quire_api.checkpoint_shapes import (
    CheckpointShape,
    DeletedCheckpoint,
    DifferenceShape,
    PostCheckpoint,
    RestoredShape,
    checkpoint_shape,
    difference_shape,
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
from quire_api.shapes import session_shape

router = APIRouter(prefix="/sessions/{session_id}/checkpoints", tags=["transfer"])

WORKING: dict[int | str, dict[str, Any]] = {
    202: {"model": JobShape, "description": "a job still works on it; `Location` is where it is"}
}
OF_WRITING = problem_responses(400, 401, 403, 404, 409, 410, 413, 422, 503, 507)


@router.post(
    "", status_code=201, response_model=CheckpointShape, responses={**WORKING, **OF_WRITING}
)
async def create_checkpoint(
    session_id: str, body: PostCheckpoint, caller: Caller, quire: TheQuire, wait: Wait
) -> Response:
    """Keep what the session holds now, under a name. Meanwhile it takes no writes."""
    job_id = await quire.history.checkpoints.begin(caller, session_id, body.name)
    if (unfinished := await _unfinished(quire, job_id, wait)) is not None:
        return unfinished
    made = await quire.history.checkpoints.get(caller, session_id, body.name)
    location = f"/sessions/{session_id}/checkpoints/{quote(made.name, safe='')}"
    return json_response(checkpoint_shape(made), 201, {"Location": location})


@router.get(
    "", response_model=list[CheckpointShape], responses=problem_responses(401, 404, 410, 422, 503)
)
async def list_checkpoints(
    session_id: str,
    request: Request,
    caller: Caller,
    quire: TheQuire,
    limit: PageSize,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """The session's checkpoints, newest first."""
    found = await quire.history.checkpoints.page(caller, session_id, before=cursor, limit=limit + 1)
    page = found[:limit]
    last = page[-1].name if len(found) > limit else None
    return json_response(
        [checkpoint_shape(checkpoint) for checkpoint in page], headers=next_link(request, last)
    )


@router.get(
    "/{name}", response_model=CheckpointShape, responses=problem_responses(401, 404, 410, 503)
)
async def get_checkpoint(session_id: str, name: str, caller: Caller, quire: TheQuire) -> Response:
    """A checkpoint: what it holds, and of which moment."""
    found = await quire.history.checkpoints.get(caller, session_id, name)
    return json_response(checkpoint_shape(found))


@router.delete(
    "/{name}",
    response_model=DeletedCheckpoint,
    responses=problem_responses(401, 403, 404, 410, 503, 507),
)
async def delete_checkpoint(
    session_id: str, name: str, caller: Caller, quire: TheQuire
) -> Response:
    """Let a checkpoint go; the session stays as it is."""
    await quire.history.checkpoints.delete(caller, session_id, name)
    return json_response({"message": "Checkpoint deleted successfully"})


@router.post("/{name}/restore", response_model=RestoredShape, responses={**WORKING, **OF_WRITING})
async def restore_checkpoint(
    session_id: str, name: str, caller: Caller, quire: TheQuire, wait: Wait
) -> Response:
    """Make points and documents what they were then, all at once; undoing the job takes it back."""
    job_id = await quire.history.restore.begin(caller, session_id, name)
    if (unfinished := await _unfinished(quire, job_id, wait)) is not None:
        return unfinished
    session = await quire.sessions.peek(caller, session_id)
    return json_response({"job_id": job_id, "checkpoint": name, "session": session_shape(session)})


@router.get(
    "/{name}/diff",
    response_model=DifferenceShape,
    responses=problem_responses(401, 404, 410, 422, 503),
)
async def compare_checkpoint(
    session_id: str,
    name: str,
    caller: Caller,
    quire: TheQuire,
    limit: PageSize,
    to: Annotated[str, Query(max_length=200, description="another checkpoint, or `now`")] = "now",
) -> Response:
    """What was added, removed and changed since; `limit` ids of each kind are named."""
    found = await quire.history.diff.diff(caller, session_id, name, to, most=limit)
    return json_response(difference_shape(found))


async def _unfinished(quire: Quire, job_id: str, wait: float) -> Response | None:
    """What to answer while the job is not done; raises what it failed with."""
    job = await quire.jobs.wait(job_id, wait)
    require_not_failed(job)
    if job.status is JobStatus.SUCCEEDED:
        return None
    return json_response(job_shape(job), 202, {"Location": f"/jobs/{job_id}"})
