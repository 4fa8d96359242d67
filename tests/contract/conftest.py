"""The vector engines, each in turn, for the suites that all of them must pass."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quire.vectors.edge import EdgeEngine
from quire.vectors.port import CollectionSpec, VectorEngine
from quire.vectors.server import QdrantEngine
from tests.contract.points import Collection

ENGINES = ["edge", "memory", pytest.param("server", marks=pytest.mark.server)]


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorEngine]:
    made: VectorEngine
    prefix = f"t{uuid.uuid4().hex[:12]}-"
    if request.param == "edge":
        made = await EdgeEngine.open(tmp_path / "edge", max_open=4)
    elif request.param == "memory":
        made = QdrantEngine.in_memory()
    else:
        made = await QdrantEngine.open(
            request.getfixturevalue("qdrant_url"),
            grpc_port=request.getfixturevalue("qdrant_grpc_port"),
            prefix=prefix,
        )
    yield made
    await made.close()
    if request.param == "server":
        await _cleaned(request.getfixturevalue("qdrant_url"), prefix)


async def _cleaned(url: str, prefix: str) -> None:
    engine = await QdrantEngine.open(url, prefix=prefix)
    for name in [name async for name in engine.collections()]:
        await engine.drop(name)
    await engine.close()


@pytest.fixture
async def work(engine: VectorEngine) -> Collection:
    await engine.create("work", CollectionSpec(4))
    return Collection(engine, "work")
