"""Pouring points from a file into a collection: a few batches in flight, each read back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from quire.transfer.filling import IN_FLIGHT, verified
from quire.vectors.digest import Digest
from quire.vectors.port import Point, VectorEngine

MayGoOn = Callable[[Digest], Awaitable[bool]]


async def pour(
    engine: VectorEngine,
    collection: str,
    batches: AsyncIterator[Sequence[Point]],
    may_go_on: MayGoOn,
    *,
    exact: bool,
    as_read: bool = False,
) -> tuple[Digest, bool]:
    """Write batches of points until they end, or until it may not go on.

    Answers the digest of what arrived, and whether that is all. `exact` is false for vectors that
    the engine may normalise; `as_read` is for points that an engine of ours gave. A batch may be
    written again: the same points stay the same.
    """
    poured = Digest()
    under_way: deque[asyncio.Task[Digest]] = deque()

    async def write(points: Sequence[Point]) -> Digest:
        await engine.upsert(collection, points, as_read=as_read)
        return await verified(engine, collection, points, exact=exact)

    try:
        async for points in batches:
            under_way.append(asyncio.create_task(write(points)))
            if len(under_way) == IN_FLIGHT:
                poured += await under_way.popleft()
                if not await may_go_on(poured):
                    while under_way:
                        poured += await under_way.popleft()
                    return poured, False
        while under_way:
            poured += await under_way.popleft()
        return poured, True
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
