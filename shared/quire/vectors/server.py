"""The engine that is a Qdrant server, or a cluster of them.

Each kind of call goes the way that is fastest: upserts by gRPC, past the client's models; pages of
points as plain JSON; the rest by the REST client. Nothing connects before the first call, and a
server that went away and came back is used again without any ceremony.

`QdrantEngine.in_memory()` is the test double on the client's local mode. What local mode lacks:
payload indexes have no effect (their kinds are remembered here, so facets check them all the same),
matching `True` also finds the number 1, and nothing is fast. A field set to null, which servers
remove, is removed by hand.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace

from qdrant_client import models

from quire.errors import Conflict, InvalidInput, QuireError, Unavailable, VerificationFailed
from quire.vectors import server_copies
from quire.vectors.conditions import (
    checked_condition,
    checked_facet,
    checked_page,
    checked_query,
    checked_selector,
)
from quire.vectors.fusion import facet_order
from quire.vectors.port import (
    MAX_IDS,
    CollectionInfo,
    CollectionSpec,
    Condition,
    CopyPath,
    Distance,
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
from quire.vectors.server_calls import ServerCalls
from quire.vectors.server_points import retrieved, scrolled, searched, upserted
from quire.vectors.server_streams import ids_of, streamed
from quire.vectors.server_translate import collection_options, to_filter, to_schema
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

_NO_INDEX_YET = "No appropriate index for faceting"
"""Said of an index that is there, too: a segment that is being optimised gets it afterwards."""

_INDEX_SECONDS = 30.0
_INDEX_PAUSE_SECONDS = 0.2


class QdrantEngine(ServerCalls):
    """`VectorEngine` on a Qdrant server; make one with `await QdrantEngine.open(url, …)`."""

    name = "qdrant"

    async def create(self, collection: str, spec: CollectionSpec) -> None:
        """Make the collection with its indexes; what a broken-off attempt left is completed."""
        collection_name(collection)
        collection_spec(spec)
        await self._to_the_end(self._create(collection, spec))

    async def _create(self, name: str, spec: CollectionSpec) -> None:
        async with self._alone(name):
            created = await self._create_bare(name, spec)
            present = CollectionSpec(spec.dimension, spec.distance, {})
            if not created:
                present = await self._spec(name, fresh=True)
                require_same(name, present, spec)
            try:
                for key, kind in spec.indexes.items():
                    present = await self._index(name, present, key, kind)
            except QuireError:
                if created:
                    await self._delete_quietly(name)
                raise
            self._remember(name, present)

    async def _create_bare(self, name: str, spec: CollectionSpec) -> bool:
        if self._server.local and spec.distance is Distance.COSINE:
            # Local mode normalises what is normalised again, and changes last bits by it.
            spec = replace(spec, distance=Distance.DOT)
        options = collection_options(spec)
        try:
            with self._server.answers(name):
                await self._server.client.create_collection(
                    self._server.on_server(name), **options, **self._cluster
                )
        except Conflict:
            return False
        return True

    async def _delete_quietly(self, name: str) -> None:
        # The error that brought us here is the one to tell; a repeated create completes the rest.
        try:
            with self._server.answers(name):
                await self._server.client.delete_collection(self._server.on_server(name))
        except QuireError:
            pass

    async def drop(self, collection: str) -> None:
        """Delete the collection, if there is one."""
        collection_name(collection)
        async with self._alone(collection):
            await self._drop(collection)

    async def _drop(self, name: str) -> None:
        self._specs.pop(name, None)
        await server_copies.forgotten(self._server, name)
        with self._server.answers(name):
            await self._server.client.delete_collection(self._server.on_server(name))

    async def exists(self, collection: str) -> bool:
        """Whether the server has it."""
        collection_name(collection)
        with self._server.answers(collection):
            return await self._server.client.collection_exists(self._server.on_server(collection))

    async def collections(self) -> AsyncIterator[str]:
        """The names with our prefix, without it."""
        with self._server.answers():
            listed = await self._server.client.get_collections()
        for name in sorted(entry.name for entry in listed.collections):
            if name.startswith(self._server.prefix):
                yield name.removeprefix(self._server.prefix)

    async def info(self, collection: str) -> CollectionInfo:
        """Counts and indexes; the server does not tell bytes."""
        collection_name(collection)
        spec = await self._spec(collection, fresh=True)
        with self._server.answers(collection):
            found = await self._server.client.get_collection(self._server.on_server(collection))
        return CollectionInfo(
            name=collection,
            points_count=await self.count(collection),
            indexed_vectors_count=found.indexed_vectors_count or 0,
            segments_count=found.segments_count,
            indexes=spec.indexes,
        )

    async def upsert(
        self, collection: str, points: Sequence[Point], *, as_read: bool = False
    ) -> None:
        """Write the batch in one request, which the server logs as one."""
        spec = await self._spec(collection)
        checked = points if as_read else checked_points(points, spec)
        if not checked:
            return
        await upserted(self._server, collection, checked)

    async def delete(self, collection: str, selector: Sequence[PointId] | Condition) -> None:
        """Remove by ids or by filter."""
        await self._spec(collection)
        selected = checked_selector(selector)
        if isinstance(selected, HasId) and not selected.ids:
            return
        points: models.PointsSelector = (
            models.PointIdsList(points=list(selected.ids))
            if isinstance(selected, HasId)
            else models.FilterSelector(filter=to_filter(selected))
        )
        with self._server.answers(collection):
            await self._server.client.delete(self._server.on_server(collection), points, wait=True)

    async def set_payload(
        self, collection: str, payload: Payload, selector: Sequence[PointId] | Condition
    ) -> None:
        """Merge fields in, always by filter: by ids the server stops at the first unknown one."""
        await self._spec(collection)
        fields = dict(checked_payload(payload))
        selected = models.FilterSelector(filter=to_filter(checked_selector(selector)))
        with self._server.answers(collection):
            await self._server.client.set_payload(
                self._server.on_server(collection), fields, selected, wait=True
            )
            if self._server.local and (nulls := [k for k, v in fields.items() if v is None]):
                await self._server.client.delete_payload(collection, nulls, selected)

    async def retrieve(
        self,
        collection: str,
        ids: Sequence[PointId],
        *,
        with_payload: bool = True,
        with_vectors: bool = False,
    ) -> Sequence[Record]:
        """The points with these ids, in their order."""
        await self._spec(collection)
        return await retrieved(
            self._server,
            collection,
            point_ids(ids),
            with_payload=with_payload,
            with_vectors=with_vectors,
        )

    async def query(self, collection: str, query: Query) -> Sequence[ScoredRecord]:
        """Search; both vectors together are ranked by the server and fused by `fusion`."""
        checked = checked_query(query, await self._spec(collection))
        return await searched(self._server, collection, checked)

    async def scroll(
        self,
        collection: str,
        *,
        filter: Condition | None = None,
        cursor: PointId | None = None,
        limit: int = 100,
        with_vectors: bool = False,
    ) -> RecordPage:
        """A page in id order."""
        collection_name(collection)
        checked_page(limit)
        start, condition = _start(cursor), _filter(filter)
        return await scrolled(self._server, collection, condition, start, limit, with_vectors)

    def stream(
        self,
        collection: str,
        *,
        filter: Condition | None = None,
        cursor: PointId | None = None,
    ) -> AsyncGenerator[Sequence[Record], None]:
        """Read by ids, several batches at a time; see `server_streams`."""
        collection_name(collection)
        return streamed(self._server, collection, _filter(filter), _start(cursor))

    def ids(
        self,
        collection: str,
        *,
        filter: Condition | None = None,
        cursor: PointId | None = None,
    ) -> AsyncGenerator[Sequence[PointId], None]:
        """Pages of ids alone."""
        collection_name(collection)
        return ids_of(self._server, collection, _filter(filter), _start(cursor))

    async def copy(self, source: str, target: str) -> CopyPath | None:
        """Through a snapshot, where one node holds everything; goes on when the caller gives up.

        None as well when the server does not reach itself under our address for it.
        """
        differing_names(source, target)
        return await self._to_the_end(self._copy(source, target))

    async def _copy(self, source: str, target: str) -> CopyPath | None:
        spec = await self._spec(source, fresh=True)
        if not await server_copies.is_single(self._server):
            return None
        async with self._alone(target):
            await self._drop(target)
            before = await self.count(source)
            # The server names snapshots by the second: two of one source would be one file.
            async with self._alone(f"{source}/snapshots"):
                if not await server_copies.copied(self._server, source, target):
                    return None
            there, after = await self.count(target), await self.count(source)
            same = await self._spec(target, fresh=True) == spec
        # Between two counts that differ somebody wrote, and any number may be right.
        if not same or (before == after != there):
            await self.drop(target)
            raise VerificationFailed(
                f"The copy of collection {source} has {there} points, not {before}.",
                collection=source,
            )
        return CopyPath.SNAPSHOT

    async def begin_filling(self, collection: str) -> None:
        """Put indexing off."""
        await self._spec(collection)
        if not self._server.local:
            await server_copies.begin_filling(self._server, collection)

    async def end_filling(self, collection: str) -> None:
        """Have the server index, in the background."""
        await self._spec(collection)
        if not self._server.local:
            await server_copies.end_filling(self._server, collection)

    async def count(
        self, collection: str, filter: Condition | None = None, *, exact: bool = True
    ) -> int:
        """How many points there are, or match."""
        collection_name(collection)
        condition = _filter(filter)
        with self._server.answers(collection):
            counted = await self._server.client.count(
                self._server.on_server(collection), condition, exact
            )
        return counted.count

    async def facet(
        self, collection: str, key: str, *, filter: Condition | None = None, limit: int = 100
    ) -> Sequence[FacetCount]:
        """Counts per value of an indexed field."""
        spec = await self._spec(collection)
        if key not in spec.indexes:
            spec = await self._spec(collection, fresh=True)
        checked_facet(key, spec)
        checked_page(limit, MAX_IDS)
        condition = _filter(filter)
        deadline = time.monotonic() + _INDEX_SECONDS
        while True:
            try:
                with self._server.answers(collection):
                    response = await self._server.client.facet(
                        self._server.on_server(collection), key, condition, limit, exact=True
                    )
                break
            except InvalidInput as error:
                if _NO_INDEX_YET not in error.message:
                    raise
                if time.monotonic() > deadline:
                    raise Unavailable(f"{key} is still being indexed", retry_after=5.0) from None
                await asyncio.sleep(_INDEX_PAUSE_SECONDS)
        counts = (FacetCount(hit.value, hit.count) for hit in response.hits if hit.count)
        return sorted(counts, key=facet_order)

    async def create_index(self, collection: str, key: str, kind: IndexKind) -> None:
        """Index a payload field; again is no error, another kind is."""
        payload_key(key, "key")
        async with self._alone(collection):
            spec = await self._spec(collection, fresh=True)
            self._remember(collection, await self._index(collection, spec, key, kind))

    async def _index(
        self, name: str, spec: CollectionSpec, key: str, kind: IndexKind
    ) -> CollectionSpec:
        if not needs_index(spec, key, kind):
            return spec
        if not self._server.local:  # there it has no effect, and warns
            with self._server.answers(name):
                await self._server.client.create_payload_index(
                    self._server.on_server(name), key, to_schema(kind), wait=True
                )
        return with_index(spec, key, kind)

    async def flush(self, collection: str) -> None:
        """Nothing to call: the server syncs what it acknowledged by itself, every few seconds."""
        await self._spec(collection)

    async def release(self, collection: str) -> None:
        """Nothing to let go of in this process."""
        await self._spec(collection)

    def hot_collections(self) -> int | None:
        """Not known: the server keeps all of them open."""
        return None

    async def ping(self) -> str:
        """The server's version."""
        self._server.require_open()
        if self._server.local:
            return "qdrant-client local mode"
        with self._server.answers():
            return f"qdrant {(await self._server.client.info()).version}"


def _start(cursor: PointId | None) -> PointId | None:
    return None if cursor is None else point_id(cursor, "cursor")


def _filter(condition: Condition | None) -> models.Filter | None:
    return None if condition is None else to_filter(checked_condition(condition))
