"""The seams of CSV: line ends between rows, delimiters between fields, none inside quotes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

DELIMITERS = ",;\t|"
HEADER_CHARS = 4_096

DOUBLED = re.compile(r'""|\r\n')
QUOTED = re.compile(r'"[^"]*"')
REST_OF_QUOTED = re.compile(r'[^"]*+(?:""[^"]*+)*+(?P<closed>")?')


class CsvNotation:
    """Rows as RFC 4180 has them, however ragged; the first one is the header.

    The header is the context of every chunk that starts behind it. A line end belongs to its row,
    a delimiter to the field before.
    """

    unbroken = DOUBLED
    gaps = False

    def read(self, text: str, state: Mapping[str, Any]) -> CsvReading:
        return CsvReading(text, state)


class CsvReading:
    def __init__(self, text: str, state: Mapping[str, Any]) -> None:
        self.valid_until = len(text)
        self.level = int(state.get("level", 0))
        self._here = 0
        self._delimiter: str = state.get("delimiter") or _delimiter(text)
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        line_end = codes == ord("\n")
        line_end[:-1] |= (codes[:-1] == ord("\r")) & (codes[1:] != ord("\n"))
        self._in_quotes = bool(state.get("in_quotes"))
        self._inside = _inside_quotes(
            text, self._delimiter, in_quotes=self._in_quotes, in_field=self.level > 1
        )
        seams = (line_end | (codes == ord(self._delimiter))) & ~self._inside
        at = np.flatnonzero(seams)
        self.seams: NDArray[np.int64] = at + 1
        self.levels: NDArray[np.int64] = np.where(line_end[at], 0, 1)
        self._header: str | None = state.get("header")
        self._header_end = 0
        if self._header is None:
            rows = self.seams[self.levels == 0]
            self._header_end = int(rows[0]) if len(rows) else len(text)
            self._header = text[: min(self._header_end, HEADER_CHARS)].strip("\r\n")

    def walk(self, to: int) -> None:
        if to != self._here:
            index = int(self.seams.searchsorted(to))
            at_seam = index < len(self.seams) and self.seams[index] == to
            self.level = int(self.levels[index]) if at_seam else 2
        self._here = to

    def context(self) -> str | None:
        return (self._header or None) if self._here >= self._header_end else None

    def state(self) -> Mapping[str, Any]:
        return {
            "delimiter": self._delimiter,
            "header": self._header,
            "in_quotes": bool(self._inside[self._here - 1]) if self._here else self._in_quotes,
            "level": self.level,
        }


def _delimiter(text: str) -> str:
    """The sign that the first line has most of, outside quotes."""
    line = QUOTED.sub("", text[:HEADER_CHARS]).lstrip("\r\n").partition("\n")[0]
    return max(DELIMITERS, key=line.count)


def _inside_quotes(
    text: str, delimiter: str, *, in_quotes: bool, in_field: bool
) -> NDArray[np.bool_]:
    """For each character whether a quoted field is open behind it.

    A quote opens a field only where that starts; elsewhere it is a character like any other.
    """
    toggles = np.zeros(len(text), np.uint8)
    begin = 0
    if in_quotes and (rest := REST_OF_QUOTED.match(text)):
        begin = rest.end()
        if rest.start("closed") >= 0:
            toggles[begin - 1] = 1
    opens = rf"(?<=[{re.escape(delimiter)}\r\n])" + ("" if in_field else r"|\A")
    for field in re.compile(rf'(?:{opens})"{REST_OF_QUOTED.pattern}').finditer(text, begin):
        toggles[field.start()] = 1
        if field.start("closed") >= 0:
            toggles[field.end() - 1] = 1
    return ((in_quotes + np.cumsum(toggles, dtype=np.uint8)) & 1).astype(np.bool_)
