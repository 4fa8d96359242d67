"""A portion of an ingest: documents are cut while what was cut is embedded and written.

At most a few groups of chunks are under way; who produces waits for who consumes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from itertools import groupby

from quire.content.chunk_points import Draft, to_point
from quire.content.cursor import Cursor
from quire.content.drafting import Drafting
from quire.embedding.scheduler import Embedder
from quire.errors import InvalidInput
from quire.vectors.bm25 import Bm25
from quire.vectors.port import VectorEngine

GROUP = 128
"""Chunks that are embedded and written together."""
UNDER_WAY = 3
"""Groups between being cut and being written."""
PATIENCE_SECONDS = 8.0
"""A portion ends after so long: that much work a crash costs."""


async def work_through(
    drafting: Drafting,
    writer: ChunkWriter,
    may_go_on: Callable[[Cursor], Awaitable[bool]],
) -> Cursor:
    """Write chunks until all are written or the time is over; answers where to go on."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    slots = asyncio.Semaphore(UNDER_WAY)

    async def write(group: list[Draft]) -> None:
        try:
            drafting.failed.update(await writer.write(group))
        finally:
            slots.release()

    try:
        async with asyncio.TaskGroup() as tasks, aclosing(drafting.groups(GROUP)) as groups:
            async for group in groups:
                await slots.acquire()
                tasks.create_task(write(group))
                if time.monotonic() > deadline or not await may_go_on(drafting.cursor):
                    break
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return drafting.cursor


class ChunkWriter:
    """Gives chunks their vectors and writes them, in their job's stage."""

    def __init__(
        self, engine: VectorEngine, collection: str, embedder: Embedder, job_id: str
    ) -> None:
        self._engine = engine
        self._collection = collection
        self._embedder = embedder
        self._job_id = job_id
        self._bm25 = Bm25()

    async def write(self, group: list[Draft]) -> dict[int, InvalidInput]:
        """Answers the documents that cannot be embedded, by position, and why."""
        try:
            await self._embed_and_upsert(group)
        except InvalidInput:
            pass
        else:
            return {}
        failed: dict[int, InvalidInput] = {}
        # Whose fault it is shows when each document's chunks go by themselves.
        for position, part in groupby(group, key=lambda draft: draft.position):
            try:
                await self._embed_and_upsert(list(part))
            except InvalidInput as error:
                failed[position] = error
        return failed

    async def _embed_and_upsert(self, group: list[Draft]) -> None:
        vectors = await self._embedder.passages([draft.cut.embedded for draft in group])
        points = await asyncio.to_thread(
            lambda: [
                to_point(draft, vector.tolist(), self._bm25, self._job_id)
                for draft, vector in zip(group, vectors, strict=True)
            ]
        )
        await self._engine.upsert(self._collection, points)
