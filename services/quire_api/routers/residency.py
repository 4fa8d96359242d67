"""Residency by hand: let a session go cold, wake it before it is needed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from quire_api.authentication import Caller
from quire_api.http import TheQuire, json_response
from quire_api.problems import problem_responses
from quire_api.shapes import SessionShape, session_shape

router = APIRouter(prefix="/sessions/{session_id}", tags=["residency"])


class ResidencyChanged(BaseModel):
    message: str
    session: SessionShape


@router.post(
    "/sleep",
    response_model=ResidencyChanged,
    responses=problem_responses(401, 403, 404, 409, 410, 422, 500, 503),
)
async def sleep_session(
    session_id: str,
    caller: Caller,
    quire: TheQuire,
    pack: Annotated[
        bool | None,
        Query(description="into the blob store, out of the engine; a server's always are"),
    ] = None,
) -> Response:
    """Let the session go cold now; its next use wakes it."""
    session = await quire.sessions.sleep(caller, session_id, pack=pack)
    return json_response({"message": "The session is cold", "session": session_shape(session)})


@router.post(
    "/wake",
    response_model=ResidencyChanged,
    responses=problem_responses(401, 403, 404, 409, 410, 500, 503),
)
async def wake_session(session_id: str, caller: Caller, quire: TheQuire) -> Response:
    """Wake the session now, so that its first use need not wait."""
    session = await quire.sessions.wake(caller, session_id)
    return json_response({"message": "The session is hot", "session": session_shape(session)})
