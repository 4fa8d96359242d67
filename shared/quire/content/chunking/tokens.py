"""How many tokens a text will have, quickly: to decide by; what is decided is counted exactly."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quire.content.chunking.port import CountTokens

# What tokenisers hardly ever join across: a word or signs with the space before them, a gap.
ATOM = re.compile(r"\s?(?:\w{1,16}|[^\w\s]{1,8})|\s+")

SAMPLE_CHARS = 4_096
KNOWN_ATOMS = 100_000


class TokenEstimate:
    """Adds up the tokens of words, each counted once.

    Exact for word-based tokenisers. For others the sum is off by much the same factor throughout
    a text, so it is set right by an exact count of a sample.
    """

    def __init__(self, count: CountTokens) -> None:
        self._count = count
        self._known: dict[str, int] = {}
        self._scale = 1.0

    def calibrate(self, text: str) -> None:
        """Estimate for this text from now on."""
        sample = text[:SAMPLE_CHARS]
        if len(self._known) > KNOWN_ATOMS:
            self._known.clear()
        summed = sum(self._counts(ATOM.findall(sample)))
        exact = self._count([sample])[0]
        # A sample may be one unknown "word" of a single token; the rest need not be like it.
        self._scale = min(max(exact / summed, 0.25), 4.0) if summed and exact else 1.0

    def of(self, text: str) -> float:
        """The tokens of a text."""
        return sum(self._counts(ATOM.findall(text))) * self._scale

    def running(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Where each atom of the text ends, and the tokens up to there."""
        atoms = ATOM.findall(text)
        ends = np.cumsum(np.fromiter(map(len, atoms), np.int64, len(atoms)))
        totals = np.cumsum(np.array(self._counts(atoms), np.float64)) * self._scale
        return ends, totals

    def _counts(self, atoms: Sequence[str]) -> list[int]:
        unknown = list(set(atoms).difference(self._known))
        if unknown:
            self._known.update(zip(unknown, self._count(unknown), strict=True))
        return list(map(self._known.__getitem__, atoms))
