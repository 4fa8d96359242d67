"""Thrift's compact protocol, as far as Parquet describes itself in it."""

from __future__ import annotations

from typing import Any

from quire.errors import FileRefused

_DEPTH_MAX = 8


class Compact:
    """Reads structures from bytes: fields by their numbers, whatever they are called."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.position = 0

    def structure(self, depth: int = 0) -> dict[int, Any]:
        """The structure that begins here; a field that is there twice is refused."""
        if depth > _DEPTH_MAX:
            raise _damaged()
        fields: dict[int, Any] = {}
        name = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            name = name + step if step else self._signed()
            if name in fields:
                raise _damaged()
            # Of these two the kind is the value.
            fields[name] = kind == 1 if kind in (1, 2) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        match kind:
            case 1 | 2 | 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._signed()
            case 7:
                return self._bytes(8)
            case 8:
                return self._bytes(self._unsigned())
            case 9 | 10:
                return self._list(depth)
            case 12:
                return self.structure(depth + 1)
        raise _damaged()

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        size, kind = head >> 4, head & 15
        if size == 15:
            size = self._unsigned()
        # Each takes a byte at least.
        if size > len(self._raw) - self.position:
            raise _damaged()
        return [self._value(kind, depth + 1) for _ in range(size)]

    def _bytes(self, length: int) -> bytes:
        if length > len(self._raw) - self.position:
            raise _damaged()
        self.position += length
        return self._raw[self.position - length : self.position]

    def _byte(self) -> int:
        if self.position >= len(self._raw):
            raise _damaged()
        self.position += 1
        return self._raw[self.position - 1]

    def _unsigned(self) -> int:
        number = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
        raise _damaged()

    def _signed(self) -> int:
        number = self._unsigned()
        return (number >> 1) ^ -(number & 1)


def _damaged() -> FileRefused:
    return FileRefused("Its footer, or the header of a page, is damaged.")
