"""Jobs: long work, while it runs and after."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from quire.jobs.port import JobFilter, JobStatus
from quire_api.authentication import Caller
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

router = APIRouter(prefix="/jobs", tags=["operations"])

UNDOING: dict[str, Any] = {"description": "it is still being undone; `Location` is where"}


class ProgressShape(BaseModel):
    done: int
    total: int | None
    unit: str
    details: dict[str, int] = Field(description="other counts, by their names")


class JobShape(BaseModel):
    """A job."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "id": "1f0c5d5e-8f0e-4a58-a0a0-2b1f0f0c9a11",
                "kind": "purge",
                "session_id": "spring-archive",
                "status": "succeeded",
                "progress": {"done": 2, "total": 2, "unit": "steps", "details": {}},
                "result": {"session_id": "spring-archive", "reason": "asked"},
                "error": None,
                "cancel_requested": False,
                "created_at": "2026-11-20T09:30:00Z",
                "started_at": "2026-11-20T09:30:00Z",
                "finished_at": "2026-11-20T09:30:01Z",
            }
        },
    )

    id: str
    kind: str
    session_id: str | None
    status: JobStatus
    progress: ProgressShape
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@router.get("", response_model=list[JobShape], responses=problem_responses(401, 404, 422, 503))
async def list_jobs(
    request: Request,
    caller: Caller,
    quire: TheQuire,
    limit: PageSize,
    session_id: str | None = None,
    kind: str | None = None,
    status: JobStatus | None = None,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Your jobs, or those of a session that you may read; newest first."""
    filter = JobFilter(session_id=session_id, kind=kind, status=status)
    found = await quire.work.find(caller, filter, limit=limit + 1, before=cursor)
    page = found[:limit]
    last = page[-1].id if len(found) > limit else None
    return json_response([job_shape(job) for job in page], headers=next_link(request, last))


@router.get("/{job_id}", response_model=JobShape, responses=problem_responses(401, 404, 503))
async def get_job(job_id: str, caller: Caller, quire: TheQuire) -> Response:
    """A job as it stands."""
    return json_response(job_shape(await quire.work.get(caller, job_id)))


@router.post(
    "/{job_id}/cancel",
    response_model=JobShape,
    responses=problem_responses(401, 403, 404, 409, 503),
)
async def cancel_job(job_id: str, caller: Caller, quire: TheQuire) -> Response:
    """Ask for cancellation: a queued job ends at once, a running one after its present step."""
    return json_response(job_shape(await quire.work.cancel(caller, job_id)))


@router.post(
    "/{job_id}/undo",
    response_model=JobShape,
    responses={202: UNDOING, **problem_responses(401, 403, 404, 409, 503, 507)},
)
async def undo_job(
    job_id: str,
    caller: Caller,
    quire: TheQuire,
    wait: Wait,
    force: Annotated[
        bool, Query(description="even where a session was changed since: that is lost then")
    ] = False,
) -> Response:
    """Take back a merge, a split or a restored checkpoint; answers the job that does it."""
    undo_id = await quire.history.undo.begin(caller, job_id, force=force)
    job = await quire.jobs.wait(undo_id, wait)
    require_not_failed(job)
    status = 200 if job.status.is_final else 202
    return json_response(job_shape(job), status, {"Location": f"/jobs/{undo_id}"})
