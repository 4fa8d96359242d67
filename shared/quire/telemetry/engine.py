"""A vector engine whose every operation is timed, counted by outcome, and traced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from time import perf_counter
from types import TracebackType
from typing import TypeVar

from quire.errors import QuireError
from quire.telemetry.metrics import Metrics
from quire.telemetry.tracing import Span, Tracing
from quire.vectors.port import (
    CollectionInfo,
    CollectionSpec,
    Condition,
    CopyPath,
    FacetCount,
    IndexKind,
    Payload,
    Point,
    PointId,
    Query,
    Record,
    RecordPage,
    ScoredRecord,
    VectorEngine,
)

T = TypeVar("T")


class MeasuredEngine(VectorEngine):
    """The engine it is given, measured; it changes nothing that goes in or comes out."""

    def __init__(
        self, engine: VectorEngine, metrics: Metrics, tracing: Tracing | None = None
    ) -> None:
        self.name = engine.name
        self._engine = engine
        self._metrics = metrics
        self._tracing = Tracing() if tracing is None else tracing

    async def create(self, collection: str, spec: CollectionSpec) -> None:
        with self._measure("create", collection):
            await self._engine.create(collection, spec)

    async def drop(self, collection: str) -> None:
        with self._measure("drop", collection):
            await self._engine.drop(collection)

    async def exists(self, collection: str) -> bool:
        with self._measure("exists", collection):
            return await self._engine.exists(collection)

    async def collections(self) -> AsyncIterator[str]:
        async with aclosing(self._measured("collections", self._engine.collections())) as names:
            async for name in names:
                yield name

    async def info(self, collection: str) -> CollectionInfo:
        with self._measure("info", collection):
            return await self._engine.info(collection)

    async def upsert(
        self, collection: str, points: Sequence[Point], *, as_read: bool = False
    ) -> None:
        with self._measure("upsert", collection) as span:
            span.set(**{"quire.points": len(points)})
            await self._engine.upsert(collection, points, as_read=as_read)

    async def delete(self, collection: str, selector: Sequence[PointId] | Condition) -> None:
        with self._measure("delete", collection):
            await self._engine.delete(collection, selector)

    async def set_payload(
        self, collection: str, payload: Payload, selector: Sequence[PointId] | Condition
    ) -> None:
        with self._measure("set_payload", collection):
            await self._engine.set_payload(collection, payload, selector)

    async def retrieve(
        self,
        collection: str,
        ids: Sequence[PointId],
        *,
        with_payload: bool = True,
        with_vectors: bool = False,
    ) -> Sequence[Record]:
        with self._measure("retrieve", collection):
            return await self._engine.retrieve(
                collection, ids, with_payload=with_payload, with_vectors=with_vectors
            )

    async def query(self, collection: str, query: Query) -> Sequence[ScoredRecord]:
        with self._measure("query", collection):
            return await self._engine.query(collection, query)

    async def scroll(
        self,
        collection: str,
        *,
        filter: Condition | None = None,
        cursor: PointId | None = None,
        limit: int = 100,
        with_vectors: bool = False,
    ) -> RecordPage:
        with self._measure("scroll", collection):
            return await self._engine.scroll(
                collection, filter=filter, cursor=cursor, limit=limit, with_vectors=with_vectors
            )

    async def stream(
        self,
        collection: str,
        *,
        filter: Condition | None = None,
        cursor: PointId | None = None,
    ) -> AsyncGenerator[Sequence[Record], None]:
        batches = self._engine.stream(collection, filter=filter, cursor=cursor)
        async with aclosing(self._measured("stream", batches, collection)) as measured:
            async for batch in measured:
                yield batch

    async def ids(
        self,
        collection: str,
        *,
        filter: Condition | None = None,
        cursor: PointId | None = None,
    ) -> AsyncGenerator[Sequence[PointId], None]:
        pages = self._engine.ids(collection, filter=filter, cursor=cursor)
        async with aclosing(self._measured("ids", pages, collection)) as measured:
            async for page in measured:
                yield page

    async def copy(self, source: str, target: str) -> CopyPath | None:
        with self._measure("copy", source) as span:
            path = await self._engine.copy(source, target)
            span.set(**{"quire.copy_path": path or "none"})
            return path

    async def begin_filling(self, collection: str) -> None:
        with self._measure("begin_filling", collection):
            await self._engine.begin_filling(collection)

    async def end_filling(self, collection: str) -> None:
        with self._measure("end_filling", collection):
            await self._engine.end_filling(collection)

    async def count(
        self, collection: str, filter: Condition | None = None, *, exact: bool = True
    ) -> int:
        with self._measure("count", collection):
            return await self._engine.count(collection, filter, exact=exact)

    async def facet(
        self, collection: str, key: str, *, filter: Condition | None = None, limit: int = 100
    ) -> Sequence[FacetCount]:
        with self._measure("facet", collection):
            return await self._engine.facet(collection, key, filter=filter, limit=limit)

    async def create_index(self, collection: str, key: str, kind: IndexKind) -> None:
        with self._measure("create_index", collection):
            await self._engine.create_index(collection, key, kind)

    async def flush(self, collection: str) -> None:
        with self._measure("flush", collection):
            await self._engine.flush(collection)

    async def release(self, collection: str) -> None:
        with self._measure("release", collection):
            await self._engine.release(collection)

    def hot_collections(self) -> int | None:
        return self._engine.hot_collections()

    async def ping(self) -> str:
        with self._measure("ping"):
            return await self._engine.ping()

    async def close(self) -> None:
        await self._engine.close()

    async def _measured(
        self, operation: str, answers: AsyncIterator[T], collection: str | None = None
    ) -> AsyncGenerator[T, None]:
        """What the engine gives one by one; only its time counts, not the caller's in between."""
        seconds = 0.0
        outcome = "ok"
        try:
            while True:
                started = perf_counter()
                try:
                    answer = await anext(answers)
                except StopAsyncIteration:
                    return
                except BaseException as error:
                    outcome = _outcome(error)
                    raise
                finally:
                    seconds += perf_counter() - started
                yield answer
        finally:
            if isinstance(answers, AsyncGenerator):
                await answers.aclose()  # the caller may leave before the end
            self._metrics.observe_engine(self.name, operation, outcome, seconds)
            self._tracing.record(
                f"{self.name} {operation}",
                seconds=seconds,
                **{"quire.outcome": outcome},
                **({} if collection is None else {"db.collection.name": collection}),
            )

    def _measure(self, operation: str, collection: str | None = None) -> _Measurement:
        return _Measurement(self.name, operation, collection, self._metrics, self._tracing)


class _Measurement:
    """Around one operation: its time and outcome to the metrics, and a span when tracing is on."""

    __slots__ = ("_engine", "_metrics", "_operation", "_span", "_started")

    def __init__(
        self,
        engine: str,
        operation: str,
        collection: str | None,
        metrics: Metrics,
        tracing: Tracing,
    ) -> None:
        self._engine = engine
        self._operation = operation
        self._metrics = metrics
        if tracing.enabled:
            self._span = tracing.span(
                f"{engine} {operation}",
                kind="client",
                **{
                    "db.system.name": "qdrant",
                    "db.operation.name": operation,
                    "db.collection.name": collection or "",
                },
            )
        else:
            self._span = tracing.span(operation)

    def __enter__(self) -> Span:
        span = self._span.__enter__()
        self._started = perf_counter()
        return span

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        seconds = perf_counter() - self._started
        self._metrics.observe_engine(self._engine, self._operation, _outcome(error), seconds)
        self._span.__exit__(kind, error, traceback)


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return "ok"
    if isinstance(error, QuireError):
        return error.code
    return "cancelled" if isinstance(error, asyncio.CancelledError) else "internal"
