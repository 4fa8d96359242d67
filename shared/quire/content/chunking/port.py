"""What a chunker is: text goes in piece by piece, cuts come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

CountTokens = Callable[[Sequence[str]], list[int]]
"""How many tokens each text has for the session's model."""

PIECE_CHARS = 256 * 1024
"""A good size for the pieces that a text is fed in; the cuts do not depend on it."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Where cutting goes on after a cut, and what must be known there; goes through JSON."""

    at: int = 0
    """The character of the document from which text must be fed."""
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cut:
    """One chunk-to-be: `text` is the document's characters from `start` up to `end`."""

    text: str
    start: int
    end: int
    tokens: int
    """Of what is embedded: context and text."""
    context: str | None
    resume: Resume
    """A chunker begun from here makes the cuts that come after this one."""

    @property
    def embedded(self) -> str:
        """What the vector and the keywords are made of."""
        return self.text if self.context is None else f"{self.context}\n{self.text}"


class Chunker(Protocol):
    """Cuts one document. Blocking, for a worker thread; holds a few pieces, never the text.

    Cuts come in order of `start` and every one holds a character; the first starts where cutting
    began. Without overlap each starts where the one before ended, and together they are the text.
    The same text gives the same cuts, in whatever pieces it is fed; and begun again from a cut's
    `Resume`, those that came after it.
    """

    def feed(self, piece: str) -> list[Cut]:
        """Take the next piece; answers the cuts that are certain by now."""
        ...

    def finish(self) -> list[Cut]:
        """The text is at its end; answers the last cuts."""
        ...
