"""The embedding port: text in, vectors out, and what they were made with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""One row a text, each of length 1."""


EXTERNAL = "external"
"""The provider of vectors that a pipeline brings: with these, Quire embeds nothing itself."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What vectors are made with. Vectors of two identities must never meet in a collection."""

    provider: str
    model: str
    revision: str
    dimension: int

    def __str__(self) -> str:
        return f"{self.provider}:{self.model}@{self.revision} ({self.dimension})"


class Purpose(StrEnum):
    """Some models take a question and what answers it differently."""

    QUERY = "query"
    PASSAGE = "passage"


class Lane(StrEnum):
    """Who waits for whom: bulk work gives way to somebody who waits for an answer."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class EmbeddingProvider(Protocol):
    """A model, loaded and ready. Nothing is ever embedded truncated.

    All methods may be called from several tasks at once, and none blocks the event loop.
    """

    @property
    def identity(self) -> Identity: ...

    @property
    def window(self) -> int:
        """The most tokens of text that one vector can take in, special tokens not counted."""
        ...

    @property
    def batch(self) -> int:
        """How many texts of like length in one call are quickest."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has for this model; never fewer than it has.

        Blocking, for worker threads; whatever counts by running the tokeniser releases the GIL.
        """
        ...

    async def embed(
        self, texts: Sequence[str], *, purpose: Purpose, lane: Lane = Lane.INTERACTIVE
    ) -> Vectors:
        """One vector a text, in their order.

        Raises `InvalidInput` if a text is longer than the window, and `Unavailable` when the model
        cannot be reached for now.
        """
        ...

    async def close(self) -> None: ...
