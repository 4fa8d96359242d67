"""Queries: what a search found, or a caller posted, page by page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel

from quire.retrieval.pages import QueryPage
from quire_api.authentication import Caller
from quire_api.http import PageSize, TheQuire, json_response, next_link
from quire_api.problems import problem_responses
from quire_api.query_shapes import PostQuery, QueryPageShape, QueryShape, page_shape, query_shape

router = APIRouter(tags=["queries"])

OF_READING = (401, 403, 404, 410, 503)

PageIndex = Annotated[int, Path(description="the first page is 0")]


class QueryDeleted(BaseModel):
    message: str


@router.post(
    "/sessions/{session_id}/queries",
    response_model=QueryPageShape,
    responses=problem_responses(400, 401, 403, 404, 409, 410, 413, 422, 503),
)
async def post_query(
    session_id: str, body: PostQuery, caller: Caller, quire: TheQuire, request: Request
) -> Response:
    """Keep a list of your own under a query id, and get its first page."""
    made = request.scope.get("derived_id")
    page = await quire.pages.post(
        caller, session_id, body.items, body.request, body.page_size, query_id=made
    )
    path = f"/sessions/{session_id}/queries/{page.query_id}/pages/"
    return _page_response(page, path, {"Location": f"{path}0"})


@router.get(
    "/sessions/{session_id}/queries",
    response_model=list[QueryShape],
    responses=problem_responses(*OF_READING, 422),
)
async def list_queries(
    session_id: str,
    request: Request,
    caller: Caller,
    quire: TheQuire,
    limit: PageSize,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """The session's queries that have not expired, newest first."""
    found = await quire.pages.find(caller, session_id, cursor=cursor, limit=limit)
    shapes = [query_shape(query) for query in found.queries]
    return json_response(shapes, headers=next_link(request, found.next_cursor))


@router.get(
    "/sessions/{session_id}/queries/{query_id}",
    response_model=QueryShape,
    responses=problem_responses(*OF_READING),
)
async def get_query(session_id: str, query_id: str, caller: Caller, quire: TheQuire) -> Response:
    """What a query is; its items are in its pages."""
    return json_response(query_shape(await quire.pages.describe(caller, query_id, session_id)))


@router.delete(
    "/sessions/{session_id}/queries/{query_id}",
    response_model=QueryDeleted,
    responses=problem_responses(*OF_READING),
)
async def delete_query(session_id: str, query_id: str, caller: Caller, quire: TheQuire) -> Response:
    """Forget a query before its time: your own, or any in a session that you may write."""
    await quire.pages.delete(caller, query_id, session_id)
    return json_response({"message": "Query deleted successfully"})


@router.get(
    "/sessions/{session_id}/queries/{query_id}/pages/{page_index}",
    response_model=QueryPageShape,
    responses=problem_responses(*OF_READING, 422),
)
async def get_page(
    session_id: str, query_id: str, page_index: PageIndex, caller: Caller, quire: TheQuire
) -> Response:
    """A page of a query; the pages before and after are in the `Link` header too."""
    page = await quire.pages.page(caller, query_id, page_index, session_id)
    return _page_response(page, f"/sessions/{session_id}/queries/{query_id}/pages/")


@router.get(
    "/queries/{query_id}/pages/{page_index}",
    response_model=QueryPageShape,
    responses=problem_responses(*OF_READING, 422),
)
async def get_page_of_any(
    query_id: str, page_index: PageIndex, caller: Caller, quire: TheQuire
) -> Response:
    """A page of any query of yours: the way to those over several sessions."""
    page = await quire.pages.page(caller, query_id, page_index)
    return _page_response(page, f"/queries/{query_id}/pages/")


def _page_response(page: QueryPage, path: str, headers: dict[str, str] | None = None) -> Response:
    links = []
    if page.has_next:
        links.append(f'<{path}{page.page_index + 1}>; rel="next"')
    if page.has_previous:
        links.append(f'<{path}{page.page_index - 1}>; rel="prev"')
    linked = {"Link": ", ".join(links)} if links else {}
    return json_response(page_shape(page), headers={**linked, **(headers or {})})
