"""A session's data: JSON values under keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from quire.activity.data import DataEntry
from quire.activity.preconditions import Precondition
from quire.errors import BodyTooLarge
from quire_api.authentication import Caller
from quire_api.http import (
    IfMatch,
    IfNoneMatch,
    PageSize,
    TheQuire,
    json_response,
    names_etag,
    next_link,
)
from quire_api.problems import problem_responses
from quire_api.uploads import body_blocks

router = APIRouter(prefix="/sessions/{session_id}/data", tags=["activity"])

VALUE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"description": "any JSON value"}}},
    }
}
OF_WRITING = problem_responses(400, 401, 403, 404, 409, 410, 412, 413, 422, 503)


class EntryShape(BaseModel):
    """What is under a key; its value comes by itself."""

    key: str
    size_bytes: int
    sha256: str
    created_at: datetime
    updated_at: datetime


@router.get(
    "", response_model=list[EntryShape], responses=problem_responses(401, 404, 410, 422, 503)
)
async def list_data(
    session_id: str,
    request: Request,
    caller: Caller,
    quire: TheQuire,
    limit: PageSize,
    prefix: Annotated[str, Query(max_length=256)] = "",
    cursor: Annotated[str | None, Query(max_length=256)] = None,
) -> Response:
    """The session's keys, in their order, without the values."""
    page = await quire.activity.data.page(
        caller, session_id, prefix=prefix, cursor=cursor, limit=limit
    )
    shapes = [_shape(entry) for entry in page.entries]
    return json_response(shapes, headers=next_link(request, page.next_cursor))


@router.get(
    "/{key:path}",
    response_class=Response,
    responses={
        200: {"content": {"application/json": {"schema": {}}}, "description": "the value"},
        304: {"description": "what If-None-Match names is what there is"},
        **problem_responses(401, 404, 410, 503),
    },
)
async def get_data(
    session_id: str, key: str, caller: Caller, quire: TheQuire, if_none_match: IfNoneMatch = None
) -> Response:
    """The value, byte for byte as it was put."""
    entry, value = await quire.activity.data.get(caller, session_id, key)
    headers = {"ETag": entry.etag}
    if names_etag(if_none_match, entry.etag):
        return Response(status_code=304, headers=headers)
    return Response(value, headers=headers, media_type="application/json")


@router.put(
    "/{key:path}",
    status_code=201,
    response_model=EntryShape,
    responses={
        200: {"model": EntryShape, "description": "the key was there"},
        **OF_WRITING,
    },
    openapi_extra=VALUE,
)
async def put_data(
    session_id: str,
    key: str,
    request: Request,
    caller: Caller,
    quire: TheQuire,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Keep a JSON value under a key of 1 to 256 characters, which may hold slashes."""
    value = await _read(request, quire.settings.activity.data_bytes)
    entry, is_new = await quire.activity.data.put(
        caller, session_id, key, value, Precondition(if_match, if_none_match)
    )
    location = f"/sessions/{session_id}/data/{quote(entry.key)}"
    headers = {"ETag": entry.etag, "Location": location}
    return json_response(_shape(entry), 201 if is_new else 200, headers)


@router.delete("/{key:path}", status_code=204, response_class=Response, responses=OF_WRITING)
async def delete_data(
    session_id: str, key: str, caller: Caller, quire: TheQuire, if_match: IfMatch = None
) -> Response:
    """Take a key away with its value."""
    await quire.activity.data.delete(caller, session_id, key, Precondition(if_match))
    return Response(status_code=204)


async def _read(request: Request, most: int) -> bytes:
    blocks: list[bytes] = []
    async for block in body_blocks(request):
        blocks.append(block)
        if sum(map(len, blocks)) > most:
            raise BodyTooLarge(
                f"The value is over the limit of {most} bytes (QUIRE_ACTIVITY_DATA_BYTES)"
            )
    return b"".join(blocks)


def _shape(entry: DataEntry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "size_bytes": entry.size,
        "sha256": entry.sha256,
        "created_at": entry.created_at,
        "updated_at": entry.updated_at,
    }
