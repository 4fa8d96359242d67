"""What is the server engine's own: creation in two steps, outages, refusals."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from quire.errors import (
    CollectionNotFound,
    ConfigurationError,
    Conflict,
    InvalidInput,
    QuireError,
    StorageFull,
    Unavailable,
)
from quire.vectors import server_copies
from quire.vectors.port import STANDARD_INDEXES, CollectionSpec, Point
from quire.vectors.server import QdrantEngine
from quire.vectors.server_faults import answers, local_answers

if TYPE_CHECKING:
    from tests.backends.qdrant import QdrantProcess


@pytest.fixture
async def engine(qdrant_url: str) -> AsyncIterator[QdrantEngine]:
    opened = await QdrantEngine.open(qdrant_url, prefix=f"s{uuid.uuid4().hex[:12]}-")
    yield opened
    for name in [name async for name in opened.collections()]:
        await opened.drop(name)
    await opened.close()


@pytest.mark.server
async def test_a_creation_that_was_broken_off_is_completed_by_a_repeat(
    engine: QdrantEngine, qdrant_url: str
) -> None:
    client = AsyncQdrantClient(url=qdrant_url, check_compatibility=False)
    await client.create_collection(
        engine._server.on_server("work"),
        vectors_config={"dense": models.VectorParams(size=4, distance=models.Distance.COSINE)},
    )
    await client.close()

    await engine.create("work", CollectionSpec(4))

    assert set((await engine.info("work")).indexes) == set(STANDARD_INDEXES)


@pytest.mark.server
async def test_a_creation_that_fails_half_way_leaves_nothing(
    engine: QdrantEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> CollectionSpec:
        raise Unavailable

    monkeypatch.setattr(engine, "_index", fail)
    with pytest.raises(Unavailable):
        await engine.create("work", CollectionSpec(4))

    assert not await engine.exists("work")


@pytest.mark.server
async def test_a_cancelled_creation_goes_on_to_the_end(engine: QdrantEngine) -> None:
    creating = asyncio.create_task(engine.create("work", CollectionSpec(4)))
    await asyncio.sleep(0)
    creating.cancel()
    await asyncio.gather(creating, return_exceptions=True)

    await asyncio.gather(*engine._tasks)

    assert set((await engine.info("work")).indexes) == set(STANDARD_INDEXES)


@pytest.mark.server
async def test_creations_at_once_agree(engine: QdrantEngine) -> None:
    await asyncio.gather(*(engine.create("work", CollectionSpec(4)) for _ in range(4)))

    assert [name async for name in engine.collections()] == ["work"]


@pytest.mark.server
async def test_other_peoples_collections_are_not_ours(
    engine: QdrantEngine, qdrant_url: str
) -> None:
    other = await QdrantEngine.open(qdrant_url, prefix=f"o{uuid.uuid4().hex[:12]}-")
    await other.create("theirs", CollectionSpec(4))

    assert [name async for name in engine.collections()] == []
    assert not await engine.exists("theirs")
    await other.drop("theirs")
    await other.close()


@pytest.mark.server
async def test_a_server_that_comes_back_is_used_again(qdrant_process: QdrantProcess) -> None:
    engine = await QdrantEngine.open(
        qdrant_process.url, grpc_port=qdrant_process.grpc_port, timeout=10
    )
    await engine.create("work", CollectionSpec(2))
    await engine.upsert("work", [Point(1, [1.0, 0.0])])

    qdrant_process.kill()
    for call in (engine.ping(), engine.count("work"), engine.upsert("work", [Point(2)])):
        with pytest.raises(Unavailable):
            await call

    await asyncio.to_thread(qdrant_process.start)
    for _ in range(100):  # gRPC waits a little before it tries again
        try:
            await engine.upsert("work", [Point(3)])
            break
        except Unavailable:
            await asyncio.sleep(0.1)
    assert 1 in [record.id for record in (await engine.scroll("work")).records]
    assert 3 in [record.id for record in (await engine.scroll("work")).records]
    await engine.close()


async def _snapshots(engine: QdrantEngine, url: str, name: str) -> list[str]:
    async with httpx.AsyncClient(base_url=url) as client:
        answer = await client.get(f"/collections/{engine._server.on_server(name)}/snapshots")
        return [entry["name"] for entry in answer.json()["result"]]


@pytest.mark.server
async def test_a_copy_leaves_no_snapshot_even_when_its_caller_gives_up(
    engine: QdrantEngine, qdrant_url: str
) -> None:
    await engine.create("work", CollectionSpec(2))
    await engine.upsert("work", [Point(1, [1.0, 0.0])])
    copying = asyncio.create_task(engine.copy("work", "copy"))
    await asyncio.sleep(0.02)
    copying.cancel()
    await asyncio.gather(copying, return_exceptions=True)

    await engine.drop("copy")  # waits for what is still under way

    assert not await engine.exists("copy")
    assert await _snapshots(engine, qdrant_url, "work") == []


@pytest.mark.server
async def test_a_server_that_does_not_reach_itself_makes_no_copy_and_keeps_no_snapshot(
    engine: QdrantEngine, qdrant_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await engine.create("work", CollectionSpec(2))
    answered = server_copies.answered

    async def elsewhere(*call: Any, **how: Any) -> Any:
        server, verb, path, body, *rest = call
        if "recover" in path:
            body = {**body, "location": "http://127.0.0.1:9/nothing"}
        return await answered(server, verb, path, body, *rest, **how)

    monkeypatch.setattr(server_copies, "answered", elsewhere)

    assert await engine.copy("work", "copy") is None

    assert not await engine.exists("copy")
    assert await _snapshots(engine, qdrant_url, "work") == []


@pytest.mark.server
async def test_what_a_crash_left_of_a_copy_goes_with_the_collection(
    engine: QdrantEngine, qdrant_url: str
) -> None:
    await engine.create("work", CollectionSpec(2))
    async with httpx.AsyncClient(base_url=qdrant_url, timeout=30) as client:
        path = f"/collections/{engine._server.on_server('work')}/snapshots"
        (await client.post(path)).raise_for_status()

    await engine.drop("work")

    await engine.create("work", CollectionSpec(2))
    assert await _snapshots(engine, qdrant_url, "work") == []


@pytest.mark.server
async def test_filling_raises_the_indexing_threshold_and_gives_it_back_exactly(
    engine: QdrantEngine,
) -> None:
    await engine.create("work", CollectionSpec(2))
    before = await server_copies._indexing_threshold(engine._server, "work")

    await engine.begin_filling("work")
    await engine.begin_filling("work")
    during = await server_copies._indexing_threshold(engine._server, "work")
    await engine.copy("work", "copy")
    await engine.end_filling("work")
    await engine.end_filling("work")

    assert before > 0
    assert during > 1 << 39
    for name in ("work", "copy"):
        assert await server_copies._indexing_threshold(engine._server, name) == before


def _refused(status: int, words: str) -> UnexpectedResponse:
    content = f'{{"status":{{"error":"{words}"}}}}'.encode()
    return UnexpectedResponse(status, "", content, httpx.Headers())


def _failed(code: grpc.StatusCode, words: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), words)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (_refused(400, "Wrong input"), InvalidInput),
        (_refused(404, "Collection does not exist"), CollectionNotFound),
        (_refused(409, "exists"), Conflict),
        (_refused(401, "Must provide an API key"), ConfigurationError),
        (_refused(429, "slow down"), Unavailable),
        (_refused(500, "No space left on device"), StorageFull),
        (_refused(500, "panicked"), Unavailable),
        (_refused(503, ""), Unavailable),
        (_failed(grpc.StatusCode.INVALID_ARGUMENT, "no"), InvalidInput),
        (_failed(grpc.StatusCode.NOT_FOUND, "no"), CollectionNotFound),
        (_failed(grpc.StatusCode.DEADLINE_EXCEEDED, "late"), Unavailable),
        (_failed(grpc.StatusCode.INTERNAL, "Out of disk space"), StorageFull),
        (_failed(grpc.StatusCode.UNAUTHENTICATED, "key"), ConfigurationError),
        (httpx.ReadTimeout("late"), Unavailable),
    ],
)
def test_refusals_and_silences_have_their_errors(
    raised: Exception, expected: type[QuireError]
) -> None:
    with pytest.raises(QuireError) as mapped, answers("work"):
        raise raised
    assert type(mapped.value) is expected


def test_local_mode_has_them_too() -> None:
    with pytest.raises(CollectionNotFound), local_answers("work"):
        raise ValueError("Collection work not found")


async def test_an_api_key_without_tls_does_not_warn() -> None:
    engine = await QdrantEngine.open("http://127.0.0.1:9", api_key="secret", grpc_port=9)
    await engine.close()
