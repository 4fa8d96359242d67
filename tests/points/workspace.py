"""A Quire whose sessions take points, and chunks as an ingest would leave them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quire.points.requests import Selection
from quire.settings import EmbeddingSettings
from quire.vectors.port import STAGE, Condition, Point
from tests.sessions.house import ADA, create, quire_in
from tests.sessions.servers import collections_apart

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from quire.app import Quire
    from quire.sessions.models import Session
    from quire.vectors.port import PointId
    from tests.backends.qdrant import QdrantServer

FAKE = EmbeddingSettings(provider="fake")


@asynccontextmanager
async def on_edge(directory: Path, **more: Any) -> AsyncIterator[Quire]:
    """Edge and SQLite, with the embedding provider that is for tests."""
    async with quire_in(directory, **{"embedding": FAKE, **more}) as quire:
        yield quire


@asynccontextmanager
async def on_server(directory: Path, server: QdrantServer) -> AsyncIterator[Quire]:
    """The same over a Qdrant server."""
    async with collections_apart(server) as qdrant, on_edge(directory, qdrant=qdrant) as quire:
        yield quire


async def with_points(quire: Quire, count: int = 0, **fields: Any) -> Session:
    """A session of four dimensions; its points are 0, 1, … in two kinds."""
    session = await create(quire, **{"dimension": 4, **fields})
    if count:
        points = [
            {"id": n, "vector": vector(n), "payload": {"n": n, "kind": "ab"[n % 2]}}
            for n in range(count)
        ]
        await quire.points.upsert(ADA, session.id, points)
    return session


def vector(n: int) -> list[float]:
    """Vectors that turn away from the first one, further and further."""
    return [1.0, n / 10, 0.0, 0.0]


async def with_chunks(
    quire: Quire, session: Session, ids: Sequence[PointId], job_id: str = "j", **payload: Any
) -> None:
    """Chunks of one document, as an ingest writes them; visible unless their stage is hidden."""
    chunks = [
        Point(
            identity,
            vector(n),
            payload={"document_id": "d", "seq": n, STAGE: f"in:{job_id}", **payload},
        )
        for n, identity in enumerate(ids)
    ]
    await quire.engine.upsert(session.collection, chunks)


async def changed(quire: Quire, session: Session, **fields: Any) -> Session:
    """What other parts of Quire do to a session's row."""
    async with quire.repository.transaction() as connection:
        old = await quire.repository.lock(connection, session.id)
        assert old is not None
        return await quire.repository.save(connection, old, replace(old, **fields))


def of(*ids: PointId) -> Selection:
    return Selection(ids=ids)


def where(condition: Condition) -> Selection:
    return Selection(filter=condition)


async def ids_in(quire: Quire, session: Session) -> list[PointId]:
    """The ids of the points to be seen."""
    page = await quire.points.scroll(ADA, session.id, limit=1000)
    return [record.id for record in page.records]


async def payload_of(quire: Quire, session: Session, identity: PointId) -> dict[str, Any]:
    return dict((await quire.points.get(ADA, session.id, identity)).payload)
