"""Invocations of tools: record them, look at them, across sessions too; and what they came to."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from quire.activity.invocation_models import InvocationFilter, InvocationStatus
from quire.activity.statistics import Bucket
from quire_api.authentication import Caller
from quire_api.http import PageSize, Since, TheQuire, Until, json_response, next_link
from quire_api.invocation_shapes import (
    InvocationShape,
    RecordInvocation,
    StatisticsShape,
    invocation_shape,
    statistics_shape,
)
from quire_api.problems import problem_responses

router = APIRouter(tags=["activity"])

Tool = Annotated[str | None, Query(max_length=256)]


@router.post(
    "/sessions/{session_id}/invocations",
    status_code=201,
    response_model=InvocationShape,
    responses={
        200: {"model": InvocationShape, "description": "it was known, and is as it is shown"},
        **problem_responses(400, 401, 403, 404, 409, 410, 413, 422, 503),
    },
)
async def record_invocation(
    session_id: str, body: RecordInvocation, caller: Caller, quire: TheQuire, request: Request
) -> Response:
    """Record an invocation, or under its `id` what became of it. What is over does not change."""
    new = body.new(request.scope.get("derived_id"))
    recorded, is_new = await quire.activity.invocations.record(caller, session_id, new)
    location = f"/sessions/{session_id}/invocations/{recorded.id}"
    status = 201 if is_new else 200
    return json_response(invocation_shape(recorded), status, {"Location": location})


@router.get(
    "/sessions/{session_id}/invocations",
    response_model=list[InvocationShape],
    responses=problem_responses(401, 404, 410, 422, 503),
)
async def list_invocations(
    session_id: str,
    request: Request,
    caller: Caller,
    quire: TheQuire,
    limit: PageSize,
    tool: Tool = None,
    status: InvocationStatus | None = None,
    since: Since = None,
    until: Until = None,
    newest_first: bool = False,
    cursor: Annotated[int | None, Query(ge=0, le=2**53)] = None,
) -> Response:
    """The session's invocations in the order in which they were recorded, or against it."""
    page = await quire.activity.invocations.page(
        caller,
        session_id,
        InvocationFilter(tool=tool, status=status, since=since, until=until),
        cursor=cursor,
        limit=limit,
        newest_first=newest_first,
    )
    shapes = [invocation_shape(invocation) for invocation in page.invocations]
    return json_response(shapes, headers=next_link(request, page.next_cursor))


@router.get(
    "/sessions/{session_id}/invocations/{invocation_id}",
    response_model=InvocationShape,
    responses=problem_responses(401, 404, 410, 503),
)
async def get_invocation(
    session_id: str, invocation_id: str, caller: Caller, quire: TheQuire
) -> Response:
    """An invocation as it is known."""
    found = await quire.activity.invocations.get(caller, session_id, invocation_id)
    return json_response(invocation_shape(found))


@router.get(
    "/invocations",
    response_model=list[InvocationShape],
    responses=problem_responses(401, 404, 410, 422, 503),
)
async def find_invocations(
    request: Request,
    caller: Caller,
    quire: TheQuire,
    limit: PageSize,
    tool: Tool = None,
    status: InvocationStatus | None = None,
    since: Since = None,
    until: Until = None,
    session_id: str | None = None,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Invocations in all sessions that you may read, those that started last first."""
    page = await quire.activity.invocations.by_tool(
        caller,
        InvocationFilter(tool=tool, status=status, since=since, until=until),
        session_id=session_id,
        cursor=cursor,
        limit=limit,
    )
    shapes = [invocation_shape(invocation) for invocation in page.invocations]
    return json_response(shapes, headers=next_link(request, page.next_cursor))


@router.get(
    "/sessions/{session_id}/statistics",
    response_model=StatisticsShape,
    responses=problem_responses(401, 404, 410, 422, 503),
)
async def activity_statistics(
    session_id: str,
    caller: Caller,
    quire: TheQuire,
    since: Since = None,
    until: Until = None,
    bucket: Annotated[Bucket, Query(description="of the timeline, in UTC")] = Bucket.DAY,
) -> Response:
    """Tools used, how long they took, tokens, cost, messages by role, and when all that was."""
    told = await quire.activity.statistics.of(
        caller, session_id, since=since, until=until, bucket=bucket
    )
    return json_response(statistics_shape(told))
