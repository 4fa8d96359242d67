"""Points to fill sessions with: text of some 800 characters, its words, and a vector."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

import numpy as np

from quire.vectors.bm25 import Bm25
from quire.vectors.port import Point
from tests.bench.filler import Filler

DIMENSION = 384
BATCH = 500
CLUSTERS = 2


def made_points(number: int, *, seed: int = 7) -> Iterator[Sequence[Point]]:
    """So many points, some at a time; the same for the same seed."""
    generator = np.random.default_rng(seed)
    filler, words = Filler(seed), Bm25()
    for start in range(0, number, BATCH):
        count = min(BATCH, number - start)
        vectors = generator.standard_normal((count, DIMENSION), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        batch = []
        for n, vector in enumerate(vectors.tolist()):
            text = filler.text(1)
            batch.append(
                Point(
                    str(uuid.UUID(bytes=generator.bytes(16), version=4)),
                    vector,
                    words.document(text),
                    {"text": text, "number": start + n, "cluster": f"c{(start + n) % CLUSTERS}"},
                )
            )
        yield batch
