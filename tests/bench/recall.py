"""How many of the nearest points a search finds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from quire.access.principal import Principal, Scope
from quire.app import Part, Quire
from quire.sessions.requests import NewSession
from quire.settings import Settings
from quire.vectors.port import Point
from tests.bench.client import Session, connected
from tests.bench.ingesting import FAKE
from tests.bench.serving import serve
from tests.bench.sessions import Figure, settings_of

DIMENSION = 384
CLUSTERS = 500
# How far the points of a cluster lie apart, beside how far the clusters do; as texts of one subject
# do, with a cosine of about 0.6 between them.
SPREAD = 0.8
NEAREST = 10
BATCH = 1_000
# No more points are being indexed once their number has stood still for so long.
STILL_SECONDS = 3.0
LONGEST_SECONDS = 300.0


def recall(environment: dict[str, str], points: int, questions: int) -> Figure:
    """Of the ten nearest points, those that a search without `exact` finds too."""
    vectors = _clustered(points + questions)
    environment = {**environment, **FAKE}
    with settings_of(environment) as settings:
        session_id, indexed = asyncio.run(_laid(settings, vectors[:points]))
    found = 0
    with serve(environment) as served, connected(served) as client:
        session = Session(client, session_id)
        for vector in vectors[points:].tolist():
            nearest = session.finds(vector, NEAREST, exact=True)
            found += len(nearest & session.finds(vector, NEAREST, exact=False))
    share = found / (NEAREST * questions)
    return Figure(
        f"dense recall@{NEAREST} against exact, {points:,} points",
        f"{share:.4f} ({indexed:,} points in an index)",
        "≥ 0.99",
        share >= 0.99,
    )


def _clustered(number: int) -> NDArray[np.float32]:
    """Unit vectors in clusters of unequal sizes."""
    generator = np.random.default_rng(3)
    centres = generator.standard_normal((CLUSTERS, DIMENSION), np.float32)
    sizes = 1 / np.arange(1, CLUSTERS + 1)
    members = generator.choice(CLUSTERS, number, p=sizes / sizes.sum())
    offsets = generator.standard_normal((number, DIMENSION), np.float32)
    vectors = centres[members] + SPREAD * offsets
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


async def _laid(settings: Settings, vectors: NDArray[np.float32]) -> tuple[str, int]:
    """A session with these vectors, and how many of them are in an index."""
    async with Quire.open(settings, Part.TOOL) as quire:
        operator = Principal("operator", scope=Scope.ADMIN)
        session, _ = await quire.creation.create(operator, NewSession(name="clustered"))
        for batch in _batches(vectors):
            await quire.engine.upsert(session.collection, batch)
        await quire.engine.flush(session.collection)
        return session.id, await _indexed(quire, session.collection)


def _batches(vectors: NDArray[np.float32]) -> Iterator[list[Point]]:
    for start in range(0, len(vectors), BATCH):
        rows = vectors[start : start + BATCH].tolist()
        yield [Point(start + at, dense=row) for at, row in enumerate(rows)]


async def _indexed(quire: Quire, collection: str) -> int:
    """How many vectors are indexed, once no more of them are being."""
    began = since = time.monotonic()
    indexed = (await quire.engine.info(collection)).indexed_vectors_count
    while time.monotonic() - since < STILL_SECONDS and time.monotonic() - began < LONGEST_SECONDS:
        await asyncio.sleep(0.25)
        latest = (await quire.engine.info(collection)).indexed_vectors_count
        if latest != indexed:
            indexed, since = latest, time.monotonic()
    return indexed
