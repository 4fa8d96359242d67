"""Many points from a Qdrant server: ids pages ahead, then the points, several reads at a time.

The server answers a scroll with vectors on one of its threads. Reads by id it answers side by side,
and ids alone it scrolls some ten times as fast: together that is twice to three times the scroll.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing

from qdrant_client import models

from quire.vectors.port import MAX_PAGE, PointId, Record
from quire.vectors.server_connection import Connection
from quire.vectors.server_points import listed, retrieved, scrolled

BATCH = 512
AHEAD = 3
"""Reads under way at once; a fourth gains nothing on two cores, and each holds some megabytes."""


async def ids_of(
    server: Connection,
    name: str,
    condition: models.Filter | None,
    cursor: PointId | None,
    limit: int = MAX_PAGE,
) -> AsyncGenerator[list[PointId], None]:
    """The ids in their order, page by page, none of them empty."""
    following = cursor
    while True:
        page, following = await listed(server, name, condition, following, limit)
        if page:
            yield page
        if following is None:
            return


async def streamed(
    server: Connection, name: str, condition: models.Filter | None, cursor: PointId | None
) -> AsyncGenerator[list[Record], None]:
    """All points from a cursor on; one that is deleted while its batch is read is left out."""
    if server.local:
        batches = _scrolled(server, name, condition, cursor)
    else:
        batches = _read_ahead(server, name, condition, cursor)
    async with aclosing(batches):
        async for batch in batches:
            if batch:
                yield batch


async def _scrolled(
    server: Connection, name: str, condition: models.Filter | None, cursor: PointId | None
) -> AsyncGenerator[list[Record], None]:
    following = cursor
    while True:
        page = await scrolled(server, name, condition, following, BATCH, True)
        yield list(page.records)
        following = page.next_cursor
        if following is None:
            return


async def _read_ahead(
    server: Connection, name: str, condition: models.Filter | None, cursor: PointId | None
) -> AsyncGenerator[list[Record], None]:
    reads: deque[asyncio.Task[list[Record]]] = deque()
    try:
        async with aclosing(ids_of(server, name, condition, cursor, BATCH)) as pages:
            async for page in pages:
                if len(reads) == AHEAD:
                    yield await reads.popleft()
                reads.append(asyncio.create_task(retrieved(server, name, page, with_vectors=True)))
        while reads:
            yield await reads.popleft()
    finally:
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
