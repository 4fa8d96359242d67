"""Documents' bytes as they were sent, and their text, in ranges too."""

from __future__ import annotations

import mimetypes
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from quire.content.models import Document
from quire_api.authentication import Caller
from quire_api.byte_ranges import Bytes, bytes_response
from quire_api.http import TheQuire
from quire_api.problems import problem_responses

router = APIRouter(prefix="/sessions/{session_id}/documents", tags=["content"])

OF_BYTES: dict[int | str, dict[str, Any]] = {
    206: {"description": "the range that was asked for"},
    304: {"description": "what If-None-Match names is what there is"},
}
# Bytes that others sent are shown in no page of ours, and run nothing.
GUARDED = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}


@router.get(
    "/{document_id}/content",
    response_class=Response,
    responses={**OF_BYTES, **problem_responses(401, 404, 410, 416, 503)},
)
async def get_content(
    session_id: str, document_id: str, request: Request, caller: Caller, quire: TheQuire
) -> Response:
    """The document's bytes as they were sent; `Range` is honoured."""
    document = await quire.documents.get(caller, session_id, document_id)
    content = Bytes(
        size=document.raw.size,
        read=lambda start, end: quire.documents.raw(document, start, end),
        media_type=document.media_type,
        etag=f'"{document.content_sha256}"',
        headers={**GUARDED, "Content-Disposition": _attachment(document)},
    )
    return bytes_response(request, content)


@router.get(
    "/{document_id}/text",
    response_class=Response,
    responses={**OF_BYTES, **problem_responses(401, 404, 409, 410, 416, 503)},
)
async def get_text(
    session_id: str, document_id: str, request: Request, caller: Caller, quire: TheQuire
) -> Response:
    """The document's text: what its chunks were cut from, and what their offsets count."""
    document = await quire.documents.get(caller, session_id, document_id)
    text = quire.documents.text_of(document)
    content = Bytes(
        size=text.size,
        read=lambda start, end: quire.documents.text(document, start, end),
        media_type="text/plain; charset=utf-8",
        etag=f'"{text.sha256[:32]}-{text.start}-{text.end}"',
        headers=GUARDED,
    )
    return bytes_response(request, content)


def _attachment(document: Document) -> str:
    name = document.title or document.id
    if "." not in name:
        name += mimetypes.guess_extension(document.media_type.partition(";")[0]) or ""
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"
