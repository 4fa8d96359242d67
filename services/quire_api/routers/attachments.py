"""Attachments: put them, read their bytes, list them, take them away."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from quire.activity.attachment_models import Attachment
from quire.activity.preconditions import Precondition
from quire_api.attachment_shapes import (
    AttachmentShape,
    Ephemeral,
    Metadata,
    Ttl,
    attaching_body,
    attachment_path,
    attachment_shape,
    metadata_of,
    sent_attachment,
    serving_headers,
)
from quire_api.authentication import Caller
from quire_api.byte_ranges import Bytes, bytes_response
from quire_api.http import IfMatch, IfNoneMatch, PageSize, TheQuire, json_response, next_link
from quire_api.problems import problem_responses
from quire_api.uploads import body_blocks

router = APIRouter(prefix="/sessions/{session_id}/attachments", tags=["activity"])

OF_WRITING = problem_responses(400, 401, 403, 404, 409, 410, 412, 413, 415, 422, 503, 507)
REPLACED: dict[int | str, dict[str, Any]] = {
    200: {"model": AttachmentShape, "description": "the name was there, and has these bytes now"}
}
OF_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"*/*": {}}, "description": "the bytes"},
    206: {"content": {"*/*": {}}, "description": "the range that was asked for"},
    304: {"description": "what If-None-Match names is what there is"},
}


@router.post(
    "",
    status_code=201,
    response_model=AttachmentShape,
    responses={**REPLACED, **OF_WRITING},
    openapi_extra=attaching_body(),
)
async def attach(
    session_id: str,
    request: Request,
    caller: Caller,
    quire: TheQuire,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Keep a file: of a form (`file`), or from the `data:` URL in a JSON body."""
    async with sent_attachment(request) as sent:
        put = await quire.activity.attachments.put(
            caller,
            session_id,
            sent.name,
            sent.content,
            media_type=sent.media_type,
            ttl_seconds=sent.ttl_seconds,
            ephemeral=sent.ephemeral,
            metadata=sent.metadata,
            precondition=Precondition(if_match, if_none_match),
        )
    return _put_answer(*put)


@router.put(
    "/{name:path}",
    status_code=201,
    response_model=AttachmentShape,
    responses={**REPLACED, **OF_WRITING},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def put_attachment(
    session_id: str,
    name: str,
    request: Request,
    caller: Caller,
    quire: TheQuire,
    content_type: Annotated[str | None, Header()] = None,
    ttl_seconds: Ttl = None,
    ephemeral: Ephemeral = False,
    metadata: Metadata = None,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Keep the body under a name, `curl -T` style; another body takes its place."""
    put = await quire.activity.attachments.put(
        caller,
        session_id,
        name,
        body_blocks(request),
        media_type=content_type,
        ttl_seconds=ttl_seconds,
        ephemeral=ephemeral,
        metadata=metadata_of(metadata),
        precondition=Precondition(if_match, if_none_match),
    )
    return _put_answer(*put)


@router.get(
    "", response_model=list[AttachmentShape], responses=problem_responses(401, 404, 410, 422, 503)
)
async def list_attachments(
    session_id: str,
    request: Request,
    caller: Caller,
    quire: TheQuire,
    limit: PageSize,
    prefix: Annotated[str, Query(max_length=200)] = "",
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """The session's attachments by name, without those that expired."""
    page = await quire.activity.attachments.page(
        caller, session_id, prefix=prefix, cursor=cursor, limit=limit
    )
    shapes = [attachment_shape(attachment) for attachment in page.attachments]
    return json_response(shapes, headers=next_link(request, page.next_cursor))


@router.get(
    "/{name:path}",
    response_class=Response,
    responses={**OF_BYTES, **problem_responses(401, 404, 410, 416, 503)},
)
async def get_attachment(
    session_id: str, name: str, request: Request, caller: Caller, quire: TheQuire
) -> Response:
    """Its bytes as they were put; `Range` is honoured."""
    attachment = await quire.activity.attachments.get(caller, session_id, name)
    content = Bytes(
        size=attachment.size,
        read=lambda start, end: quire.activity.attachments.read(attachment, start, end),
        media_type=attachment.media_type,
        etag=attachment.etag,
        headers=serving_headers(attachment),
    )
    return bytes_response(request, content)


@router.head(
    "/{name:path}",
    response_class=Response,
    responses={
        200: {"content": {"*/*": {}}, "description": "what GET would say, without the bytes"},
        **problem_responses(401, 404, 410, 503),
    },
)
async def head_attachment(session_id: str, name: str, caller: Caller, quire: TheQuire) -> Response:
    """What GET would say of it, without the bytes."""
    attachment = await quire.activity.attachments.get(caller, session_id, name)
    headers = {
        "ETag": attachment.etag,
        "Accept-Ranges": "bytes",
        "Content-Length": str(attachment.size),
        **serving_headers(attachment),
    }
    return Response(headers=headers, media_type=attachment.media_type)


@router.delete("/{name:path}", status_code=204, response_class=Response, responses=OF_WRITING)
async def remove_attachment(
    session_id: str, name: str, caller: Caller, quire: TheQuire, if_match: IfMatch = None
) -> Response:
    """Take an attachment away."""
    await quire.activity.attachments.remove(caller, session_id, name, Precondition(if_match))
    return Response(status_code=204)


def _put_answer(attachment: Attachment, is_new: bool) -> Response:
    headers = {"ETag": attachment.etag, "Location": attachment_path(attachment)}
    return json_response(attachment_shape(attachment), 201 if is_new else 200, headers)
