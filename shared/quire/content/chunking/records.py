"""Packing records: cutting where a text's own structure has seams, the outermost first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quire.content.chunking.prose import PlainCutter
from quire.content.chunking.sizes import Reach, Sizes
from quire.content.chunking.stretches import Part, Stretch, clear_of, first_words

GAP = re.compile(r"[ \t\r\n]*")


class Reading(Protocol):
    """What the structure of one stretch of text is; it is walked through from its start."""

    @property
    def seams(self) -> NDArray[np.int64]:
        """The places between records or their parts, ascending; none is 0."""
        ...

    @property
    def levels(self) -> NDArray[np.int64]:
        """How deep inside the structure each seam is; 0 is between whole records."""
        ...

    @property
    def valid_until(self) -> int:
        """From where on the text is not what it claims to be; its length if it is."""
        ...

    @property
    def level(self) -> int:
        """How deep the place is that was walked to."""
        ...

    def walk(self, to: int) -> None:
        """Go on to a place further on."""
        ...

    def context(self) -> str | None:
        """What a chunk that starts here stands under."""
        ...

    def state(self) -> Mapping[str, Any]:
        """What must be known to read on from here."""
        ...


class Notation(Protocol):
    """How records are written down in one kind of text."""

    @property
    def unbroken(self) -> re.Pattern[str]:
        """What no cut should go through."""
        ...

    @property
    def gaps(self) -> bool:
        """Whether white space after a seam means nothing, so that the chunk before takes it."""
        ...

    def read(self, text: str, state: Mapping[str, Any]) -> Reading: ...


class RecordCutter:
    """Packs records into chunks; one that is too large is cut at its own seams, then as text.

    A chunk that starts inside a record ends with that record at the latest. Overlap is by whole
    records or members, as many as fit it; there is none inside a single long value. Text that
    turns out not to be in the notation is cut as plain text from there on.
    """

    def __init__(self, notation: Notation, sizes: Sizes) -> None:
        self._notation = notation
        self._sizes = sizes
        self._plain = PlainCutter(sizes)

    @property
    def unbroken(self) -> re.Pattern[str]:
        return self._notation.unbroken

    def cut(self, text: str, state: Mapping[str, Any], *, last: bool) -> Stretch:
        if not state.get("plain"):
            reading = self._notation.read(text, state)
            if reading.valid_until == len(text):
                return Packing(self._notation, self._sizes, text, reading, last=last).stretch()
            sound = reading.seams[reading.seams <= reading.valid_until]
            if len(sound):
                text = text[: int(sound[-1])]
                reading = self._notation.read(text, state)
                packed = Packing(self._notation, self._sizes, text, reading, last=True).stretch()
                return Stretch(packed.parts, packed.goes_on, {"plain": True})
        stretch = self._plain.cut(text, {}, last=last)
        return Stretch(stretch.parts, stretch.goes_on, {"plain": True})


class Packing:
    """The cutting of one stretch."""

    def __init__(
        self, notation: Notation, sizes: Sizes, text: str, reading: Reading, *, last: bool
    ) -> None:
        self._notation = notation
        self._sizes = sizes
        self._text = text
        self._reading = reading
        self._seams, self._levels = reading.seams, reading.levels
        self._reach = Reach(sizes, text)
        self._last = last

    def stretch(self) -> Stretch:
        """All chunks that are decided by the characters at hand."""
        text, reading = self._text, self._reading
        parts: list[Part] = []
        at = covered = 0
        while covered < len(text):
            if not self._last and len(text) - at <= 2 * self._sizes.span:
                break  # what follows may matter
            reading.walk(at)
            context, room = self._reach.under(reading.context())
            end, level = self._end(at, min(self._reach.ahead(at, room), len(text)))
            if end <= covered:
                at = covered  # the overlap leaves no room for anything new
                continue
            parts.append(Part(at, end, context))
            at, covered = self._next(at, end, level), end
        goes_on = at if covered < len(text) else covered
        reading.walk(goes_on)
        return Stretch(parts, goes_on, reading.state())

    def _end(self, at: int, reach: int) -> tuple[int, int | None]:
        """Where the chunk from `at` ends, and the level of that seam if it is one."""
        first = int(self._seams.searchsorted(at, side="right"))
        until = int(self._seams.searchsorted(reach, side="right"))
        while first < until:
            levels = self._levels[first:until]
            level = int(levels.min())
            inside = level < self._reading.level
            if reach == len(self._text) and not inside:
                break
            same = np.flatnonzero(levels == level)
            index = first + int(same[0] if inside else same[-1])
            seam = int(self._seams[index])
            # A large record is cut anyway: rather fill this chunk from it than leave a scrap.
            if inside or 4 * (seam - at) >= reach - at or self._whole_fits(index, level):
                return self._with_gap(seam, reach), level
            first = index + 1
        if reach == len(self._text):
            return reach, None
        end = first_words(self._text, at, reach, len(self._text))
        return clear_of(self._notation.unbroken, self._text, at, end), None

    def _whole_fits(self, index: int, level: int) -> bool:
        """Whether what is between this seam and the next of its level fits a chunk."""
        reach = self._reach.ahead(int(self._seams[index]), self._sizes.limit)
        until = int(self._seams.searchsorted(reach, side="right"))
        return reach >= len(self._text) or bool((self._levels[index + 1 : until] <= level).any())

    def _with_gap(self, seam: int, reach: int) -> int:
        if not self._notation.gaps:
            return seam
        gap = GAP.match(self._text, seam, reach)
        return gap.end() if gap else seam

    def _next(self, start: int, end: int, level: int | None) -> int:
        """Where the next chunk starts: `end`, or before as much as the overlap holds."""
        if not self._sizes.overlap or level is None:
            return end
        earliest = max(start + 1, self._reach.back(end))
        first = int(self._seams.searchsorted(earliest))
        until = int(self._seams.searchsorted(end))
        same = np.flatnonzero(self._levels[first:until] == level)
        if not len(same):
            return end
        return self._with_gap(int(self._seams[first + int(same[0])]), end)
