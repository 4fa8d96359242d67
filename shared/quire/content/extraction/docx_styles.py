"""What a DOCX says apart from its text about what is a heading, and how lists are marked."""

from __future__ import annotations

import re
from collections import defaultdict

from quire.content.extraction.docx_package import Attributes, Package

BODY = 9
"""The outline level of what is no heading."""

_HEADING = re.compile(r"heading ([1-9])$", re.IGNORECASE)
_DEEPEST_LEVEL = 8
# Styles rest on styles; in a broken file, in a circle.
_LONGEST_LINE = 20


class Styles:
    """Which outline level a paragraph style has, whether of its own or inherited."""

    def __init__(self, package: Package, part: str) -> None:
        self._levels: dict[str, int] = {}
        self._lists: dict[str, tuple[str, int]] = {}
        self._bases: dict[str, str] = {}
        self._style = ""
        self._list_id: str | None = None
        self._list_level = 0
        package.parse(part, self._start, self._end)

    def level(self, style: str) -> int:
        """0 for the highest heading (and the title), `BODY` for what is none."""
        return next(
            (self._levels[name] for name in self._line(style) if name in self._levels), BODY
        )

    def numbering(self, style: str) -> tuple[str, int] | None:
        """(list, level) where the style makes its paragraphs items of a list."""
        return next((self._lists[name] for name in self._line(style) if name in self._lists), None)

    def _line(self, style: str) -> list[str]:
        line: list[str] = []
        while style and len(line) < _LONGEST_LINE:
            line.append(style)
            style = self._bases.get(style, "")
        return line

    def _start(self, tag: str, attributes: Attributes) -> None:
        value = attributes.get("w:val", "")
        if tag == "w:style":
            self._style = attributes.get("w:styleId", "")
            self._list_id, self._list_level = None, 0
        elif tag == "w:basedOn":
            self._bases[self._style] = value
        elif tag == "w:name" and (heading := _HEADING.match(value)):
            self._levels[self._style] = int(heading[1]) - 1
        elif tag == "w:name" and value.lower() == "title":
            self._levels[self._style] = 0
        elif tag == "w:outlineLvl":
            self._levels[self._style] = level_of(value, BODY)
        elif tag == "w:numId":
            self._list_id = value
        elif tag == "w:ilvl":
            self._list_level = level_of(value)

    def _end(self, tag: str) -> None:
        if tag == "w:style" and self._list_id is not None:
            self._lists[self._style] = (self._list_id, self._list_level)


class Numbering:
    """How the items of each list are marked: with a bullet, or with the number they come to."""

    def __init__(self, package: Package, part: str) -> None:
        self._formats: dict[tuple[str, int], str] = {}
        self._starts: dict[tuple[str, int], int] = {}
        self._abstract: dict[str, str] = {}
        self._counts: dict[str, dict[int, int]] = defaultdict(dict)
        self._definition = self._list = ""
        self._level = 0
        package.parse(part, self._start)

    def marker(self, list_id: str, level: int) -> str | None:
        """The next item's mark; None where the list is one in name only."""
        if list_id == "0" or list_id not in self._abstract:
            return None
        key = (self._abstract[list_id], level)
        form = self._formats.get(key, "decimal")
        if form == "none":
            return None
        if form == "bullet":
            return "-"
        counts = self._counts[list_id]
        counts[level] = counts.get(level, self._starts.get(key, 1) - 1) + 1
        for deeper in [other for other in counts if other > level]:
            del counts[deeper]
        return f"{counts[level]}."

    def _start(self, tag: str, attributes: Attributes) -> None:
        value = attributes.get("w:val", "")
        if tag == "w:abstractNum":
            self._definition = attributes.get("w:abstractNumId", "")
        elif tag == "w:num":
            self._list = attributes.get("w:numId", "")
            self._definition = ""  # what is overridden for one list does not change the others
        elif tag == "w:abstractNumId":
            self._abstract[self._list] = value
        elif tag == "w:lvl":
            self._level = level_of(attributes.get("w:ilvl", ""))
        elif tag == "w:numFmt":
            self._formats.setdefault((self._definition, self._level), value)
        elif tag == "w:start" and re.fullmatch(r"[0-9]{1,9}", value):
            self._starts.setdefault((self._definition, self._level), int(value))


def level_of(value: str, deepest: int = _DEEPEST_LEVEL) -> int:
    """A level as a number within bounds, whatever stands there."""
    return min(int(value), deepest) if re.fullmatch(r"[0-9]{1,9}", value) else 0
