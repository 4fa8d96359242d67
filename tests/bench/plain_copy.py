"""The plain way to copy points, beside which transfers are measured."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import qdrant_edge as edge
from qdrant_client import QdrantClient, models

from quire.vectors.edge import EdgeEngine
from quire.vectors.edge_root import EdgeRoot
from quire.vectors.edge_translate import from_record
from quire.vectors.port import CollectionSpec, Point
from quire.vectors.server import QdrantEngine
from quire.vectors.server_translate import collection_options
from tests.bench.points import DIMENSION, made_points

SERVER_PAGE = 100
EDGE_PAGE = 256
SPEC = CollectionSpec(DIMENSION)


def on_edge(points: int) -> float:
    """Points per second of `scroll` and `upsert` on the engine itself, nothing in between."""
    with TemporaryDirectory(prefix="quire-bench-") as directory:
        root = Path(directory)
        asyncio.run(_lay(root, points))
        own = EdgeRoot(root)
        try:
            source = edge.EdgeShard.load(str(own.shard_path("source")))
            target = edge.EdgeShard.load(str(own.shard_path("target")))
            started = time.perf_counter()
            offset = None
            while True:
                request = edge.ScrollRequest(
                    offset=offset, limit=EDGE_PAGE, with_payload=True, with_vector=True
                )
                records, offset = source.scroll(request)
                batch = [edge.Point(r.id, r.vector, r.payload) for r in records]
                target.update(edge.UpdateOperation.upsert_points(batch))
                if offset is None:
                    break
            seconds = time.perf_counter() - started
            assert target.count(edge.CountRequest(exact=True)) == points
            assert from_record(records[0]).dense is not None
            source.close()
            target.close()
        finally:
            own.close()
    return points / seconds


async def _lay(root: Path, points: int) -> None:
    engine = await EdgeEngine.open(root, max_open=2)
    for name in ("source", "target"):
        await engine.create(name, SPEC)
    await _fill(engine, points)
    await engine.close()


async def _fill(engine: EdgeEngine | QdrantEngine, points: int) -> None:
    for batch in made_points(points):
        await engine.upsert("source", [Point(p.id, p.dense, p.sparse, p.payload) for p in batch])


def on_server(url: str, grpc_port: int, points: int) -> float:
    """The same with the server's own client, page by page, as most programs would."""
    asyncio.run(_lay_on_server(url, grpc_port, points))
    client = QdrantClient(url=url, timeout=120)
    client.create_collection("plain_target", **collection_options(SPEC))
    started = time.perf_counter()
    offset = None
    while True:
        records, offset = client.scroll(
            "plain_source", limit=SERVER_PAGE, offset=offset, with_payload=True, with_vectors=True
        )
        client.upsert(
            "plain_target",
            [
                models.PointStruct(id=r.id, vector=r.vector or {}, payload=r.payload)
                for r in records
            ],
        )
        if offset is None:
            break
    seconds = time.perf_counter() - started
    assert client.count("plain_target", exact=True).count == points
    for name in ("plain_source", "plain_target"):
        client.delete_collection(name)
    client.close()
    return points / seconds


async def _lay_on_server(url: str, grpc_port: int, points: int) -> None:
    engine = await QdrantEngine.open(url, grpc_port=grpc_port, prefix="plain_")
    await engine.create("source", SPEC)
    await _fill(engine, points)
    await engine.close()
