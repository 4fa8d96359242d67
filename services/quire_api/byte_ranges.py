"""Bytes in an answer: whole or a range of them, streamed, with their ETag (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from quire.errors import RangeNotSatisfiable
from quire_api.http import names_etag

RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.IGNORECASE)
Read = Callable[[int, int], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Bytes:
    """What is to be sent: its size, how to read it, and what it is."""

    size: int
    read: Read
    media_type: str
    etag: str
    headers: Mapping[str, str]


def bytes_response(request: Request, content: Bytes) -> Response:
    """All of it, or what the `Range` header asks for; 304 where `If-None-Match` names it."""
    headers = {"ETag": content.etag, "Accept-Ranges": "bytes", **content.headers}
    if names_etag(request.headers.get("if-none-match"), content.etag):
        return Response(status_code=304, headers=headers)
    wanted = _wanted(request, content)
    start, end = wanted or (0, content.size)
    headers["Content-Length"] = str(end - start)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{content.size}"
    return StreamingResponse(
        content.read(start, end),
        status_code=200 if wanted is None else 206,
        headers=headers,
        media_type=content.media_type,
    )


def _wanted(request: Request, content: Bytes) -> tuple[int, int] | None:
    """The range to send; None for all: no range, one that cannot be read, or one of many parts."""
    asked = request.headers.get("range")
    if_range = request.headers.get("if-range")
    if asked is None or (if_range is not None and if_range.strip() != content.etag):
        return None
    found = RANGE.fullmatch(asked)
    if found is None or found.groups() == ("", ""):
        return None
    first, last = (int(number[:18]) if number else None for number in found.groups())
    if first is None:
        start, end = max(0, content.size - (last or 0)), content.size
    else:
        start = first
        end = content.size if last is None else min(last + 1, content.size)
        if last is not None and last < first:
            return None
    if start >= content.size or (first is None and not last):
        raise RangeNotSatisfiable(
            f"There are {content.size} bytes; none of {asked.strip()[:100]} is among them",
            size=content.size,
        )
    return start, end
