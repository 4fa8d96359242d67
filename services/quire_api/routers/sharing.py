"""Sharing: who else is in a session."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel

from quire.access.policy import Role
from quire_api.authentication import Caller
from quire_api.http import TheQuire, json_response, session_response
from quire_api.problems import problem_responses
from quire_api.shapes import SessionShape, ShareSession

router = APIRouter(prefix="/sessions/{session_id}", tags=["sharing"])


class CollaboratorShape(BaseModel):
    user_id: str
    role: Role


class Collaborators(BaseModel):
    session_id: str
    owner_id: str | None
    shared_with: list[str]
    total_collaborators: int
    group: str | None
    collaborators: list[CollaboratorShape]


class Message(BaseModel):
    message: str


@router.post(
    "/share",
    response_model=SessionShape,
    responses=problem_responses(400, 401, 403, 404, 409, 410, 422, 503),
)
async def share_session(
    session_id: str, body: ShareSession, caller: Caller, quire: TheQuire
) -> Response:
    """Give users a role in the session: read, write or admin."""
    session = await quire.sharing.share(caller, session_id, body.user_ids, body.role)
    return session_response(session)


@router.delete(
    "/share/{user_id}",
    response_model=Message,
    responses=problem_responses(401, 403, 404, 410, 503),
)
async def unshare_session(
    session_id: str, user_id: str, caller: Caller, quire: TheQuire
) -> Response:
    """Take a user's role away. Repeating it is harmless."""
    await quire.sharing.unshare(caller, session_id, user_id)
    return json_response({"message": "Session unshared successfully"})


@router.get(
    "/collaborators",
    response_model=Collaborators,
    responses=problem_responses(401, 403, 404, 410, 503),
)
async def collaborators(session_id: str, caller: Caller, quire: TheQuire) -> Response:
    """Who may do what; the owner counts as one."""
    session = await quire.sessions.get(caller, session_id)
    return json_response(
        {
            "session_id": session.id,
            "owner_id": session.owner_id,
            "shared_with": [c.user_id for c in session.collaborators],
            "total_collaborators": len(session.collaborators) + (session.owner_id is not None),
            "group": session.group,
            "collaborators": [
                {"user_id": c.user_id, "role": c.role.value} for c in session.collaborators
            ],
        }
    )
