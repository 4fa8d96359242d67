"""The seams of JSON and of JSON Lines: commas and line ends outside strings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEEPEST = 16
"""Levels below this one are counted, and not named."""
KEY_CHARS = 40
PATH_CHARS = 120

# A surrogate pair's two escapes, another escape, a line end of two characters.
ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|\r\n",
    re.DOTALL,
)
KEY = re.compile(r'[ \t\r\n]*"([^"\\]*(?:\\.[^"\\]*)*)"[ \t\r\n]*:', re.DOTALL)
PLAIN_NAME = re.compile(r"[^\W\d][\w-]*")

QUOTE, OPEN_LIST, OPEN_OBJECT, CLOSE, COMMA, LINE_END, OTHER, FOREIGN = range(1, 9)

# What each character is outside strings; of the literals any letter will do.
MEANING = np.full(129, FOREIGN, np.uint8)
for _characters, _meaning in (
    (" \t\r:+-.0123456789truefalsnulNaInfinityE", OTHER),
    ('"', QUOTE),
    ("[", OPEN_LIST),
    ("{", OPEN_OBJECT),
    ("]}", CLOSE),
    (",", COMMA),
    ("\n", LINE_END),
):
    MEANING[[ord(character) for character in _characters]] = _meaning


class JsonNotation:
    """JSON, or records of JSON a line each; read tolerantly, since it need not be what it says.

    Commas, closing brackets and the white space after them end the chunk before. A chunk that
    starts inside something has the way there as its context, like `items[12].body`.
    """

    unbroken = ESCAPE
    gaps = True

    def __init__(self, *, lines: bool) -> None:
        self._lines = lines

    def read(self, text: str, state: Mapping[str, Any]) -> JsonReading:
        return JsonReading(text, state, lines=self._lines)


@dataclass(slots=True)
class Frame:
    """An open list or object, and which of its members one is in."""

    is_list: bool
    index: int
    member_at: int
    """Behind the bracket or comma before the member; -1 if that was before the stretch."""
    key: str | None = None


def _frame(step: int | str) -> Frame:
    if isinstance(step, int):
        return Frame(True, step, -1)
    return Frame(False, 0, -1, step or None)


class JsonReading:
    def __init__(self, text: str, state: Mapping[str, Any], *, lines: bool) -> None:
        self._text = text
        self._in_string = bool(state.get("in_string"))
        self.level = int(state.get("depth", 0))
        self._frames = [_frame(step) for step in state.get("path", ())]
        if self._frames and len(self._frames) == self.level and not self._in_string:
            self._frames[-1].member_at = 0
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        meaning = MEANING[np.minimum(codes, 128)]
        self._inside = _inside_strings(text, meaning, in_string=self._in_string, lines=lines)
        structure = (meaning >= OPEN_LIST) & (meaning <= LINE_END) & ~self._inside
        at = np.flatnonzero(structure)
        kinds = meaning[at]
        depths = _depths(kinds, self.level, lines=lines)
        seams = (kinds == COMMA) | ((kinds == LINE_END) & (depths == 0))
        levels = depths[seams]
        if lines:
            # A line that is not JSON spoils itself only: nothing in it is outside the line.
            self.valid_until = len(text)
            levels = np.where(kinds[seams] == LINE_END, 0, np.maximum(levels, 1))
            depths = np.maximum(depths, 0)
        else:
            self.valid_until = _valid_until(len(text), meaning, self._inside, at, depths)
        self._at, self._kinds, self._depths = at, kinds, depths
        self.seams: NDArray[np.int64] = at[seams] + 1
        self.levels: NDArray[np.int64] = levels
        self._passed = 0
        self._here = 0

    def walk(self, to: int) -> None:
        first, self._passed = self._passed, int(self._at.searchsorted(to))
        self._here = to
        if to:
            self._in_string = bool(self._inside[to - 1])
        if first == self._passed:
            return
        at = self._at[first : self._passed]
        kinds = self._kinds[first : self._passed]
        depths = self._depths[first : self._passed]
        kept = min(int(depths.min()), self.level)
        self.level = int(depths[-1])
        del self._frames[kept:]
        for level in range(max(kept, 1), min(self.level, DEEPEST) + 1):
            here = depths == level
            if level > kept:
                opened = int(np.flatnonzero(here & (kinds <= OPEN_OBJECT))[-1])
                here[:opened] = False
                frame = Frame(bool(kinds[opened] == OPEN_LIST), 0, int(at[opened]) + 1)
                self._frames.append(frame)
            else:
                frame = self._frames[level - 1]
            commas = np.flatnonzero(here & (kinds == COMMA))
            if len(commas):
                frame.index += len(commas)
                frame.member_at = int(at[commas[-1]]) + 1
                frame.key = None

    def context(self) -> str | None:
        # Between two members it is their container that matters; inside a string, the member.
        named = self._frames if self._in_string else self._frames[: max(self.level - 1, 0)]
        path = ""
        for frame in named:
            if frame.is_list:
                path += f"[{frame.index}]"
            elif (key := self._key(frame)) is not None:
                path += _step(key, first=not path)
        return (path if len(path) <= PATH_CHARS else f"…{path[1 - PATH_CHARS :]}") or None

    def state(self) -> Mapping[str, Any]:
        path = [frame.index if frame.is_list else self._key(frame) or "" for frame in self._frames]
        return {"in_string": self._in_string, "depth": self.level, "path": path}

    def _key(self, frame: Frame) -> str | None:
        if frame.key is None and frame.member_at >= 0:
            match = KEY.match(self._text, frame.member_at, self._here)
            frame.key = match[1][:KEY_CHARS] if match else None
        return frame.key


def _step(key: str, *, first: bool) -> str:
    if not PLAIN_NAME.fullmatch(key):
        return f'["{key}"]'
    return key if first else f".{key}"


def _inside_strings(
    text: str, meaning: NDArray[np.uint8], *, in_string: bool, lines: bool
) -> NDArray[np.bool_]:
    """For each character whether a string is open behind it."""
    toggles = (meaning == QUOTE).astype(np.uint8)
    if "\\" in text:
        for before in np.flatnonzero(toggles[1:]).tolist():
            if text[before] == "\\" and _odd_backslashes(text, before):
                toggles[before + 1] = 0
    if lines:
        # A raw line end cannot be inside a string: one that is open is a broken line's.
        ends = np.flatnonzero(meaning == LINE_END)
        quotes = in_string + np.cumsum(toggles, dtype=np.int64)[ends]
        toggles[ends] = np.diff(quotes, prepend=0) & 1
    return ((in_string + np.cumsum(toggles, dtype=np.uint8)) & 1).astype(np.bool_)


def _odd_backslashes(text: str, last: int) -> bool:
    first = last
    while first >= 0 and text[first] == "\\":
        first -= 1
    return (last - first) % 2 == 1


def _depths(kinds: NDArray[np.uint8], depth: int, *, lines: bool) -> NDArray[np.int64]:
    """How many brackets are open behind each sign of structure."""
    opened = (kinds <= OPEN_OBJECT).astype(np.int64)
    depths = depth + np.cumsum(opened - (kinds == CLOSE))
    if lines:
        ends = kinds == LINE_END
        latest = np.maximum.accumulate(np.where(ends, np.arange(len(kinds)), -1))
        depths -= np.where(latest >= 0, depths[latest], 0) if len(kinds) else 0
    return depths


def _valid_until(
    length: int,
    meaning: NDArray[np.uint8],
    inside: NDArray[np.bool_],
    at: NDArray[np.int64],
    depths: NDArray[np.int64],
) -> int:
    foreign = np.flatnonzero((meaning == FOREIGN) & ~inside)
    too_closed = np.flatnonzero(depths < 0)
    return min(
        int(foreign[0]) if len(foreign) else length,
        int(at[too_closed[0]]) if len(too_closed) else length,
    )
