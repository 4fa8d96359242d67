"""Points and collections in short sentences, for the suites of the vector engines."""

from __future__ import annotations

from dataclasses import dataclass

from quire.vectors.port import (
    MAX_PAGE,
    Condition,
    Point,
    PointId,
    Query,
    Record,
    SparseVector,
    VectorEngine,
)


@dataclass(frozen=True)
class Collection:
    """One collection of an engine, for short sentences."""

    engine: VectorEngine
    name: str

    async def write(self, *points: Point) -> None:
        await self.engine.upsert(self.name, points)

    async def ids(self, condition: Condition | None = None) -> list[PointId]:
        page = await self.engine.scroll(self.name, filter=condition, limit=MAX_PAGE)
        return [record.id for record in page.records]

    async def found(self, query: Query) -> list[PointId]:
        return [hit.id for hit in await self.engine.query(self.name, query)]

    async def payload(self, identity: PointId) -> dict[str, object]:
        (record,) = await self.engine.retrieve(self.name, [identity])
        return dict(record.payload)

    async def records(self) -> list[Record]:
        page = await self.engine.scroll(self.name, limit=MAX_PAGE, with_vectors=True)
        return list(page.records)


def point(identity: PointId, *values: float, **payload: object) -> Point:
    return Point(identity, list(values) or [1.0, 2.0, 3.0, 4.0], None, payload)


def words(identity: PointId, *indices: int, **payload: object) -> Point:
    return Point(identity, None, SparseVector(indices, [1.0 + i % 3 for i in indices]), payload)
