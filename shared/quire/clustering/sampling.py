"""The points that clusters are found in: as many as fit, and the same ones for the same seed."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO

import numpy as np
import orjson

from quire.clustering.naming import TEXT_CHARS
from quire.clustering.worker_files import IDS, TEXTS, VECTORS
from quire.points.requests import TEXT
from quire.vectors.port import Condition, PointId, Record, VectorEngine

BATCH = 256

MayGoOn = Callable[[int], Awaitable[bool]]
"""Told how many points are read; false where the work is to be left off."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Ids of a sample, in the order of the collection, and how many there were to choose from."""

    ids: Sequence[PointId]
    total: int

    @property
    def is_everything(self) -> bool:
        return len(self.ids) == self.total


async def chosen(
    engine: VectorEngine, collection: str, condition: Condition | None, most: int, seed: int
) -> Chosen:
    """So many points, drawn by their ids and the seed: in constant memory, and again the same."""
    drawn: list[tuple[int, int, PointId]] = []
    total = 0
    stream = engine.ids(collection, filter=condition)
    try:
        async for ids in stream:
            for identity in ids:
                entry = (-_lot(identity, seed), total, identity)
                total += 1
                if len(drawn) < most:
                    heapq.heappush(drawn, entry)
                elif entry > drawn[0]:
                    heapq.heapreplace(drawn, entry)
    finally:
        await stream.aclose()
    return Chosen([identity for _, _, identity in sorted(drawn, key=lambda it: it[1])], total)


def _lot(identity: PointId, seed: int) -> int:
    return int.from_bytes(blake2b(f"{seed}:{identity}".encode(), digest_size=8).digest(), "big")


async def written(
    engine: VectorEngine,
    collection: str,
    ids: Sequence[PointId],
    folder: Path,
    may_go_on: MayGoOn,
) -> int | None:
    """Write these points' ids, vectors and texts into the folder, but for those without a vector.

    Answers how many have one; None where it was left off.
    """
    count = 0
    with (
        (folder / IDS).open("wb") as names,
        (folder / VECTORS).open("wb") as vectors,
        (folder / TEXTS).open("wb") as texts,
    ):
        for start in range(0, len(ids), BATCH):
            batch = ids[start : start + BATCH]
            records = await engine.retrieve(collection, batch, with_vectors=True)
            present = [record for record in records if record.dense is not None]
            await asyncio.to_thread(_write, present, names, vectors, texts)
            count += len(present)
            if not await may_go_on(start + len(batch)):
                return None
    return count


def _write(
    records: Sequence[Record], names: IO[bytes], vectors: IO[bytes], texts: IO[bytes]
) -> None:
    names.write(b"".join(f"{record.id}\n".encode() for record in records))
    vectors.write(np.array([record.dense for record in records], np.float32).tobytes())
    for record in records:
        text = record.payload.get(TEXT)
        told = text[:TEXT_CHARS] if isinstance(text, str) else ""
        texts.write(orjson.dumps(told.encode(errors="replace").decode()) + b"\n")


async def others(
    engine: VectorEngine, collection: str, condition: Condition | None, ids: Sequence[PointId]
) -> AsyncGenerator[bytes, None]:
    """The vectors of all points but these, as 32-bit floats."""
    left_out = set(ids)
    stream = engine.stream(collection, filter=condition)
    try:
        async for batch in stream:
            vectors = [r.dense for r in batch if r.dense is not None and r.id not in left_out]
            yield np.array(vectors, np.float32).tobytes()
    finally:
        await stream.aclose()
