"""Cutting a text of any length: stretch by stretch, each decided from its own characters alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from semantic_text_splitter import TextSplitter

from quire.content.chunking.port import CountTokens, Cut, Resume

STRETCH_CHARS = 32 * 1024
SPANS_A_STRETCH = 8
"""A stretch holds at least so many of the longest chunks there can be."""

NOTHING = re.compile(r"(?!)")


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk-to-be of a stretch; its tokens are estimated and have not been counted."""

    start: int
    end: int
    context: str | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """What has been decided of a stretch."""

    parts: list[Part]
    goes_on: int
    """Where the next stretch begins, in this one's characters."""
    state: Mapping[str, Any]
    """What must be known there, for JSON."""


class Cutter(Protocol):
    """Knows how one kind of text is cut."""

    @property
    def unbroken(self) -> re.Pattern[str]:
        """What no cut should go through."""
        ...

    def cut(self, text: str, state: Mapping[str, Any], *, last: bool) -> Stretch:
        """Cut a stretch as far as its characters decide; all of it if the text ends with it.

        Takes at least one character. A pure function of what it is given.
        """
        ...


class StretchChunker:
    """A `Chunker` that hands stretches to a cutter, and sees to it that no chunk is too large:
    neither over `limit` tokens, nor over `span` characters.

    A stretch is always as long as the settings say, however the text was fed, and is cut from its
    own characters and the state alone. A cut's `Resume` is its stretch and the cuts to leave out,
    so going on from any cut makes exactly the cuts that would have come.
    """

    def __init__(
        self,
        cutter: Cutter,
        *,
        limit: int,
        span: int,
        count: CountTokens,
        resume: Resume,
    ) -> None:
        self._cutter = cutter
        self._limit = limit
        self._span = span
        self._stretch = max(STRETCH_CHARS, SPANS_A_STRETCH * span)
        self._count = count
        self._at = resume.at
        self._state: Mapping[str, Any] = {k: v for k, v in resume.state.items() if k != "skip"}
        self._skip = int(resume.state.get("skip", 0))
        self._text = ""

    def feed(self, piece: str) -> list[Cut]:
        text = self._text + piece
        cuts: list[Cut] = []
        begin = 0
        # One more character than the stretch: so it is known not to be the text's end.
        while len(text) - begin > self._stretch:
            taken, made = self._cut(text[begin : begin + self._stretch], last=False)
            begin += taken
            cuts += made
        self._text = text[begin:]
        return cuts

    def finish(self) -> list[Cut]:
        text, self._text = self._text, ""
        cuts: list[Cut] = []
        begin = 0
        while begin < len(text):
            taken, made = self._cut(text[begin:], last=True)
            begin += taken
            cuts += made
        return cuts

    def _cut(self, text: str, *, last: bool) -> tuple[int, list[Cut]]:
        stretch = self._cutter.cut(text, self._state, last=last)
        cuts = [
            Cut(
                text=text[part.start : part.end],
                start=self._at + part.start,
                end=self._at + part.end,
                tokens=tokens,
                context=part.context,
                resume=Resume(self._at, {**self._state, "skip": number}),
            )
            for number, (part, tokens) in enumerate(self._fitting(text, stretch), 1)
            if number > self._skip
        ]
        self._at += stretch.goes_on
        self._state = stretch.state
        self._skip = 0
        return stretch.goes_on, cuts

    def _fitting(self, text: str, stretch: Stretch) -> list[tuple[Part, int]]:
        """The parts with their tokens; those over the limit halved until they fit.

        A single character is let be, whatever its tokens.
        """
        fitting: list[tuple[Part, int]] = []
        # With overlap, halves that start behind the next part would only repeat it.
        bounds = [part.start for part in stretch.parts[1:]] + [stretch.goes_on]
        pending = list(zip(stretch.parts, bounds, strict=True))
        while pending:
            counts = self._count([_embedded(text, part) for part, _ in pending])
            over = []
            for (part, bound), tokens in zip(pending, counts, strict=True):
                length = part.end - part.start
                # Now and then the splitter answers a line that is too long, where words do not fit.
                if length == 1 or (tokens <= self._limit and length <= self._span):
                    fitting.append((part, tokens))
                else:
                    halves = self._halves(text, part)
                    over += [(half, bound) for half in halves if half.start < bound]
            pending = over
        return sorted(fitting, key=lambda item: item[0].start)

    def _halves(self, text: str, part: Part) -> Iterator[Part]:
        half = math.ceil((part.end - part.start) / 2)
        start = part.start
        while start < part.end:
            end = first_words(text, start, min(start + half, part.end), part.end)
            end = clear_of(self._cutter.unbroken, text, start, end)
            yield replace(part, start=start, end=end)
            start = end


def first_words(text: str, start: int, reach: int, until: int) -> int:
    """Where to cut running text: the last good place up to `reach`."""
    if reach >= until:
        return until
    ahead = text[start : min(until, 2 * reach - start)]
    _, first = TextSplitter(reach - start, trim=False).chunk_indices(ahead)[0]
    return start + len(first)


def clear_of(unbroken: re.Pattern[str], text: str, start: int, end: int) -> int:
    """The cut, moved before whatever it would go through if a character is left then."""
    for match in unbroken.finditer(text, start, end + 12):
        if match.start() >= end:
            break
        if match.end() > end:
            return match.start() if match.start() > start else end
    return end


def _embedded(text: str, part: Part) -> str:
    own = text[part.start : part.end]
    return own if part.context is None else f"{part.context}\n{own}"
