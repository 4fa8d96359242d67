"""Many points from an open shard: page by page, the next one read while this one is used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any

import qdrant_edge as edge

from quire.vectors.edge_memory import DROP_EVERY
from quire.vectors.edge_reads import listed, scrolled
from quire.vectors.port import MAX_PAGE, PointId, Record, RecordPage

BATCH = 256
"""What one engine call reads."""

Read = Callable[[Callable[[edge.EdgeShard], Any]], Awaitable[Any]]
"""How a call gets to the open shard."""


async def ids_of(
    read: Read, condition: edge.Filter | None, cursor: PointId | None
) -> AsyncGenerator[list[PointId], None]:
    """The ids in their order, page by page, none of them empty."""
    following = cursor
    while True:
        page, following = await read(partial(listed, condition, following, MAX_PAGE))
        if page:
            yield page
        if following is None:
            return


async def streamed(
    read: Read,
    drop_pages: Callable[[], Awaitable[None]],
    condition: edge.Filter | None,
    cursor: PointId | None,
) -> AsyncGenerator[list[Record], None]:
    """All points from a cursor on; what reading maps in is let go of now and then."""

    async def page_from(start: PointId | None) -> RecordPage:
        page: RecordPage = await read(partial(scrolled, condition, start, BATCH, True))
        return page

    mapped = 0
    ahead: asyncio.Task[RecordPage] | None = asyncio.create_task(page_from(cursor))
    try:
        while ahead is not None:
            page = await ahead
            following = page.next_cursor
            ahead = None if following is None else asyncio.create_task(page_from(following))
            mapped += len(page.records)
            if mapped >= DROP_EVERY:
                await drop_pages()
                mapped = 0
            if page.records:
                yield list(page.records)
    finally:
        if ahead is not None:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)
