"""The fake: quick vectors that know words and no meaning, for tests of all but embedding."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Sequence

import numpy as np

from quire.embedding.port import Identity, Lane, Purpose, Vectors
from quire.embedding.units import unit_vectors
from quire.embedding.window import require_fits, require_unicode
from quire.errors import Unavailable

FAKE, REVISION = "fake", "1"
DIMENSION, WINDOW, BATCH = 384, 256, 64
# Words share the rows of a table; with more rows fewer unlike words become one.
ROWS = 8192
# Up to so many texts, a thread costs more than it spares the event loop.
AT_ONCE = 4

_TOKEN = re.compile(r"\w+|[^\w\s]")


class FakeProvider:
    """A bag of hashed words: texts are near to one another as far as they share words.

    Another `model` name makes other vectors, as another model would. A token is a word or a
    punctuation mark.
    """

    batch = BATCH

    def __init__(
        self, dimension: int = DIMENSION, *, model: str = FAKE, window: int = WINDOW
    ) -> None:
        self.identity = Identity(FAKE, model, REVISION, dimension)
        self.window = window
        generator = np.random.default_rng(zlib.crc32(model.encode()))
        # The last row is for texts without a word.
        self._rows = generator.standard_normal((ROWS + 1, dimension), dtype=np.float32)
        self._closed = False

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many words and punctuation marks each text has."""
        require_unicode(texts)
        return [len(_TOKEN.findall(text)) for text in texts]

    async def embed(
        self, texts: Sequence[str], *, purpose: Purpose, lane: Lane = Lane.INTERACTIVE
    ) -> Vectors:
        """One vector a text, in their order; purpose and lane make no difference."""
        if self._closed:
            raise Unavailable("The embedding provider is closed")
        if len(texts) <= AT_ONCE:
            return self.vectors(texts)
        return await asyncio.to_thread(self.vectors, texts)

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """The same, at once."""
        require_unicode(texts)
        if not texts:
            return np.empty((0, self.identity.dimension), np.float32)
        words = [_TOKEN.findall(text.lower()) for text in texts]
        require_fits(FAKE, self.window, [len(found) for found in words])
        sums = np.stack([self._rows[_rows_of(found)].sum(axis=0) for found in words])
        return unit_vectors(sums, FAKE)

    async def close(self) -> None:
        """Embed nothing from here on."""
        self._closed = True


def _rows_of(words: Sequence[str]) -> list[int]:
    return [zlib.crc32(word.encode()) % ROWS for word in words] or [ROWS]
