"""A process that writes to an embedded engine until it is killed, telling what was acknowledged."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from quire.vectors.edge import EdgeEngine
from quire.vectors.port import CollectionSpec, Point, SparseVector

SPEC = CollectionSpec(32)


def vector(n: int) -> list[float]:
    """The vector that point n has."""
    source = random.Random(n)
    return [source.uniform(-1, 1) for _ in range(SPEC.dimension)]


def batch(first: int) -> list[Point]:
    """Three engine calls' worth of points."""
    return [
        Point(n, vector(n), SparseVector([n % 97], [1.0]), {"seq": n, "text": f"point {n} " * 20})
        for n in range(first, first + 700)
    ]


def tell(*words: object) -> None:
    """Acknowledge something on standard output."""
    print(*words, flush=True)


async def main(root: Path, first: int, flush: bool) -> None:
    """Write for ever: batches, deletions, collections."""
    engine = await EdgeEngine.open(root, max_open=2, lock_wait=10)
    await engine.create("work", SPEC)
    tell("ready")
    while True:
        points = batch(first)
        await engine.upsert("work", points)
        tell("written", first)
        await engine.delete("work", [first, first + 1])
        tell("deleted", first)
        await engine.create(f"extra-{first}", SPEC)
        await engine.upsert(f"extra-{first}", points[:5])
        tell("extra", first)
        if flush:
            await engine.flush("work")
        first += len(points)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "flush"))
