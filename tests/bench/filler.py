"""Text to fill sessions with: as many words as a language has, of which few are frequent."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate, count

from tests.bench.embedding import WORDS

# About as many characters as fill a chunk: two never share one.
PASSAGE_CHARS = 900
RARE_WORDS = 20_000
RARE_SHARE = 0.15
BLOCK_BYTES = 32 * 1024

_SYLLABLES = [first + last for first in "bdfghklmnprstvw" for last in ("a", "en", "ir", "o", "us")]


class Filler:
    """Passages, each a chunk; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        frequent = WORDS.split()
        makes_words = random.Random(0)
        rare = ["".join(makes_words.choices(_SYLLABLES, k=3)) for _ in range(RARE_WORDS)]
        self._words = frequent + rare
        # Zipf's law for the rare ones.
        weights = [1 / rank for rank in range(1, RARE_WORDS + 1)]
        scale = RARE_SHARE / (1 - RARE_SHARE) * len(frequent) / sum(weights)
        shares = [1.0] * len(frequent) + [scale * weight for weight in weights]
        self._shares = list(accumulate(shares))

    def text(self, passages: int) -> str:
        """Paragraphs that come to so many chunks."""
        return "\n\n".join(self._passage() for _ in range(passages))

    def questions(self) -> Iterator[str]:
        """No two are alike, so that nothing remembers the answer."""
        for number in count():
            yield f"What is {' '.join(self._draw(8))} in {number}?"

    def blocks(self, size: int) -> Iterator[bytes]:
        """About so many bytes of text, for uploading."""
        sent = 0
        while sent < size:
            block = ""
            while len(block) < BLOCK_BYTES:
                block += self._passage() + "\n\n"
            sent += len(block)
            yield block.encode()

    def _passage(self) -> str:
        text = " ".join(self._draw(PASSAGE_CHARS // 4))[:PASSAGE_CHARS]
        return text.rpartition(" ")[0] + "."

    def _draw(self, number: int) -> list[str]:
        return self._chance.choices(self._words, cum_weights=self._shares, k=number)
