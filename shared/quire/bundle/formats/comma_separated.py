"""CSV as RFC 4180 has it, in UTF-8 with a header.

Quire's own files have columns that a spreadsheet shows and a `payload` that makes the round trip
exact: what a cell cannot tell exactly stands there as JSON, and the payload wins over the cells.
That also settles formulas. A text that begins with = + - @, a tab or a carriage return would be
run by a spreadsheet, so its cell gets an apostrophe in front, and the payload has the text as it
is. Whoever edits other cells and imports the file again, has them taken.
"""

from __future__ import annotations

import asyncio
import csv
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from quire.bundle.formats.json_values import check_integers, dumped, floats, loaded, sparse_shape
from quire.bundle.formats.lines import raw_lines
from quire.bundle.formats.mapping import ColumnMapping
from quire.bundle.formats.models import ROW_BYTES_MAX
from quire.bundle.formats.points import (
    RowPoints,
    batched,
    dense_of,
    identity_of,
    located,
    payload_of,
    sparse_of,
)
from quire.errors import FileRefused, InvalidInput
from quire.vectors.port import Point, Record

_TEXTS = ("document_id", "text")
_INTEGERS = ("index", "seq", "start", "end", "tokens")
_METADATA = "metadata"
_CELLS = ("document_id", "index", "seq", "start", "end", "tokens", "text", "metadata")
_OWN = ("id", *_CELLS, "payload")
_VECTORS = ("vector", "sparse")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SPECIAL = re.compile(r'[",\r\n]')
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_DELIMITERS = (",", ";", "\t")


async def write_csv(
    points: AsyncIterator[Sequence[Record]], *, vectors: bool = True
) -> AsyncGenerator[bytes, None]:
    """A header, then a row for each point; `vector` and `sparse` are JSON."""
    yield _rows([(*_OWN, *_VECTORS) if vectors else _OWN])
    async for batch in points:
        yield await asyncio.to_thread(_encoded, batch, vectors)


def _encoded(batch: Sequence[Record], vectors: bool) -> bytes:
    return _rows(_written(point, vectors) for point in batch)


def _rows(rows: Iterable[Sequence[str]]) -> bytes:
    # The library's writer looks at each character of a vector: four times slower.
    return "".join(",".join(map(_quoted, row)) + "\r\n" for row in rows).encode()


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _SPECIAL.search(cell) else cell


def _written(point: Record, vectors: bool) -> list[str]:
    rest = dict(point.payload)
    cells = [str(point.id), *(_cell(name, rest) for name in _CELLS), _json(rest)]
    if vectors:
        cells.append("" if point.dense is None else _json(floats(point.dense)))
        cells.append("" if point.sparse is None else _json(sparse_shape(point.sparse)))
    return cells


def _cell(name: str, rest: dict[str, Any]) -> str:
    """What the cell shows; the field leaves the rest where that tells it exactly."""
    value = rest.get(name)
    if name in _INTEGERS and type(value) is int:
        del rest[name]
        return str(value)
    if name == _METADATA and isinstance(value, dict):
        del rest[name]
        return _json(value)
    if name in _TEXTS and type(value) is str and value:
        if value.startswith(_FORMULA):
            return f"'{value}"
        if "\0" not in value:
            del rest[name]
        return value
    return ""


def _json(value: Any) -> str:
    return dumped(value).decode()


class CsvReader:
    """A CSV file, its header read; blocking. Cells of a stranger's file stay the texts they are."""

    def __init__(self, path: Path, mapping: ColumnMapping | None, namespace: UUID | None) -> None:
        self._path = path
        self._delimiter = _delimiter(path)
        header = next(self._cells(), None)
        if header is None:
            raise FileRefused("The file is empty; a CSV file begins with a header.")
        self.columns = tuple(header[1])
        twice = [name for name in self.columns if self.columns.count(name) > 1]
        if twice:
            raise FileRefused(f"The header has the column {twice[0][:80]!a} twice.")
        self.own = mapping is None and self.columns in (_OWN, (*_OWN, *_VECTORS))
        self.taken: ColumnMapping | None = None
        if not self.own:
            self.taken = (mapping or ColumnMapping()).resolved(self.columns)
            self._mapped = RowPoints(self.taken, namespace)

    def batches(self) -> Iterator[list[Point]]:
        """All points in the file's order."""
        return batched(self._points(), "Point")

    def _points(self) -> Iterator[tuple[Point, int]]:
        cells = self._cells()
        next(cells)
        for number, (line, values) in enumerate(cells, 1):
            if len(values) != len(self.columns):
                raise FileRefused(
                    f"Row {number} (which ends in line {line}) has {len(values)} cells; the "
                    f"header has {len(self.columns)}."
                )
            row = dict(zip(self.columns, values, strict=True))
            try:
                point = _own_point(row) if self.own else self._mapped_point(row, number)
            except InvalidInput as error:
                raise located(f"Row {number} (which ends in line {line})", error) from None
            yield point, sum(map(len, values))

    def _mapped_point(self, row: Mapping[str, str], number: int) -> Point:
        assert self.taken is not None  # noqa: S101 - or else it is our own
        values: dict[str, Any] = {name: cell for name, cell in row.items() if cell}
        for column in (self.taken.vector, self.taken.sparse_indices, self.taken.sparse_values):
            if column is not None and column in values:
                values[column] = _parsed(values[column], column)
        return self._mapped.point(values, number)

    def _cells(self) -> Iterator[tuple[int, list[str]]]:
        """Rows with the line that each ends in; blank lines are none."""
        # The library's limit of a cell is one for the process, and too small for a document.
        csv.field_size_limit(max(csv.field_size_limit(), ROW_BYTES_MAX))
        reader = csv.reader(_texts(self._path), delimiter=self._delimiter, strict=True)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise FileRefused(f"Line {reader.line_num} is no valid CSV ({error}).") from None
            if row:
                yield reader.line_num, row


def _own_point(row: Mapping[str, str]) -> Point:
    payload: dict[str, Any] = {}
    for name in _TEXTS:
        if row[name]:
            payload[name] = row[name]
    for name in _INTEGERS:
        if row[name]:
            payload[name] = _integer(row[name], name)
    if row[_METADATA]:
        payload[_METADATA] = _parsed(row[_METADATA], _METADATA)
    rest = _parsed(row["payload"] or "{}", "payload")
    if not isinstance(rest, dict):
        raise InvalidInput("The payload is no JSON object.", field="payload")
    payload |= rest
    vector, sparse = row.get("vector"), row.get("sparse")
    return Point(
        identity_of(row["id"]),
        dense_of(_parsed(vector, "vector")) if vector else None,
        sparse_of(_parsed(sparse, "sparse")) if sparse else None,
        payload_of(payload),
    )


def _integer(cell: str, field: str) -> int:
    if _INTEGER.fullmatch(cell) is None:
        raise InvalidInput(f"{cell[:60]!a} is no integer.", field=field)
    return int(cell)


def _parsed(cell: str, field: str) -> Any:
    raw = cell.encode()
    try:
        value = loaded(raw)
    except InvalidInput as error:
        raise InvalidInput(error.message, field=field) from None
    if isinstance(value, dict):
        check_integers(raw, value)
    return value


def _texts(path: Path) -> Iterator[str]:
    for number, line in enumerate(raw_lines(path), 1):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise FileRefused(
                f"Line {number} is no valid UTF-8 (byte {error.start + 1} of the line); save the "
                "file as UTF-8."
            ) from None


def _delimiter(path: Path) -> str:
    """What stands most often in the first line: spreadsheets of some countries write semicolons."""
    header = next(_texts(path), "")
    return max(_DELIMITERS, key=header.count)
