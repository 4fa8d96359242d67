"""The embedded engine: Qdrant's own, in this process, one shard directory for each collection.

`edge_root` says where things lie and why a crash does no harm; `edge_shards` keeps the shards that
are open. Here the port's methods become short calls in worker threads. The engine holds the GIL in
each of its calls, so threads do not make it parallel: they keep file work and waiting off the event
loop, and every call is kept short enough for the loop to breathe in between.

An open engine does not survive a fork: in the child it answers `Unavailable`, and leaves the
parent's files alone. Start worker processes by spawning.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Self, TypeVar
from weakref import WeakValueDictionary

import qdrant_edge as edge

from quire.errors import Unavailable
from quire.vectors.conditions import (
    checked_condition,
    checked_facet,
    checked_page,
    checked_query,
    checked_selector,
)
from quire.vectors.edge_faults import faults
from quire.vectors.edge_files import disk_bytes
from quire.vectors.edge_memory import DROP_EVERY, drop_mapped_pages
from quire.vectors.edge_reads import counted, retrieved, scrolled, searched
from quire.vectors.edge_root import EdgeRoot
from quire.vectors.edge_shards import OpenShard, OpenShards
from quire.vectors.edge_templates import ENGINE_VERSION, index_operation
from quire.vectors.edge_translate import to_filter, to_point
from quire.vectors.port import (
    MAX_IDS,
    CollectionInfo,
    CollectionSpec,
    Condition,
    FacetCount,
    HasId,
    IndexKind,
    Payload,
    Point,
    PointId,
    Query,
    Record,
    RecordPage,
    ScoredRecord,
)
from quire.vectors.specs import needs_index, require_same, with_index
from quire.vectors.validation import (
    checked_payload,
    checked_points,
    collection_name,
    collection_spec,
    payload_key,
    point_id,
    point_ids,
)

T = TypeVar("T")

_UPSERT_STEP = 256
"""Points in one engine call; more would hold the GIL for too long."""

_THREADS = 6
_SPECS_KEPT = 10_000


class EdgeEngine:
    """`VectorEngine` on qdrant-edge; make one with `await EdgeEngine.open(root, max_open=…)`."""

    name = "edge"

    def __init__(self, root: EdgeRoot, max_open: int) -> None:
        self._root = root
        self._shards = OpenShards(root, max_open)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="quire-edge")
        self._writers: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._specs: OrderedDict[str, CollectionSpec] = OrderedDict()
        self._pid = os.getpid()
        self._closed = False

    @classmethod
    async def open(
        cls,
        root: Path,
        *,
        max_open: int,
        lock_wait: float = 2.0,
        min_free_bytes: int = 64 << 20,
    ) -> Self:
        """Take the root's lock, sweep what a crash left, and be ready.

        `max_open` shards stay open (each takes a file descriptor, a thread and some 16 memory
        maps). Raises `ConfigurationError` when another process has the root.
        """
        make = partial(EdgeRoot, root, lock_wait=lock_wait, min_free_bytes=min_free_bytes)
        return cls(await asyncio.to_thread(make), max_open)

    async def create(self, collection: str, spec: CollectionSpec) -> None:
        """Clone the template of this specification; see `edge_root` for what a crash does."""
        collection_name(collection)
        collection_spec(spec)
        async with self._writing(collection):
            await self._run(partial(self._create, collection, spec))
            self._specs.pop(collection, None)

    def _create(self, name: str, spec: CollectionSpec) -> None:
        with faults(name):
            if not self._root.exists(name):
                self._root.require_room()
                self._root.lay(name, spec)
                return
            present = self._root.spec(name)
        require_same(name, present, spec)
        for key, kind in spec.indexes.items():
            self._create_index(name, key, kind)

    async def drop(self, collection: str) -> None:
        """Rename the collection away, then remove its files."""
        collection_name(collection)
        async with self._writing(collection):
            await self._run(partial(self._drop, collection))
            self._specs.pop(collection, None)

    def _drop(self, name: str) -> None:
        self._shards.discard(name)
        self._root.empty_trash()

    async def exists(self, collection: str) -> bool:
        """Whether its directory is there; the shard is not opened."""
        collection_name(collection)
        return await self._run(partial(self._root.exists, collection))

    async def collections(self) -> AsyncIterator[str]:
        """All names, from the directory alone."""
        for name in await self._run(lambda: sorted(self._root.names())):
            yield name

    async def info(self, collection: str) -> CollectionInfo:
        """Counts, indexes, and the bytes on disk."""

        def read(shard: edge.EdgeShard) -> CollectionInfo:
            found = shard.info()
            return CollectionInfo(
                name=collection,
                points_count=shard.count(edge.CountRequest(exact=True)),
                indexed_vectors_count=found.indexed_vectors_count,
                segments_count=found.segments_count,
                indexes=self._root.spec(collection).indexes,
                disk_bytes=disk_bytes(self._root.shard_path(collection)),
            )

        return await self._read(collection, read)

    async def upsert(self, collection: str, points: Sequence[Point]) -> None:
        """Write the batch in steps, none of another writer in between."""

        def write(shard: edge.EdgeShard) -> None:
            for start in range(0, len(checked), _UPSERT_STEP):
                step = [to_point(point) for point in checked[start : start + _UPSERT_STEP]]
                shard.update(edge.UpdateOperation.upsert_points(step))

        spec = await self._spec(collection)
        checked = await self._run(partial(checked_points, points, spec))
        if checked:
            await self._write(collection, write, points=len(checked))

    async def delete(self, collection: str, selector: Sequence[PointId] | Condition) -> None:
        """Remove by ids or by filter."""
        await self._spec(collection)
        selected = checked_selector(selector)
        if isinstance(selected, HasId) and not selected.ids:
            return
        operation = (
            edge.UpdateOperation.delete_points(list(selected.ids))
            if isinstance(selected, HasId)
            else edge.UpdateOperation.delete_points_by_filter(to_filter(selected))
        )
        await self._write(collection, lambda shard: shard.update(operation))

    async def set_payload(
        self, collection: str, payload: Payload, selector: Sequence[PointId] | Condition
    ) -> None:
        """Merge fields in, always by filter: by ids the engine stops at the first unknown one."""
        await self._spec(collection)
        checked_payload(payload)
        operation = edge.UpdateOperation.set_payload_by_filter(
            to_filter(checked_selector(selector)), dict(payload)
        )
        await self._write(collection, lambda shard: shard.update(operation))

    async def retrieve(
        self, collection: str, ids: Sequence[PointId], *, with_vectors: bool = False
    ) -> Sequence[Record]:
        """The points with these ids, in steps."""

        wanted = point_ids(ids)
        return await self._read(collection, partial(retrieved, wanted, with_vectors))

    async def query(self, collection: str, query: Query) -> Sequence[ScoredRecord]:
        """Search; both vectors together are ranked by the engine and fused by `fusion`."""
        checked = checked_query(query, await self._spec(collection))
        return await self._read(collection, partial(searched, checked))

    async def scroll(
        self,
        collection: str,
        *,
        filter: Condition | None = None,
        cursor: PointId | None = None,
        limit: int = 100,
        with_vectors: bool = False,
    ) -> RecordPage:
        """A page in id order, read in steps."""

        checked_page(limit)
        start = None if cursor is None else point_id(cursor, "cursor")
        condition = _filter(filter)
        call = partial(scrolled, condition, start, limit, with_vectors)
        return await self._read(collection, call)

    async def count(
        self, collection: str, filter: Condition | None = None, *, exact: bool = True
    ) -> int:
        """How many points there are, or match."""
        request = edge.CountRequest(exact=exact, filter=_filter(filter))
        return await self._read(collection, lambda shard: shard.count(request))

    async def facet(
        self, collection: str, key: str, *, filter: Condition | None = None, limit: int = 100
    ) -> Sequence[FacetCount]:
        """Counts per value of an indexed field."""
        checked_facet(key, await self._spec(collection))
        checked_page(limit, MAX_IDS)
        request = edge.FacetRequest(key, limit=limit, exact=True, filter=_filter(filter))
        return await self._read(collection, partial(counted, request))

    async def create_index(self, collection: str, key: str, kind: IndexKind) -> None:
        """Index a payload field; again is no error, another kind is."""
        payload_key(key, "key")
        await self._spec(collection)
        async with self._writing(collection):
            await self._run(partial(self._create_index, collection, key, kind))
            self._specs.pop(collection, None)

    def _create_index(self, name: str, key: str, kind: IndexKind) -> None:
        with faults(name):
            spec = self._root.spec(name)
            if not needs_index(spec, key, kind):
                return
            self._root.require_room()
            with self._shards.lease(name) as shard, _breaking(shard), faults(name):
                shard.engine.update(index_operation(key, kind))
            self._root.remember_indexes(name, with_index(spec, key, kind))

    async def flush(self, collection: str) -> None:
        """Have everything written survive a power cut."""

        def flush() -> None:
            with self._shards.lease(collection) as shard, faults(collection):
                if shard.clean and shard.sealed:
                    return
                shard.engine.flush()
                if not shard.sealed:
                    self._root.seal(collection)
                    shard.sealed = True
                shard.clean = True

        collection_name(collection)
        async with self._writing(collection):
            await self._run(flush)

    async def release(self, collection: str) -> None:
        """Close the shard, once nobody uses it."""
        await self._spec(collection)
        async with self._writing(collection):
            await self._run(partial(self._shards.release, collection))

    def hot_collections(self) -> int | None:
        """How many shards are open."""
        return len(self._shards)

    async def ping(self) -> str:
        """The engine's version."""
        self._require_open()
        return f"qdrant-edge {ENGINE_VERSION}"

    async def close(self) -> None:
        """Close every shard and give the root up."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._pool.shutdown(wait=True)
        try:
            self._shards.close()
        finally:
            self._root.close()

    async def _spec(self, name: str) -> CollectionSpec:
        collection_name(name)
        spec = self._specs.get(name)
        if spec is None:
            spec = await self._run(partial(self._root.spec, name))
            self._specs[name] = spec
            if len(self._specs) > _SPECS_KEPT:
                self._specs.popitem(last=False)
        return spec

    async def _read(self, name: str, call: Callable[[edge.EdgeShard], T]) -> T:
        def read() -> T:
            with self._shards.lease(name) as shard, faults(name):
                return call(shard.engine)

        collection_name(name)
        return await self._run(read)

    async def _write(
        self, name: str, call: Callable[[edge.EdgeShard], None], *, points: int = 0
    ) -> None:
        def write() -> None:
            with self._shards.lease(name) as shard, _breaking(shard), faults(name):
                self._root.require_room()
                if not shard.marked:
                    self._root.mark_written(name)
                    shard.marked = True
                shard.clean = False
                call(shard.engine)
                shard.written += points
                if shard.written >= DROP_EVERY:
                    drop_mapped_pages(self._root.shard_path(name), only=b"")
                    shard.written = 0

        async with self._writing(name):
            await self._run(write)

    @asynccontextmanager
    async def _writing(self, name: str) -> AsyncIterator[None]:
        # Weakly kept: a lock lives as long as somebody holds it or waits for it.
        lock = self._writers.get(name)
        if lock is None:
            lock = self._writers[name] = asyncio.Lock()
        async with lock:
            yield

    async def _run(self, call: Callable[[], T]) -> T:
        self._require_open()
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def _require_open(self) -> None:
        if self._pid != os.getpid():
            raise Unavailable("The embedded engine is the parent process's; it survives no fork.")
        if self._closed:
            raise Unavailable("The embedded engine is closed.")


@contextmanager
def _breaking(shard: OpenShard) -> Iterator[None]:
    """After a failed write the shard is closed and loaded again, from its log."""
    try:
        yield
    except BaseException:
        shard.broken = True
        raise


def _filter(condition: Condition | None) -> edge.Filter | None:
    return None if condition is None else to_filter(checked_condition(condition))
