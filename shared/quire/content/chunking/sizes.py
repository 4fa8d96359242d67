"""How large a chunk may be."""

from __future__ import annotations

from quire.content.chunking.port import CountTokens
from quire.content.chunking.tokens import TokenEstimate
from quire.content.models import ChunkSettings, SizeUnit
from quire.errors import InvalidInput

MOST_CHARACTERS = 100_000
CHARACTERS_A_TOKEN = 16
"""Chunks sized in tokens have no more characters than this for each: gaps may have no tokens."""


def check_chunk_settings(settings: ChunkSettings, window: int) -> None:
    """Raise `InvalidInput` for settings that no document could be cut by."""
    size, overlap, unit = settings.size, settings.overlap, settings.unit.value
    most = window if settings.unit is SizeUnit.TOKENS else MOST_CHARACTERS
    if not 1 <= size <= most:
        why = (
            "the most that the session's embedding model takes in"
            if settings.unit is SizeUnit.TOKENS
            else f"and chunks stay within the model's window of {window} tokens besides"
        )
        raise InvalidInput(
            f"chunk_size is {size}; in {unit} it must be from 1 to {most}, {why}",
            field="chunk_size",
        )
    if not 0 <= overlap < size:
        raise InvalidInput(
            f"chunk_overlap is {overlap}; it must be from 0 to {size - 1}, "
            f"below chunk_size ({size} {unit})",
            field="chunk_overlap",
        )


class Sizes:
    """The settings beside the window: what bounds a chunk.

    A size in tokens holds for all that is embedded, the context included; one in characters for
    the text alone, while the window holds for text and context.
    """

    def __init__(self, settings: ChunkSettings, window: int, count: CountTokens) -> None:
        self.size = settings.size
        self.overlap = settings.overlap
        self.in_characters = settings.unit is SizeUnit.CHARACTERS
        self.limit = window if self.in_characters else settings.size
        self.span = settings.size * (1 if self.in_characters else CHARACTERS_A_TOKEN)
        self.estimate = TokenEstimate(count)


class Reach:
    """How far chunks reach in a stretch of text."""

    def __init__(self, sizes: Sizes, text: str) -> None:
        sizes.estimate.calibrate(text)
        self._sizes = sizes
        self._context: str | None = None
        self._under: tuple[str | None, float] = (None, sizes.limit)
        self._ends, self._totals = sizes.estimate.running(text)

    def ahead(self, at: int, room: float) -> int:
        """The farthest place at which a chunk from `at` may end; may be behind the text's end."""
        index = int(self._totals.searchsorted(self._total(at) + room, side="right"))
        by_tokens = at + self._sizes.span
        if index < len(self._ends):
            by_tokens = int(self._ends[index - 1]) if index else 0
        return max(at + 1, min(at + self._sizes.span, by_tokens))

    def back(self, end: int) -> int:
        """The earliest place from which the overlap holds all up to `end`."""
        if self._sizes.in_characters:
            return end - self._sizes.overlap
        index = int(self._totals.searchsorted(self._total(end) - self._sizes.overlap))
        return int(self._ends[index]) if index < len(self._ends) else end

    def under(self, context: str | None) -> tuple[str | None, float]:
        """The context as a chunk may have it, and the tokens that it leaves for the text.

        Over a third of the limit it is cut short, and ends with an ellipsis.
        """
        if context is None:
            return None, self._sizes.limit
        if context != self._context:
            shown = self._shortened(context)
            room = (
                self._sizes.limit - self._sizes.estimate.of(shown) - 1
                if shown
                else self._sizes.limit
            )
            self._context, self._under = context, (shown or None, room)
        return self._under

    def _shortened(self, context: str) -> str:
        third = self._sizes.limit // 3
        while (tokens := self._sizes.estimate.of(context)) > third:
            kept = min(len(context) - 2, int(len(context) * third / tokens))
            context = context[: max(kept, 0)].rstrip()
            if context:
                context += "…"
        return context

    def _total(self, at: int) -> float:
        passed = int(self._ends.searchsorted(at, side="right"))
        return float(self._totals[passed - 1]) if passed else 0.0
