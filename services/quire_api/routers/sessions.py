"""Sessions: create, list, read, change, delete."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel

from quire.jobs.port import JobStatus
from quire.sessions.listing import Order, SessionFilter
from quire.sessions.models import Outcome, Status
from quire_api.authentication import Caller
from quire_api.http import (
    IfMatch,
    PageSize,
    Since,
    TheQuire,
    Until,
    Wait,
    job_shape,
    json_response,
    names_etag,
    next_link,
    session_response,
)
from quire_api.problems import problem_responses
from quire_api.shapes import (
    CreateSession,
    PatchSession,
    SessionShape,
    UpdateSession,
    session_shape,
)

router = APIRouter(prefix="/sessions", tags=["lifecycle"])


class Deleted(BaseModel):
    message: str
    permanent: bool


@router.post(
    "",
    response_model=SessionShape,
    responses=problem_responses(400, 401, 403, 409, 410, 413, 422, 503),
)
async def create_session(
    body: CreateSession, caller: Caller, quire: TheQuire, request: Request
) -> Response:
    """Create a session and its collection. With an `id` of your own, repeating it is harmless."""
    new = body.request(request.scope.get("derived_id"))
    session, _ = await quire.creation.create(caller, new)
    return session_response(session, {"Location": f"/sessions/{session.id}"})


@router.get("", response_model=list[SessionShape], responses=problem_responses(401, 422, 503))
async def list_sessions(
    request: Request,
    caller: Caller,
    quire: TheQuire,
    limit: PageSize,
    status: Annotated[
        Status | None, Query(description="unset: active, shared and archived")
    ] = None,
    owner_id: str | None = None,
    user: Annotated[str | None, Query(description="owner or collaborator")] = None,
    group: str | None = None,
    tags: Annotated[str | None, Query(description="a,b: sessions with any of them")] = None,
    q: Annotated[str | None, Query(max_length=500, description="in name or description")] = None,
    outcome: Outcome | None = None,
    purpose: Annotated[str | None, Query(description="`purpose` in the metadata")] = None,
    tool: Annotated[str | None, Query(description="that was invoked in the session")] = None,
    since: Since = None,
    until: Until = None,
    sort: Annotated[Order, Query(description="newest first by this")] = Order.UPDATED,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """The sessions you may see. The next page, if there is one, is in the `Link` header."""
    filter = SessionFilter(
        status=status,
        owner_id=owner_id,
        user=user,
        group=group,
        tags=tuple(tag.strip() for tag in (tags or "").split(",") if tag.strip()),
        q=q,
        outcome=outcome,
        purpose=purpose,
        tool=tool,
        since=since,
        until=until,
    )
    page = await quire.listing.find(caller, filter, order=sort, cursor=cursor, limit=limit)
    shapes = [session_shape(session) for session in page.sessions]
    return json_response(shapes, headers=next_link(request, page.next_cursor))


@router.get(
    "/{session_id}",
    response_model=SessionShape,
    responses={
        304: {"description": "what If-None-Match names is what there is"},
        **problem_responses(401, 403, 404, 410, 503),
    },
)
async def get_session(
    session_id: str,
    caller: Caller,
    quire: TheQuire,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """A session; this counts as a use of it."""
    session = await quire.sessions.get(caller, session_id)
    if names_etag(if_none_match, session.etag):
        return Response(status_code=304, headers={"ETag": session.etag})
    return session_response(session)


@router.put(
    "/{session_id}",
    response_model=SessionShape,
    responses=problem_responses(400, 401, 403, 404, 409, 410, 412, 413, 422, 503),
)
async def update_session(
    session_id: str, body: UpdateSession, caller: Caller, quire: TheQuire, if_match: IfMatch = None
) -> Response:
    """Change what is given; metadata is merged."""
    session = await quire.sessions.update(
        caller, session_id, body.request(), status=body.status, if_match=if_match
    )
    return session_response(session)


@router.patch(
    "/{session_id}",
    response_model=SessionShape,
    responses=problem_responses(400, 401, 403, 404, 409, 410, 412, 413, 422, 503),
)
async def patch_session(
    session_id: str, body: PatchSession, caller: Caller, quire: TheQuire, if_match: IfMatch = None
) -> Response:
    """Change what is given, as JSON Merge Patch (RFC 7396) says: null clears."""
    session = await quire.sessions.update(
        caller, session_id, body.request(), status=body.wanted_status, if_match=if_match
    )
    return session_response(session)


@router.delete(
    "/{session_id}",
    response_model=Deleted,
    responses={
        202: {"description": "gone for everyone; a job still removes what it held"},
        **problem_responses(401, 403, 404, 409, 410, 412, 503),
    },
)
async def delete_session(
    session_id: str,
    caller: Caller,
    quire: TheQuire,
    wait: Wait,
    permanent: bool = False,
    if_match: IfMatch = None,
) -> Response:
    """Delete: restorable for a while, or with `permanent=true` for good."""
    answer: dict[str, Any] = {"message": "Session deleted successfully", "permanent": permanent}
    if not permanent:
        await quire.sessions.delete(caller, session_id, if_match=if_match)
        return json_response(answer)
    job_id = await quire.sessions.delete_for_good(caller, session_id, if_match=if_match)
    job = await quire.jobs.wait(job_id, wait)
    if job.status is JobStatus.SUCCEEDED:
        return json_response(answer)
    answer["job"] = job_shape(job)
    return json_response(answer, 202, {"Location": f"/jobs/{job_id}"})
