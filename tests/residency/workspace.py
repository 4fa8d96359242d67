"""Sessions with points in them, and what is in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from quire.access.principal import Principal
from quire.app import Quire
from quire.sessions.models import Session
from quire.settings import BlobSettings, ResidencySettings
from quire.vectors.port import Record
from tests.backends.qdrant import QdrantServer
from tests.sessions.house import ADA, create, quire_in
from tests.sessions.servers import quires_on_servers

DIMENSION = 8
STILL: dict[str, Any] = {
    "residency": ResidencySettings(sweep_seconds=3600),
    "blob": BlobSettings(sweep_grace_seconds=0),
}
"""Settings under which nothing goes cold but by the test."""


def points(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "vector": [float(number % 7 + place + 1) for place in range(DIMENSION)],
            "payload": {"n": number, "text": f"leaf {number}", "tags": ["a", "b"]},
        }
        for number in range(start, start + count)
    ]


@asynccontextmanager
async def embedded(directory: Path, **more: Any) -> AsyncIterator[Quire]:
    async with quire_in(directory, **{**STILL, **more}) as quire:
        yield quire


@asynccontextmanager
async def on_servers(
    directory: Path, postgres_url: str, qdrant: QdrantServer, **more: Any
) -> AsyncIterator[Sequence[Quire]]:
    """Two processes' worth, which share all they have."""
    settings = {**STILL, **more}
    async with quires_on_servers(directory, postgres_url, qdrant, **settings) as pair:
        yield pair


async def filled(quire: Quire, count: int = 50, who: Principal = ADA, **fields: Any) -> Session:
    """A session with so many points."""
    given = {"provider": "external", "dimension": DIMENSION, **fields}
    session = await create(quire, who, **given)
    for start in range(0, count, 500):
        await quire.points.upsert(who, session.id, points(min(500, count - start), start))
    return await quire.sessions.peek(who, session.id)


async def content(quire: Quire, session_id: str, who: Principal = ADA) -> list[Record]:
    """All points, as any caller reads them; it wakes what is cold."""
    found: list[Record] = []
    cursor = None
    while True:
        page = await quire.points.scroll(
            who, session_id, cursor=cursor, limit=1000, with_vectors=True
        )
        found += page.records
        cursor = page.next_cursor
        if cursor is None:
            return found


async def asleep(quire: Quire, session: Session, who: Principal = ADA) -> Session:
    """The session, cold and packed."""
    return await quire.sessions.sleep(who, session.id, pack=True)


def value_of(quire: Quire, name: str, **labels: str) -> float:
    """A metric's value."""
    return quire.metrics.registry.get_sample_value(name, labels) or 0.0
