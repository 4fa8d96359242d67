"""Plain text and Markdown: paragraphs, sentences and words, by semantic-text-splitter."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

from semantic_text_splitter import MarkdownSplitter, TextSplitter

from quire.content.chunking.sizes import Sizes
from quire.content.chunking.stretches import NOTHING, Part, Stretch

# A line that opens or closes fenced code: the marker, and what follows it.
FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})([^\n]*)$", re.MULTILINE)

Splitter = type[TextSplitter] | type[MarkdownSplitter]


class PlainCutter:
    """Cuts at the largest boundary that fits: blank lines, lines, sentences, words, characters.

    White space between two chunks goes to the first of them; only where that is full, or white
    space is all there is, does it make a chunk of its own.
    """

    unbroken = NOTHING

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes

    def cut(self, text: str, state: Mapping[str, Any], *, last: bool) -> Stretch:
        parts = self._parts(TextSplitter, text)
        if last or len(parts) == 1:
            return Stretch(parts, len(text), {})
        # The last ends where the stretch does, which means nothing.
        return Stretch(parts[:-1], parts[-1].start, {})

    def _parts(self, splitter: Splitter, text: str) -> list[Part]:
        sizes = self._sizes
        sizes.estimate.calibrate(text)
        if sizes.in_characters:
            whole = splitter(sizes.size, overlap=sizes.overlap, trim=False)
            parts = _offsets(whole.chunk_indices(text))
            if all(self._fits_window(text[part.start : part.end]) for part in parts):
                return self._joined(text, parts)
        by_tokens = splitter.from_callback(
            self._load, sizes.size, overlap=sizes.overlap, trim=False
        )
        return self._joined(text, _offsets(by_tokens.chunk_indices(text)))

    def _fits_window(self, text: str) -> bool:
        # Few characters are more than one token, so short texts need not be looked at.
        return 2 * len(text) < self._sizes.limit or self._sizes.estimate.of(text) <= (
            self._sizes.limit
        )

    def _load(self, text: str) -> int:
        """How full a chunk would be with this text, `size` being full."""
        sizes = self._sizes
        # The splitter also asks about all that is left; it only needs to hear that it is too much.
        for probe in (text[: 4 * sizes.limit], text[: 2 * sizes.span], text):
            load = math.ceil(sizes.estimate.of(probe) * sizes.size / sizes.limit)
            if sizes.in_characters:
                load = max(load, len(probe))
            if load > sizes.size or len(probe) == len(text):
                break
        # Were single characters too much, the splitter would give up and answer whole words.
        return load if len(text) > 1 else min(load, sizes.size)

    def _joined(self, text: str, parts: list[Part]) -> list[Part]:
        """White space on its own goes to the chunk before or after it, where that has room."""
        joined: list[Part] = []
        for part in parts:
            if joined and part.end <= joined[-1].end and part.start >= joined[-1].start:
                continue  # an overlap, and nothing besides
            if joined and (
                text[part.start : part.end].isspace()
                or text[joined[-1].start : joined[-1].end].isspace()
            ):
                both = text[joined[-1].start : part.end]
                if self._load(both) <= self._sizes.size:
                    joined[-1] = Part(joined[-1].start, part.end)
                    continue
            joined.append(part)
        return joined


class MarkdownCutter(PlainCutter):
    """Cuts at headings and blocks first, and keeps fenced code together where it fits.

    Markdown must not be read from the middle of fenced code on, or code and text change places.
    So a stretch begins outside it; or its state says which fence is open, and the stretch is plain
    text up to where that closes.
    """

    def cut(self, text: str, state: Mapping[str, Any], *, last: bool) -> Stretch:
        opened: str | None = state.get("fence")
        if opened is not None:
            return self._code(text, opened, last=last)
        parts = self._parts(MarkdownSplitter, text)
        if last:
            return Stretch(parts, len(text), {})
        lines, open_after = _fences(text)

        def fence_at(place: int) -> str | None:
            return open_after[bisect_right(lines, place - 1)]

        if len(parts) == 1:
            return Stretch(parts, len(text), _fence_state(fence_at(len(text))))
        kept = len(parts) - 1
        for number in range(kept, len(parts) // 2, -1):
            if fence_at(parts[number].start) is None:
                kept = number
                break
        goes_on = parts[kept].start
        return Stretch(parts[:kept], goes_on, _fence_state(fence_at(goes_on)))

    def _code(self, text: str, opened: str, *, last: bool) -> Stretch:
        for line in FENCE.finditer(text):
            if _closes(line, opened):
                end = min(line.end() + 1, len(text))
                return Stretch(self._parts(TextSplitter, text[:end]), end, {})
        plain = super().cut(text, {}, last=last)
        return Stretch(plain.parts, plain.goes_on, _fence_state(opened))


def _offsets(chunks: list[tuple[int, str]]) -> list[Part]:
    return [Part(start, start + len(chunk)) for start, chunk in chunks]


def _fences(text: str) -> tuple[list[int], list[str | None]]:
    """Where fence lines start, and which fence is open before the first and after each."""
    lines: list[int] = []
    open_after: list[str | None] = [None]
    for line in FENCE.finditer(text):
        opened = open_after[-1]
        if opened is None and not (line[1][0] == "`" and "`" in line[2]):
            opened = line[1]
        elif opened is not None and _closes(line, opened):
            opened = None
        lines.append(line.start())
        open_after.append(opened)
    return lines, open_after


def _closes(line: re.Match[str], opened: str) -> bool:
    return line[1].startswith(opened) and not line[2].strip()


def _fence_state(opened: str | None) -> Mapping[str, Any]:
    return {} if opened is None else {"fence": opened}
