"""A JSON document read piece by piece: it may be far larger than memory.

Where a value ends is found here, by its quotes and brackets; what it is, the parser tells, which
also checks every byte of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from quire.bundle.formats.json_values import loaded
from quire.bundle.formats.models import ROW_BYTES_MAX
from quire.bundle.formats.points import located
from quire.errors import FileRefused, InvalidInput

_CHUNK = 1024 * 1024
_DEPTH_MAX = 100
_SPACE = b" \t\r\n"
_MARK = re.compile(rb'"|\{|\}|\[|\]')
_NOT_PLAIN = (b'"', b"{", b"[", b"}")
_SCALAR_END = re.compile(rb"[,\]}\s]")
_OPENING = (b"{", b"[")


class JsonStream:
    """Walks through one document. Each member or element must be taken before the next."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._buffer = b""
        self._at = 0
        self._before = 0
        self.raw = b""
        """The bytes of the value that was read last."""
        if self._peek(3) == b"\xef\xbb\xbf":
            self._at = 3

    @property
    def position(self) -> int:
        """How far into the file it is, in bytes."""
        return self._before + self._at

    def next_byte(self) -> bytes:
        """The byte with which the next value begins, or empty at the end."""
        while True:
            while self._at < len(self._buffer):
                if self._buffer[self._at] not in _SPACE:
                    return self._buffer[self._at : self._at + 1]
                self._at += 1
            if not self._more():
                return b""

    def members(self) -> Iterator[str]:
        """The keys of an object; the value of each stands next."""
        self._expect(b"{", "an object")
        if self._took(b"}"):
            return
        while True:
            if self.next_byte() != b'"':
                raise self._damaged("a key belongs")
            key = self.value()
            self._expect(b":", "a colon")
            yield key
            if self._took(b"}"):
                return
            self._expect(b",", "a comma or the object's end")

    def elements(self) -> Iterator[int]:
        """The numbers, from 0, of an array's elements; each stands next."""
        self._expect(b"[", "an array")
        if self._took(b"]"):
            return
        number = 0
        while True:
            yield number
            number += 1
            if self._took(b"]"):
                return
            self._expect(b",", "a comma or the array's end")

    def value(self) -> Any:
        """The next value, whole."""
        first = self.next_byte()
        if not first or first in b",:]}":
            raise self._damaged("a value belongs")
        end = self._end_of_value(first)
        self.raw = self._buffer[self._at : end]
        start, self._at = self.position, end
        try:
            return loaded(self.raw)
        except InvalidInput as error:
            raise located(f"The value at byte {start}", error) from None

    def skip(self) -> None:
        """Pass over the next value without parsing it."""
        first = self.next_byte()
        if not first or first in b",:]}":
            raise self._damaged("a value belongs")
        self._at = self._end_of_value(first)

    def finish(self) -> None:
        """Check that nothing follows."""
        if self.next_byte():
            raise self._damaged("the file should end")

    def _end_of_value(self, first: bytes) -> int:
        if first == b'"':
            return self._end_of_string(self._at)
        if first not in _OPENING:
            return self._end_of_scalar()
        depth, place = 0, self._at
        while True:
            mark = _MARK.search(self._buffer, place)
            if mark is None:
                place = self._extended(len(self._buffer))
                continue
            place, byte = mark.start(), mark.group()
            if byte == b'"':
                place = self._end_of_string(place)
                continue
            if byte == b"[" and (end := self._end_of_plain_list(place)):
                place = end
            else:
                place += 1
                depth += 1 if byte in _OPENING else -1
            if depth == 0:
                return place
            if depth > _DEPTH_MAX:
                raise FileRefused(
                    f"The value at byte {self.position} nests deeper than {_DEPTH_MAX} levels."
                )

    def _end_of_plain_list(self, place: int) -> int:
        """Past a list of numbers, such as a vector is, at once; 0 where that cannot be told."""
        buffer = self._buffer
        end = buffer.find(b"]", place)
        if end < 0 or any(buffer.find(mark, place + 1, end) >= 0 for mark in _NOT_PLAIN):
            return 0
        return end + 1

    def _end_of_string(self, place: int) -> int:
        """From its opening quote to behind its closing one; the buffer may move meanwhile."""
        place += 1
        while True:
            end = self._buffer.find(b'"', place)
            limit = end if end >= 0 else len(self._buffer)
            while (escape := self._buffer.find(b"\\", place, limit)) >= 0:
                place = escape + 2
            if place > limit:  # what stands at the limit is escaped
                place = place if end >= 0 else self._extended(place)
            elif end >= 0:
                return end + 1
            else:
                place = self._extended(limit)

    def _end_of_scalar(self) -> int:
        place = self._at
        while True:
            mark = _SCALAR_END.search(self._buffer, place)
            if mark is not None:
                return mark.start()
            before = len(self._buffer)
            if not self._more():
                return before
            place = self._at

    def _extended(self, place: int) -> int:
        """Read on within a value, and tell where `place` is in the buffer now."""
        offset = place - self._at
        if not self._more():
            raise FileRefused("The file ends in the middle of its JSON: it is not complete.")
        return self._at + offset

    def _more(self) -> bool:
        """Read on, and let go of what was passed."""
        held = len(self._buffer) - self._at
        if held > ROW_BYTES_MAX:
            raise FileRefused(
                f"A value at byte {self.position} is longer than "
                f"{ROW_BYTES_MAX // (1024 * 1024)} MB."
            )
        # As much again as is held: so a long value is copied a few times only.
        chunk = self._file.read(max(_CHUNK, held))
        self._before += self._at
        self._buffer, self._at = self._buffer[self._at :] + chunk, 0
        return bool(chunk)

    def _peek(self, count: int) -> bytes:
        if len(self._buffer) - self._at < count:
            self._more()
        return self._buffer[self._at : self._at + count]

    def _took(self, byte: bytes) -> bool:
        if self.next_byte() != byte:
            return False
        self._at += 1
        return True

    def _expect(self, byte: bytes, what: str) -> None:
        if not self._took(byte):
            raise self._damaged(f"{what} belongs")

    def _damaged(self, expected: str) -> FileRefused:
        found = self.next_byte()
        if not found:
            return FileRefused("The file ends in the middle of its JSON: it is not complete.")
        return FileRefused(
            f"The JSON is damaged at byte {self.position}: {found!a} stands where {expected}."
        )
