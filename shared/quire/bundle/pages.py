"""A Parquet file's footer and pages, looked at before pyarrow sees them.

A footer may tell any sizes, and a page of some bytes may claim gigabytes of values; and there are
footers that end the process when pyarrow looks closer. So what is written there is read here,
held against itself and against what is sane, and only what passed is handed on.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, BinaryIO

from quire.bundle.thrift import Compact
from quire.errors import FileRefused

FOOTER_BYTES_MAX = 32 * 1024 * 1024

_MAGIC = b"PAR1"
_HEADER_BYTES = 4096
_DATA, _DICTIONARY = 0, 2
# Values of these encodings take their size in the page, or have a fixed one. A dictionary of texts
# or their shared prefixes could stand for far more than the page holds.
_PLAIN, _RLE, _SPLIT = 0, 3, 9
_DICTIONARY_ENCODINGS = frozenset({2, 8})
_TEXT = 6
# What a value comes to in memory beside the page: levels, and the number itself.
_VALUE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Chunk:
    """A column's part of a row group, as the footer describes it."""

    path: str
    kind: int
    values: int
    unpacked: int
    packed: int
    start: int


@dataclass(frozen=True, slots=True)
class Group:
    """A row group, as the footer describes it."""

    rows: int
    unpacked: int
    chunks: tuple[Chunk, ...]


def read_footer(file: BinaryIO) -> tuple[int, list[Group]]:
    """How many rows there are, and in which groups."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    tail = file.read(8)
    if size < 12 or tail[4:] != _MAGIC:
        raise FileRefused("It is no Parquet file, or its end is missing.")
    length = int.from_bytes(tail[:4], "little")
    if not 0 < length <= min(size - 12, FOOTER_BYTES_MAX):
        raise FileRefused("Its footer has no valid size.")
    file.seek(size - 8 - length)
    fields = Compact(file.read(length)).structure()
    groups = list(map(_group, _listed(fields, 4)))
    rows = _count(fields, 3)
    if rows != sum(group.rows for group in groups):
        raise FileRefused("Its footer contradicts itself about the number of points.")
    return rows, groups


def check_pages(file: BinaryIO, group: Group, columns: Collection[str], bytes_max: int) -> None:
    """Check all pages of a row group's columns that are going to be read."""
    unpacked = 0
    for chunk in group.chunks:
        if chunk.path.split(".")[0] in columns:
            unpacked += chunk.unpacked + _VALUE_BYTES * chunk.values
            if unpacked > bytes_max:
                raise FileRefused(f"A row group unpacks to more than {bytes_max >> 20} MB.")
            _check_chunk(file, chunk)


def _check_chunk(file: BinaryIO, chunk: Chunk) -> None:
    position, end = chunk.start, chunk.start + chunk.packed
    values = unpacked = 0
    allowed = {_PLAIN, _RLE, _SPLIT}
    if chunk.kind != _TEXT:
        allowed |= _DICTIONARY_ENCODINGS
    while position < end:
        file.seek(position)
        page = Compact(file.read(_HEADER_BYTES))
        fields = page.structure()
        kind = fields.get(1)
        if kind not in (_DATA, _DICTIONARY):
            raise FileRefused("It has pages of a kind that Quire does not write.")
        inner = fields.get(5 if kind == _DATA else 7)
        if not isinstance(inner, dict) or inner.get(2) not in allowed:
            raise _contradiction(chunk)
        values += _count(inner, 1) if kind == _DATA else 0
        unpacked += page.position + _count(fields, 2)
        position += page.position + _count(fields, 3)
    if (position, values, unpacked) != (end, chunk.values, chunk.unpacked):
        raise _contradiction(chunk)


def _group(fields: Any) -> Group:
    chunks = tuple(_chunk(_inner(column, 3)) for column in _listed(fields, 1))
    return Group(_count(fields, 3), _count(fields, 2), chunks)


def _chunk(fields: dict[int, Any]) -> Chunk:
    path = b".".join(part for part in _listed(fields, 3) if isinstance(part, bytes))
    start = _count(fields, 9)
    if 11 in fields:
        start = min(start, _count(fields, 11))
    return Chunk(
        path.decode("ascii", "replace"),
        _count(fields, 1),
        values=_count(fields, 5),
        unpacked=_count(fields, 6),
        packed=_count(fields, 7),
        start=start,
    )


def _inner(fields: Any, name: int) -> dict[int, Any]:
    value = fields.get(name) if isinstance(fields, dict) else None
    if not isinstance(value, dict):
        raise _damaged()
    return value


def _listed(fields: Any, name: int) -> list[Any]:
    value = fields.get(name) if isinstance(fields, dict) else None
    if not isinstance(value, list):
        raise _damaged()
    return value


def _count(fields: dict[int, Any], name: int) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or value < 0:
        raise _damaged()
    return value


def _damaged() -> FileRefused:
    return FileRefused("Its footer, or the header of a page, is damaged.")


def _contradiction(chunk: Chunk) -> FileRefused:
    return FileRefused(f"The pages of the column {chunk.path} contradict its footer.")
