"""The part of a clustering that only reads: points are drawn, a process finds clusters in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quire.clustering.process import ClusterProcess
from quire.clustering.requests import MIN_POINTS, Algorithm, ClusterRequest
from quire.clustering.sampling import Chosen, chosen, others, written
from quire.clustering.worker_files import MODEL
from quire.errors import InvalidInput, LimitExceeded
from quire.points.visibility import visible
from quire.sessions.models import Session
from quire.settings import ClusteringSettings
from quire.vectors.port import Condition, Distance, VectorEngine

LOOK_SECONDS = 0.5

Folders = Callable[[], AbstractAsyncContextManager[Path]]
Wanted = Callable[[], Awaitable[bool]]
Told = Callable[[int, int], Awaitable[None]]
"""Told how many points are read, of how many."""


@dataclass(frozen=True, slots=True)
class Discovered:
    """The model, as it is kept, and what is to be told of its clusters."""

    model: bytes
    clusters: list[dict[str, Any]]
    sampled: int


class Discovery:
    """Finds clusters among a session's points; nothing is written to it."""

    def __init__(
        self, engine: VectorEngine, folders: Folders, settings: ClusteringSettings
    ) -> None:
        self._engine = engine
        self._folders = folders
        self._settings = settings

    async def run(
        self, session: Session, request: ClusterRequest, wanted: Wanted, told: Told
    ) -> Discovered | None:
        """What was found; None when it is not wanted any more."""
        collection, condition = session.collection, visible(session, request.condition())
        drawn = await chosen(
            self._engine, collection, condition, self._settings.sample, request.seed
        )
        _require_enough(session, request, drawn.total)
        async with self._folders() as folder, ClusterProcess.started() as process:

            async def may_go_on(done: int) -> bool:
                await told(done, len(drawn.ids))
                return await wanted()

            count = await written(self._engine, collection, drawn.ids, folder, may_go_on)
            if count is None:
                return None
            _require_enough(session, request, count)
            order = {
                "folder": str(folder),
                "dimension": session.embedding.dimension,
                "find": {
                    "algorithm": request.algorithm,
                    "clusters": request.clusters,
                    "min_cluster_size": request.min_cluster_size,
                    "seed": request.seed,
                    "coordinates": request.coordinates,
                    "unit": session.embedding.distance in (Distance.COSINE, Distance.DOT),
                    "total": max(drawn.total, count),
                },
            }
            more = self._more(collection, condition, request, drawn)
            answer = await self._answered(process, order, more, wanted)
            if answer is None:
                return None
            model = await asyncio.to_thread((folder / MODEL).read_bytes)
        return Discovered(model, answer["clusters"], count)

    async def _more(
        self,
        collection: str,
        condition: Condition | None,
        request: ClusterRequest,
        drawn: Chosen,
    ) -> AsyncIterator[bytes]:
        """The vectors that k-means learns from besides the sample's."""
        if drawn.is_everything or request.algorithm is not Algorithm.KMEANS:
            return
        async with aclosing(others(self._engine, collection, condition, drawn.ids)) as vectors:
            async for block in vectors:
                yield block

    async def _answered(
        self,
        process: ClusterProcess,
        order: Mapping[str, Any],
        more: AsyncIterator[bytes],
        wanted: Wanted,
    ) -> Mapping[str, Any] | None:
        """The process's answer, in time; None when nobody wants it any more."""

        async def work() -> Mapping[str, Any]:
            await process.order(order)
            async for block in more:
                await process.feed(block)
            return await process.answer()

        task = asyncio.create_task(work())
        try:
            async with asyncio.timeout(self._settings.seconds):
                while not task.done():
                    await asyncio.wait([task], timeout=LOOK_SECONDS)
                    if not task.done() and not await wanted():
                        return None
            return task.result()
        except TimeoutError:
            raise LimitExceeded(
                f"Finding clusters takes longer than {self._settings.seconds:g} seconds "
                "(QUIRE_CLUSTERING_SECONDS)",
                recovery="Ask for kmeans, or have the operator lower QUIRE_CLUSTERING_SAMPLE or "
                "raise the named setting.",
            ) from None
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _require_enough(session: Session, request: ClusterRequest, count: int) -> None:
    least = max(MIN_POINTS, request.clusters or 0)
    if count < least:
        chosen_from = "of those that the filter selects, " if request.filter else ""
        raise InvalidInput(
            f"Session {session.id} has too few points to cluster: {chosen_from}{count} have a "
            f"vector, and it takes at least {least}",
            recovery="Write more points, or ask for fewer clusters.",
        )
