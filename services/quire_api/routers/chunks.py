"""Chunks by their address: one, a range, with neighbours, or all as a stream."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from quire.content.chunks import ChunkPage
from quire.content.models import Chunk
from quire.errors import QuireError
from quire.jobs.failures import describe
from quire.retrieval.items import chunk_item, linked
from quire_api.authentication import Caller
from quire_api.content_shapes import ChunkShape, NeighbourhoodShape, neighbourhood_shape
from quire_api.http import PageSize, TheQuire, json_response
from quire_api.problems import problem_responses

router = APIRouter(prefix="/sessions/{session_id}", tags=["content"])

GONE = "X-Quire-Gone"
OF_LISTING: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            GONE: {
                "description": "numbers that are passed over, for their chunks were removed",
                "schema": {"type": "string", "pattern": r"^\d+-\d+(,\d+-\d+)*$"},
            }
        }
    }
}
OF_READING = problem_responses(401, 404, 410, 422, 503)
Number = Annotated[int, Path(description="counted from 0", ge=0, le=2**53)]
Around = Annotated[int, Query(description="so many chunks of the same document besides")]
Start = Annotated[int, Query(description="the first one wanted", ge=0, le=2**53)]


@router.get("/chunks", response_model=list[ChunkShape], responses={**OF_LISTING, **OF_READING})
async def list_chunks(
    session_id: str,
    request: Request,
    caller: Caller,
    quire: TheQuire,
    limit: PageSize,
    start: Start = 0,
) -> Response:
    """Chunks from a `seq` on. What was removed is passed over; the others keep their numbers."""
    page = await quire.chunks.page(caller, session_id, start=start, limit=limit)
    seqs = [chunk.seq for chunk in page.chunks]
    return _listed(request, session_id, page, limit, gaps(start, seqs))


@router.get("/chunks/{seq}", response_model=NeighbourhoodShape, responses=OF_READING)
async def get_chunk(
    session_id: str,
    seq: Number,
    caller: Caller,
    quire: TheQuire,
    before: Around = 0,
    after: Around = 0,
) -> Response:
    """The chunk with this number in the session, with its neighbours."""
    found = await quire.chunks.get(caller, session_id, seq, before=before, after=after)
    return json_response(neighbourhood_shape(session_id, found))


@router.get(
    "/documents/{document_id}/chunks",
    response_model=list[ChunkShape],
    responses={**OF_LISTING, **OF_READING},
)
async def list_chunks_of_document(
    session_id: str,
    document_id: str,
    request: Request,
    caller: Caller,
    quire: TheQuire,
    limit: PageSize,
    start: Start = 0,
) -> Response:
    """A document's chunks from an `index` on."""
    page = await quire.chunks.page(
        caller, session_id, start=start, limit=limit, document_id=document_id
    )
    indexes = [chunk.index for chunk in page.chunks]
    return _listed(request, session_id, page, limit, gaps(start, indexes))


@router.get(
    "/documents/{document_id}/chunks/{index}",
    response_model=NeighbourhoodShape,
    responses=OF_READING,
)
async def get_chunk_of_document(
    session_id: str,
    document_id: str,
    index: Number,
    caller: Caller,
    quire: TheQuire,
    before: Around = 0,
    after: Around = 0,
) -> Response:
    """The chunk with this index in the document, with its neighbours."""
    found = await quire.chunks.by_index(
        caller, session_id, document_id, index, before=before, after=after
    )
    return json_response(neighbourhood_shape(session_id, found))


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/x-ndjson": {}}, "description": "a chunk a line"},
        **OF_READING,
    },
)
async def stream_chunks(
    session_id: str, caller: Caller, quire: TheQuire, document_id: str | None = None
) -> Response:
    """Every chunk, a line each, in the order of `seq`.

    Should the stream not be completed, its last line is an object with `error`.
    """
    batches = quire.chunks.stream(caller, session_id, document_id=document_id)
    # The first is read before the answer begins: what is refused is refused with its status.
    first = await anext(batches, ())
    lines = _lines(session_id, first, batches)
    return StreamingResponse(lines, media_type="application/x-ndjson")


async def _lines(
    session_id: str, first: Sequence[Chunk], batches: AsyncIterator[Sequence[Chunk]]
) -> AsyncIterator[bytes]:
    yield _as_lines(session_id, first)
    async with aclosing(batches):  # type: ignore[type-var]
        try:
            async for batch in batches:
                yield _as_lines(session_id, batch)
        except QuireError as error:
            yield orjson.dumps({"error": describe(error)}) + b"\n"


def _as_lines(session_id: str, chunks: Sequence[Chunk]) -> bytes:
    return b"".join(orjson.dumps(chunk_item(session_id, chunk)) + b"\n" for chunk in chunks)


def gaps(start: int, numbers: Sequence[int]) -> str:
    """The numbers from `start` on that the list passes over, such as `3-7,12-12`."""
    ends = [start - 1, *numbers]
    passed = [(a + 1, b - 1) for a, b in itertools.pairwise(ends) if b - a > 1]
    return ",".join(f"{first}-{last}" for first, last in passed)


def _listed(request: Request, session_id: str, page: ChunkPage, limit: int, gone: str) -> Response:
    headers = {GONE: gone} if gone else {}
    if page.next_start is not None:
        following = f"{request.url.path}?start={page.next_start}&limit={limit}"
        headers["Link"] = f'<{following}>; rel="next"'
    seqs = [chunk.seq for chunk in page.chunks]
    first = page.chunks[0] if page.chunks else None
    before = first.seq - 1 if first is not None and first.index else None
    items = [
        linked(chunk_item(session_id, chunk), session_id, previous, following)
        for chunk, previous, following in zip(
            page.chunks, [before, *seqs], [*seqs[1:], page.next_seq], strict=False
        )
    ]
    return json_response(items, headers=headers)
