"""Transfers from session to session: merge, split, fork."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response

from quire.access.principal import Principal
from quire.jobs.port import Job
from quire_api.authentication import Caller
from quire_api.http import (
    TheQuire,
    Wait,
    job_shape,
    json_response,
    require_not_failed,
    session_response,
)
from quire_api.problems import problem_responses
from quire_api.routers.jobs import JobShape
from quire_api.shapes import SessionShape, session_shape
from quire_api.transfer_shapes import (
    ForkSession,
    MergeReportShape,
    MergeSessions,
    SplitReportShape,
    SplitSession,
    SplitShape,
)

router = APIRouter(prefix="/sessions", tags=["transfer"])

STILL: dict[int | str, dict[str, Any]] = {
    202: {"model": JobShape, "description": "a job is still at it; `Location` is where it is"}
}
OF_TRANSFERS = {**STILL, **problem_responses(400, 401, 403, 404, 409, 410, 413, 422, 500, 503)}


@router.post("/merge", response_model=SessionShape | MergeReportShape, responses=OF_TRANSFERS)
async def merge_sessions(
    body: MergeSessions, caller: Caller, quire: TheQuire, wait: Wait
) -> Response:
    """Merge sessions: their points keep their ids, and come with all that belongs to them."""
    merge, request = quire.transfers.merge, body.request()
    if body.dry_run:
        return json_response({"dry_run": True, **asdict(await merge.report(caller, request))})
    job = await _done(quire, await merge.begin(caller, request), wait)
    if job.result is None:
        return _still(job)
    return await _session(quire, caller, job, job.result["session_id"])


@router.post(
    "/{session_id}/split", response_model=SplitShape | SplitReportShape, responses=OF_TRANSFERS
)
async def split_session(
    session_id: str, body: SplitSession, caller: Caller, quire: TheQuire, wait: Wait
) -> Response:
    """Move points of a session into new ones, or copy them there."""
    split, request = quire.transfers.split, body.request()
    if body.dry_run:
        report = await split.report(caller, session_id, request)
        counts = report.findings.counts
        parts = zip(report.names, counts, strict=True)
        return json_response(
            {
                "dry_run": True,
                "parts": [{"name": name, "points": points} for name, points in parts],
                "assigned_points": sum(counts),
                "remaining_points": report.findings.points
                - (sum(counts) if request.remove_points else 0),
                **report.findings.answer(report.names),
            }
        )
    job = await _done(quire, await split.begin(caller, session_id, request), wait)
    if job.result is None:
        return _still(job)
    result = dict(job.result)
    new = [await quire.sessions.peek(caller, name) for name in result.pop("new_session_ids")]
    shown = {"new_sessions": [session_shape(session) for session in new], "job_id": job.id}
    return json_response({**shown, **result})


@router.post("/{session_id}/fork", response_model=SessionShape, responses=OF_TRANSFERS)
async def fork_session(
    session_id: str,
    caller: Caller,
    quire: TheQuire,
    wait: Wait,
    body: ForkSession | None = None,
) -> Response:
    """Make a session that has all that this one has; from then on they go their own ways."""
    source = await quire.sessions.get(caller, session_id)
    target = (body or ForkSession()).target(
        f"{source.name} (fork)", source.description, source.tags, source.metadata
    )
    job_id, new_id = await quire.transfers.fork.begin(caller, session_id, target)
    job = await _done(quire, job_id, wait)
    if job.result is None:
        return _still(job)
    return await _session(quire, caller, job, new_id)


async def _done(quire: TheQuire, job_id: str, wait: float) -> Job:
    """The job when it is done, or as it stands when the wait is over."""
    job = await quire.jobs.wait(job_id, wait)
    require_not_failed(job)
    return job


def _still(job: Job) -> Response:
    return json_response(job_shape(job), 202, {"Location": f"/jobs/{job.id}"})


async def _session(quire: TheQuire, caller: Principal, job: Job, session_id: str) -> Response:
    session = await quire.sessions.peek(caller, session_id)
    return session_response(session, {"Location": f"/sessions/{session.id}", "X-Quire-Job": job.id})
