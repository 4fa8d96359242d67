"""Conversations: append messages, list, find and export them."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from quire.activity.message_models import MessageFilter, MessageRole, TranscriptFormat
from quire.activity.transcript import message_item
from quire_api.authentication import Caller
from quire_api.http import PageSize, TheQuire, json_response, next_link
from quire_api.message_shapes import (
    AppendInput,
    FoundMessagesShape,
    MessageInput,
    MessageSettingsInput,
    MessageSettingsShape,
    MessageShape,
    SearchMessages,
    found_shape,
    settings_shape,
)
from quire_api.problems import problem_responses
from quire_api.quick_json import QuickRoute

router = APIRouter(
    prefix="/sessions/{session_id}/messages", tags=["messages"], route_class=QuickRoute
)

MEDIA_TYPES = {
    TranscriptFormat.JSONL: "application/x-ndjson",
    TranscriptFormat.MARKDOWN: "text/markdown; charset=utf-8",
}
ENDINGS = {TranscriptFormat.JSONL: "jsonl", TranscriptFormat.MARKDOWN: "md"}
OF_READING = problem_responses(401, 404, 410, 422, 503)
OF_WRITING = problem_responses(400, 401, 403, 404, 409, 410, 413, 422, 503, 507)
EXPORTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the conversation, streamed",
        "content": {
            "application/x-ndjson": {"schema": {"type": "string"}},
            "text/markdown": {"schema": {"type": "string"}},
        },
    }
}


@router.post(
    "", status_code=201, response_model=MessageShape | list[MessageShape], responses=OF_WRITING
)
async def append_messages(
    session_id: str, body: AppendInput, caller: Caller, quire: TheQuire
) -> Response:
    """Append a message, or several as `{"messages": […]}`. They are never changed afterwards.

    One with an id that the session has already is answered as it is; with something else in it
    that is a 409.
    """
    several = not isinstance(body, MessageInput)
    new = (
        [body.message()] if isinstance(body, MessageInput) else [m.message() for m in body.messages]
    )
    appended = await quire.activity.messages.append(caller, session_id, new)
    if several:
        return json_response([message_item(message) for message in appended], 201)
    (message,) = appended
    location = f"/sessions/{session_id}/messages/{quote(message.id, safe='')}"
    return json_response(message_item(message), 201, {"Location": location})


@router.get("", response_model=list[MessageShape], responses=OF_READING)
async def list_messages(
    session_id: str,
    request: Request,
    caller: Caller,
    quire: TheQuire,
    limit: PageSize,
    newest_first: bool = False,
    role: MessageRole | None = None,
    tool: str | None = None,
    invocation_id: str | None = None,
    cursor: Annotated[str | None, Query(description="from the Link header")] = None,
) -> Response:
    """The conversation, from its beginning or from its end; large messages make short pages."""
    page = await quire.activity.messages.page(
        caller,
        session_id,
        cursor=cursor,
        limit=limit,
        newest_first=newest_first,
        wanted=MessageFilter(role=role, tool=tool, invocation_id=invocation_id),
    )
    shapes = [message_item(message) for message in page.messages]
    return json_response(shapes, headers=next_link(request, page.next_cursor))


@router.post(
    "/search",
    response_model=FoundMessagesShape,
    responses=problem_responses(400, 401, 404, 409, 410, 413, 422, 503),
)
async def search_messages(
    session_id: str, body: SearchMessages, caller: Caller, quire: TheQuire
) -> Response:
    """Find messages by their words; by meaning too, where the session has asked for that."""
    found = await quire.activity.messages.search(
        caller, session_id, body.query, mode=body.mode, limit=body.limit
    )
    return json_response(found_shape(found))


@router.get("/settings", response_model=MessageSettingsShape, responses=OF_READING)
async def get_message_settings(session_id: str, caller: Caller, quire: TheQuire) -> Response:
    """Whether messages are found by meaning, and how many are still to be embedded for it."""
    settings = await quire.activity.messages.settings(caller, session_id)
    return json_response(settings_shape(settings))


@router.put("/settings", response_model=MessageSettingsShape, responses=OF_WRITING)
async def put_message_settings(
    session_id: str, body: MessageSettingsInput, caller: Caller, quire: TheQuire
) -> Response:
    """Have messages embedded, old ones too, or no longer."""
    settings = await quire.activity.messages.set_semantic(caller, session_id, body.semantic)
    return json_response(settings_shape(settings))


@router.get("/export", response_class=Response, responses={**EXPORTED, **OF_READING})
async def export_messages(
    session_id: str,
    caller: Caller,
    quire: TheQuire,
    format: TranscriptFormat = TranscriptFormat.JSONL,
) -> Response:
    """The conversation as a file: a message a line, or Markdown to be read."""
    written = await quire.activity.messages.transcript(caller, session_id, format)
    name = f"{session_id}-messages.{ENDINGS[format]}"
    return StreamingResponse(
        written,
        media_type=MEDIA_TYPES[format],
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "X-Content-Type-Options": "nosniff",
        },
    )


@router.get("/{message_id}", response_model=MessageShape, responses=OF_READING)
async def get_message(
    session_id: str, message_id: str, caller: Caller, quire: TheQuire
) -> Response:
    """Show one message of the conversation."""
    message = await quire.activity.messages.get(caller, session_id, message_id)
    return json_response(message_item(message))
