"""Lifecycle: what a session goes through besides being made and deleted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from quire.jobs.port import JobStatus
from quire_api.authentication import Caller
from quire_api.http import IfMatch, TheQuire, Wait, json_response
from quire_api.problems import problem_responses
from quire_api.shapes import EndSession, SessionShape, session_shape

router = APIRouter(prefix="/sessions", tags=["lifecycle"])


class SessionMessage(BaseModel):
    message: str
    session: SessionShape


class Ended(BaseModel):
    success: bool
    message: str
    session: SessionShape | None = Field(description="null where ending removed it")


@router.post(
    "/{session_id}/archive",
    response_model=SessionMessage,
    responses=problem_responses(401, 403, 404, 409, 410, 412, 503),
)
async def archive_session(
    session_id: str, caller: Caller, quire: TheQuire, if_match: IfMatch = None
) -> Response:
    """Put the session aside; it can still be read, and restored."""
    session = await quire.sessions.archive(caller, session_id, if_match=if_match)
    return json_response(
        {"message": "Session archived successfully", "session": session_shape(session)}
    )


@router.post(
    "/{session_id}/restore",
    response_model=SessionMessage,
    responses=problem_responses(401, 403, 404, 409, 410, 412, 503),
)
async def restore_session(
    session_id: str, caller: Caller, quire: TheQuire, if_match: IfMatch = None
) -> Response:
    """Make an archived, deleted or ended session active again."""
    session = await quire.sessions.restore(caller, session_id, if_match=if_match)
    return json_response(
        {"message": "Session restored successfully", "session": session_shape(session)}
    )


@router.post(
    "/{session_id}/end",
    response_model=Ended,
    responses={
        202: {"description": "gone for everyone; a job still removes what it held"},
        **problem_responses(400, 401, 403, 404, 409, 410, 422, 503),
    },
)
async def end_session(
    session_id: str,
    caller: Caller,
    quire: TheQuire,
    wait: Wait,
    body: EndSession | None = None,
    delete: Annotated[
        bool | None,
        Query(description="remove it with everything it holds; unset: only if it is ephemeral"),
    ] = None,
) -> Response:
    """Record how the work came out, or remove an ephemeral session. Repeating it is harmless."""
    outcome = (body or EndSession()).outcome
    ended = await quire.conclusion.end(caller, session_id, outcome, remove=delete)
    shape = None if ended.session is None else session_shape(ended.session)
    answer = {"success": True, "message": "Session ended", "session": shape}
    if ended.job_id is not None:
        job = await quire.jobs.wait(ended.job_id, wait)
        if job.status is not JobStatus.SUCCEEDED:
            return json_response(answer, 202, {"Location": f"/jobs/{job.id}"})
    return json_response(answer)
