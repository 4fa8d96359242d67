"""The embedded engine: Qdrant's own, in this process, one shard directory for each collection.

`edge_root` says where things lie and why a crash does no harm; `edge_shards` keeps the shards that
are open. Here the port's methods become short calls in worker threads. The engine holds the GIL in
each of its calls, so threads do not make it parallel: they keep file work and waiting off the event
loop, and every call is kept short enough for the loop to breathe in between.

An open engine does not survive a fork: in the child it answers `Unavailable`, and leaves the
parent's files alone. Start worker processes by spawning.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack
from functools import partial

import qdrant_edge as edge

from quire.vectors.conditions import (
    checked_condition,
    checked_facet,
    checked_page,
    checked_query,
    checked_selector,
)
from quire.vectors.edge_calls import EdgeCalls, breaking
from quire.vectors.edge_copies import clone_collection
from quire.vectors.edge_faults import faults
from quire.vectors.edge_files import disk_bytes
from quire.vectors.edge_reads import counted, retrieved, scrolled, searched
from quire.vectors.edge_streams import ids_of, streamed
from quire.vectors.edge_templates import ENGINE_VERSION, index_operation
from quire.vectors.edge_translate import to_filter, to_point
from quire.vectors.port import (
    MAX_IDS,
    CollectionInfo,
    CollectionSpec,
    Condition,
    CopyPath,
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
    differing_names,
    payload_key,
    point_id,
    point_ids,
)

_UPSERT_STEP = 256
"""Points in one engine call; more would hold the GIL for too long."""


class EdgeEngine(EdgeCalls):
    """`VectorEngine` on qdrant-edge; make one with `await EdgeEngine.open(root, max_open=…)`."""

    name = "edge"

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

    async def upsert(
        self, collection: str, points: Sequence[Point], *, as_read: bool = False
    ) -> None:
        """Write the batch in steps, none of another writer in between."""

        def write(shard: edge.EdgeShard) -> None:
            for start in range(0, len(checked), _UPSERT_STEP):
                step = [to_point(point) for point in checked[start : start + _UPSERT_STEP]]
                shard.update(edge.UpdateOperation.upsert_points(step))

        spec = await self._spec(collection)
        checked = points
        if not as_read:
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
        fields = dict(checked_payload(payload))
        operation = edge.UpdateOperation.set_payload_by_filter(
            to_filter(checked_selector(selector)), fields
        )
        await self._write(collection, lambda shard: shard.update(operation))

    async def retrieve(
        self,
        collection: str,
        ids: Sequence[PointId],
        *,
        with_payload: bool = True,
        with_vectors: bool = False,
    ) -> Sequence[Record]:
        """The points with these ids, in steps."""
        wanted = point_ids(ids)
        return await self._read(collection, partial(retrieved, wanted, with_payload, with_vectors))

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
        call = partial(scrolled, _filter(filter), _start(cursor), limit, with_vectors)
        return await self._read(collection, call)

    def stream(
        self,
        collection: str,
        *,
        filter: Condition | None = None,
        cursor: PointId | None = None,
    ) -> AsyncGenerator[Sequence[Record], None]:
        """Page by page, one of them read ahead."""
        collection_name(collection)
        return streamed(
            partial(self._read, collection),
            partial(self._drop_pages, collection),
            _filter(filter),
            _start(cursor),
        )

    def ids(
        self,
        collection: str,
        *,
        filter: Condition | None = None,
        cursor: PointId | None = None,
    ) -> AsyncGenerator[Sequence[PointId], None]:
        """Pages of ids alone."""
        collection_name(collection)
        return ids_of(partial(self._read, collection), _filter(filter), _start(cursor))

    async def copy(self, source: str, target: str) -> CopyPath:
        """Clone the source's files; it goes on being read, and written once that is done."""
        differing_names(source, target)
        async with AsyncExitStack() as stack:
            for name in sorted((source, target)):  # so that two copies never wait for each other
                await stack.enter_async_context(self._writing(name))
            await self._whole(partial(clone_collection, self._root, self._shards, source, target))
            self._specs.pop(target, None)
        return CopyPath.CLONE

    async def begin_filling(self, collection: str) -> None:
        """Nothing to put off: this engine indexes nothing by itself."""
        await self._spec(collection)

    async def end_filling(self, collection: str) -> None:
        """Nothing was put off."""
        await self._spec(collection)

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
            with self._shards.lease(name) as shard, breaking(shard), faults(name):
                shard.engine.update(index_operation(key, kind))
            self._root.remember_indexes(name, with_index(spec, key, kind))

    async def flush(self, collection: str) -> None:
        """Have everything written survive a power cut."""
        collection_name(collection)
        async with self._writing(collection):
            await self._run(partial(self._shards.flush, collection))

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


def _start(cursor: PointId | None) -> PointId | None:
    return None if cursor is None else point_id(cursor, "cursor")


def _filter(condition: Condition | None) -> edge.Filter | None:
    return None if condition is None else to_filter(checked_condition(condition))
