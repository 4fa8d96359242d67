"""Diversity: the best results that are not all the same, by maximal marginal relevance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def diversify(
    scores: Sequence[float], vectors: NDArray[np.float32], limit: int, diversity: float
) -> list[int]:
    """The places of at most `limit` candidates, in the order in which to show them.

    Candidates come best first, whether high or low scores are good, each with its vector as a row;
    a row of zeros stands for none, and is unlike all others. `diversity` goes from 0 (the order as
    it is) to 1 (only how unlike what is shown already); equal candidates keep their order.
    """
    count = len(scores)
    limit = min(limit, count)
    if diversity <= 0 or limit < 2:
        return list(range(limit))
    gain = (1 - diversity) * _relevance(scores)
    units = _units(vectors)
    likeness = np.zeros(count, dtype=np.float32)  # to the most similar one that is chosen
    chosen = [0]
    while len(chosen) < limit:
        last = chosen[-1]
        gain[last] = -np.inf
        np.maximum(likeness, units @ units[last], out=likeness)
        # Likeness that differs by rounding alone must not decide.
        chosen.append(int(np.argmax(gain - diversity * likeness.round(5))))
    return chosen


def _relevance(scores: Sequence[float]) -> NDArray[np.float64]:
    """From 1 for the best candidate to 0 for the last; all 1 when none is better."""
    given = np.asarray(scores, dtype=np.float64)
    best, worst = given[0], given[-1]
    return np.ones_like(given) if best == worst else (given - worst) / (best - worst)


def _units(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)
