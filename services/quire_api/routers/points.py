"""Points: what pipelines write, label, read and remove under ids of their own."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from quire.errors import InvalidInput
from quire.points.filters import parse_filter
from quire.points.requests import address
from quire.vectors.port import Condition
from quire_api.authentication import Caller
from quire_api.http import PageSize, TheQuire, json_response, next_link
from quire_api.point_shapes import (
    Counted,
    CountPoints,
    Deleted,
    DeletePoints,
    FacetPoints,
    FacetShape,
    PointShape,
    PutPoints,
    QueryPoints,
    ScoredPoint,
    SetPayload,
    Updated,
    UpsertedShape,
    point_shape,
)
from quire_api.problems import problem_responses
from quire_api.quick_json import QuickRoute

router = APIRouter(prefix="/sessions/{session_id}/points", tags=["points"], route_class=QuickRoute)


@router.put(
    "",
    response_model=UpsertedShape,
    responses=problem_responses(400, 401, 403, 404, 409, 410, 413, 422, 503),
)
async def put_points(session_id: str, body: PutPoints, caller: Caller, quire: TheQuire) -> Response:
    """Write points whole, replacing those that have their ids. Repeating it is harmless."""
    done = await quire.points.upsert(caller, session_id, body.points)
    return json_response(
        {"upserted": len(set(done.ids)), "points_count": done.points_count, "ids": done.ids}
    )


@router.get(
    "",
    response_model=list[PointShape],
    responses=problem_responses(401, 403, 404, 410, 422, 503),
)
async def list_points(
    request: Request,
    session_id: str,
    caller: Caller,
    quire: TheQuire,
    limit: PageSize,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
    filter: Annotated[str | None, Query(max_length=20_000, description="JSON")] = None,
    with_vectors: bool = False,
) -> Response:
    """Points in the order of their ids. The next page, if there is one, is in the `Link` header."""
    page = await quire.points.scroll(
        caller,
        session_id,
        _filter_in_query(filter),
        cursor=None if cursor is None else address(cursor, "query parameter cursor"),
        limit=limit,
        with_vectors=with_vectors,
    )
    shapes = [point_shape(record, with_vectors=with_vectors) for record in page.records]
    following = None if page.next_cursor is None else str(page.next_cursor)
    return json_response(shapes, headers=next_link(request, following))


@router.get(
    "/{point_id}",
    response_model=PointShape,
    responses=problem_responses(401, 403, 404, 410, 422, 503),
)
async def get_point(
    session_id: str, point_id: str, caller: Caller, quire: TheQuire, with_vectors: bool = False
) -> Response:
    """One point, with its vectors if they are asked for."""
    identity = address(point_id, "path point_id")
    record = await quire.points.get(caller, session_id, identity, with_vectors=with_vectors)
    return json_response(point_shape(record, with_vectors=with_vectors))


@router.post(
    "/query",
    response_model=list[ScoredPoint],
    responses=problem_responses(400, 401, 403, 404, 410, 413, 422, 503),
)
async def query_points(
    session_id: str, body: QueryPoints, caller: Caller, quire: TheQuire
) -> Response:
    """The points nearest to a vector, a text or another point, or of certain words; best first."""
    found = await quire.points.query(caller, session_id, body.query())
    return json_response([point_shape(r, with_vectors=body.with_vectors) for r in found])


@router.post(
    "/payload",
    response_model=Updated,
    responses=problem_responses(400, 401, 403, 404, 409, 410, 413, 422, 503),
)
async def set_payload(
    session_id: str, body: SetPayload, caller: Caller, quire: TheQuire
) -> Response:
    """Merge fields into points' payloads, null removes one: labels for a selection, or for many."""
    if body.assignments is None:
        updated = await quire.points.set_payload(caller, session_id, body.payload, body.selection())
    else:
        if body.model_fields_set != {"assignments"}:
            raise InvalidInput(
                "Give assignments alone; they say payload and ids themselves", field="assignments"
            )
        updated = await quire.points.assign(caller, session_id, body.assignments)
    return json_response({"updated": updated})


@router.post(
    "/delete",
    response_model=Deleted,
    responses=problem_responses(400, 401, 403, 404, 409, 410, 413, 422, 503),
)
async def delete_points(
    session_id: str, body: DeletePoints, caller: Caller, quire: TheQuire
) -> Response:
    """Remove points by ids or by a filter; all of them only with `all: true`."""
    deleted = await quire.points.delete(caller, session_id, body.selection())
    return json_response({"deleted": deleted})


@router.post(
    "/facets",
    response_model=list[FacetShape],
    responses=problem_responses(400, 401, 403, 404, 409, 410, 413, 422, 503),
)
async def count_by_value(
    session_id: str, body: FacetPoints, caller: Caller, quire: TheQuire
) -> Response:
    """How many points have each value of a payload field, most frequent first."""
    counts = await quire.points.facets(
        caller, session_id, body.key, parse_filter(body.filter), limit=body.limit
    )
    return json_response([{"value": c.value, "count": c.count} for c in counts])


@router.post(
    "/count",
    response_model=Counted,
    responses=problem_responses(400, 401, 403, 404, 410, 413, 422, 503),
)
async def count_points(
    session_id: str, body: CountPoints, caller: Caller, quire: TheQuire
) -> Response:
    """How many points there are, or match a filter; exact."""
    count = await quire.points.count(caller, session_id, parse_filter(body.filter))
    return json_response({"count": count})


def _filter_in_query(text: str | None) -> Condition | None:
    place = "query parameter filter"
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{place} is not valid JSON: {error}", field=place) from None
    except RecursionError:
        raise InvalidInput(f"{place} nests without measure", field=place) from None
    return parse_filter(value, place)
