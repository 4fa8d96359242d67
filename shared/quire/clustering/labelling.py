"""Labels in payloads: written whole points at a time, for that is what engines do quickest.

A field set on one point costs a server a millisecond, and an indexed field moves the point anyway.
So points are read and written again with their labels, while the session is held for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import numpy as np

from quire.clustering.model import NOISE, ClusterModel
from quire.clustering.naming import NOISE_NAME
from quire.clustering.requests import Fields
from quire.vectors.floats import settled_float
from quire.vectors.port import (
    MAX_PAGE,
    AllOf,
    Condition,
    Missing,
    NoneOf,
    Point,
    PointId,
    Record,
    VectorEngine,
)

BATCH = 256

MayGoOn = Callable[[int], Awaitable[bool]]


class Labelling:
    """Writes what a model says of points into their payloads, and takes it out again."""

    def __init__(self, engine: VectorEngine) -> None:
        self._engine = engine

    async def write(
        self,
        collection: str,
        condition: Condition | None,
        cursor: PointId | None,
        labeller: Labeller,
        may_go_on: MayGoOn,
    ) -> PointId | None:
        """Label the points after the cursor; answers where to go on, None where all is done."""
        stream = self._engine.stream(collection, filter=condition, cursor=cursor)
        try:
            async for records in stream:
                fresh = [record for record in records if record.id != cursor]
                for start in range(0, len(fresh), BATCH):
                    points = await asyncio.to_thread(
                        labeller.labelled, fresh[start : start + BATCH]
                    )
                    if points:
                        await self._engine.upsert(collection, points, as_read=True)
                if fresh and not await may_go_on(len(fresh)):
                    return fresh[-1].id
        finally:
            await stream.aclose()
        return None

    async def clear(self, collection: str, condition: Condition | None, fields: Fields) -> None:
        """Take the labels of these points away."""
        for name in sorted(fields.all):
            having: Condition = NoneOf([Missing(name)])
            if condition is not None:
                having = AllOf([condition, having])
            nothing = dict.fromkeys(fields.all)
            stream = self._engine.ids(collection, filter=having)
            try:
                async for ids in stream:
                    for start in range(0, len(ids), MAX_PAGE):
                        batch = ids[start : start + MAX_PAGE]
                        await self._engine.set_payload(collection, nothing, batch)
            finally:
                await stream.aclose()


class Labeller:
    """Makes points of records: the same, with labels."""

    def __init__(
        self, model: ClusterModel, names: Sequence[str], fields: Fields, *, drawn: bool
    ) -> None:
        self._model = model
        self._names = names
        self._fields = fields
        self._drawn = drawn

    def labelled(self, records: Sequence[Record]) -> list[Point]:
        """The points that change; one without a vector loses what label it had."""
        present = [record for record in records if record.dense is not None]
        told = self._told(present) if present else {}
        points = []
        for record in records:
            kept = {k: v for k, v in record.payload.items() if k not in self._fields.all}
            payload = {**kept, **told.get(record.id, {})}
            if payload != record.payload:
                points.append(Point(record.id, record.dense, record.sparse, payload))
        return points

    def _told(self, records: Sequence[Record]) -> dict[PointId, Mapping[str, Any]]:
        vectors = np.array([record.dense for record in records], np.float64)
        found = self._model.assigned([record.id for record in records], vectors, drawn=self._drawn)
        told: dict[PointId, Mapping[str, Any]] = {}
        for row, record in enumerate(records):
            label = int(found.labels[row])
            fields: dict[str, Any] = {
                self._fields.label: label,
                self._fields.name: NOISE_NAME if label == NOISE else self._names[label],
                self._fields.probability: _number(found.probabilities[row]),
            }
            if found.distances is not None:
                fields[self._fields.distance] = _number(found.distances[row])
            if found.places is not None:
                fields[self._fields.x] = _number(found.places[row, 0])
                fields[self._fields.y] = _number(found.places[row, 1])
            told[record.id] = fields
        return told


def _number(value: float) -> float:
    """With as many digits as mean something, and so that every engine gives the same back."""
    return settled_float(float(f"{value:.6g}"))
