"""Parquet: Quire's own columns, exactly; a stranger's columns by a mapping."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.parquet as pq

from quire.bundle.formats.mapping import ColumnMapping
from quire.bundle.formats.models import BATCH, BATCH_BYTES, ROW_BYTES_MAX
from quire.bundle.formats.parquet_dictionary import dictionary_bytes
from quire.bundle.formats.points import RowPoints, batched, located, weight_of
from quire.bundle.points_file import PointsReader, PointsWriter
from quire.bundle.points_table import schema
from quire.errors import FileRefused, InvalidInput
from quire.vectors.port import Point, Record

_BLOCK = 1024 * 1024
_FOOTER_BYTES_MAX = 32 * 1024 * 1024
_Convert = Callable[[Any], Any]


async def write_parquet(
    points: AsyncIterator[Sequence[Record]], folder: Path, dimension: int, *, vectors: bool = True
) -> AsyncGenerator[bytes, None]:
    """One Parquet file; it grows in `folder`, a scratch folder, and is gone in the end."""
    path = folder / "points.parquet"
    writer = await asyncio.to_thread(PointsWriter, path, dimension, vectors=vectors)
    try:
        async for batch in points:
            await asyncio.to_thread(writer.write, batch)
        await asyncio.to_thread(writer.close)
        with path.open("rb") as file:
            while block := await asyncio.to_thread(file.read, _BLOCK):
                yield block
    finally:
        writer.abandon()
        path.unlink(missing_ok=True)


class ParquetReader:
    """A Parquet file, its footer read; blocking. Close it when it is not needed any more."""

    def __init__(self, path: Path, mapping: ColumnMapping | None, namespace: UUID | None) -> None:
        _check_footer(path)
        self._path = path
        with _refusals(), pq.ParquetFile(path, pre_buffer=False) as file:
            columns = file.schema_arrow
            self.points: int = file.metadata.num_rows
            self._rows_at_once = _rows_at_once(path, file.metadata)
        self.columns = tuple(columns.names)
        self.taken: ColumnMapping | None = None
        dense = columns.field("dense").type if "dense" in self.columns else None
        self.dimension: int | None = getattr(dense, "list_size", None)
        self.own = (
            mapping is None
            and self.dimension is not None
            and self.dimension > 0
            and columns.equals(schema(self.dimension))
        )
        if self.own:
            return
        twice = [name for name in self.columns if self.columns.count(name) > 1]
        if twice:
            raise FileRefused(f"The file has the column {twice[0][:80]!a} twice.")
        self.taken = taken = (mapping or ColumnMapping()).resolved(self.columns)
        self._rows = RowPoints(taken, namespace)
        single = (taken.id, taken.vector, taken.text, taken.document)
        sparse = (taken.sparse_indices, taken.sparse_values)
        wanted = {*single, *sparse, *(taken.payload or ())}
        self._conversions = {
            name: _conversion(columns.field(name).type, name)
            for name in self.columns
            if name in wanted
        }
        vector = None if taken.vector is None else columns.field(taken.vector).type
        self.dimension = getattr(vector, "list_size", None)

    def batches(self) -> Iterator[list[Point]]:
        """All points in the file's order."""
        if not self.own:
            yield from batched(self._points(), "Row")
            return
        reader = PointsReader(self._path)
        try:
            yield from reader.batches()
        finally:
            reader.close()

    def _points(self) -> Iterator[tuple[Point, int]]:
        number = 0
        with _refusals():
            # Without a buffer of that size, whole columns of a row group would be held.
            file = pq.ParquetFile(self._path, pre_buffer=False, buffer_size=_BLOCK)
        with file:
            batches = file.iter_batches(
                self._rows_at_once, columns=list(self._conversions), use_threads=False
            )
            while True:
                with _refusals():
                    batch = next(batches, None)
                if batch is None:
                    return
                for row in self._rows_of(batch):
                    number += 1
                    try:
                        point = self._rows.point(row, number)
                    except InvalidInput as error:
                        raise located(f"Row {number}", error) from None
                    weight = weight_of(point)
                    if weight > ROW_BYTES_MAX:
                        raise FileRefused(
                            f"Row {number} comes to more than {ROW_BYTES_MAX // 2**20} MB."
                        )
                    yield point, weight

    def _rows_of(self, batch: Any) -> Iterator[dict[str, Any]]:
        names = list(self._conversions)
        columns = []
        for name in names:
            try:
                values = _values(batch.column(name))
                convert = self._conversions[name]
                columns.append([None if value is None else convert(value) for value in values])
            except (UnicodeDecodeError, ValueError, OverflowError, pa.ArrowException) as error:
                raise FileRefused(
                    f"The column {name[:80]!a} has a value that cannot be read ({error}).",
                    field=name,
                ) from None
        for row in zip(*columns, strict=True):
            # What is null is not there: in a table, every row has every column.
            yield {name: value for name, value in zip(names, row, strict=True) if value is not None}


def _values(column: Any) -> list[Any]:
    if pa.types.is_dictionary(column.type):
        words = column.dictionary.to_pylist()
        return [None if n is None else words[n] for n in column.indices.to_pylist()]
    if getattr(column.type, "unit", None) == "ns":
        # Python's times, and those of engines, know microseconds.
        column = column.cast(_in_microseconds(column.type), safe=False)
    if _is_vector(column.type) and not (numbers := column.flatten()).null_count:
        return _lists(column, numbers)
    values: list[Any] = column.to_pylist()
    return values


def _lists(column: Any, numbers: Any) -> list[Any]:
    """Lists of numbers, without an object made for each of them on the way."""
    flat: list[Any] = numbers.to_numpy(zero_copy_only=False).tolist()
    lists: list[Any] = []
    start = 0
    for length in compute.list_value_length(column).to_pylist():
        lists.append(None if length is None else flat[start : start + length])
        start += length or 0
    return lists


def _is_vector(kind: Any) -> bool:
    types = pa.types
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(
        is_list and (types.is_floating(kind.value_type) or types.is_integer(kind.value_type))
    )


def _in_microseconds(kind: Any) -> Any:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.duration("us") if pa.types.is_duration(kind) else pa.time64("us")


def _conversion(kind: Any, name: str) -> _Convert:
    """How values of a column become JSON."""
    types = pa.types
    if types.is_dictionary(kind):
        return _conversion(kind.value_type, name)
    if isinstance(kind, pa.BaseExtensionType):
        if str(kind) == "extension<arrow.uuid>":
            return str
        return _conversion(kind.storage_type, name)
    if types.is_floating(kind):
        # Tables write "nothing there" as NaN where they have no null.
        return _number
    if types.is_integer(kind) or types.is_boolean(kind) or _is_text(kind) or types.is_null(kind):
        return _same
    if types.is_temporal(kind) and not types.is_interval(kind):
        return _length if types.is_duration(kind) else _time
    if types.is_decimal(kind):
        return _decimal
    if _is_vector(kind):
        # As they are: what is not finite in a vector is a mistake, and is to be named.
        return _same
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return partial(_list, _conversion(kind.value_type, name))
    if types.is_struct(kind):
        fields = {field.name: _conversion(field.type, name) for field in kind}
        return partial(_struct, fields)
    if types.is_map(kind) and _is_text(kind.key_type):
        return partial(_map, _conversion(kind.item_type, name))
    what = "binary data" if types.is_binary(kind) or types.is_large_binary(kind) else f"{kind}"
    raise FileRefused(
        f"The column {name[:80]!a} is {what}, which is not JSON: leave it out, by listing the "
        "columns to keep in the mapping's payload.",
        field=name,
    )


def _is_text(kind: Any) -> bool:
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _same(value: Any) -> Any:
    return value


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _decimal(value: decimal.Decimal) -> int | str:
    """An integer as such, if it is one; any other as text, which has all its digits."""
    is_integer = value.as_tuple().exponent == 0 and abs(value) < 2**63
    return int(value) if is_integer else str(value)


def _time(value: datetime.date | datetime.time) -> str:
    return value.isoformat().replace("+00:00", "Z")


def _length(value: datetime.timedelta) -> float:
    return value.total_seconds()


def _list(convert: _Convert, values: list[Any]) -> list[Any]:
    return [None if value is None else convert(value) for value in values]


def _struct(fields: dict[str, _Convert], value: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if value[name] is None else convert(value[name])
        for name, convert in fields.items()
    }


def _map(convert: _Convert, items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: None if value is None else convert(value) for key, value in items}


def _rows_at_once(path: Path, metadata: Any) -> int:
    """So many rows that they come to little, as the footer has it, and as dictionaries allow.

    Where a column has a dictionary, a few bytes for each row may stand for its longest text.
    """
    rows = unpacked = longest = 0
    with path.open("rb") as file:
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            rows += group.num_rows
            unpacked += group.total_byte_size
            for column in range(group.num_columns):
                chunk = group.column(column)
                if chunk.physical_type == "BYTE_ARRAY":
                    longest = max(longest, _dictionary_bytes(file, chunk))
    each: int = max(1, unpacked // max(1, rows))
    return max(1, min(BATCH, BATCH_BYTES // each, ROW_BYTES_MAX // max(1, longest)))


def _dictionary_bytes(file: BinaryIO, chunk: Any) -> int:
    """What a column's dictionary unpacks to, by the head of the page itself."""
    offsets = [chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset]
    if min(offsets) < 0:
        raise FileRefused(f"The column {chunk.path_in_schema} begins before the file.")
    file.seek(min(offsets))
    return dictionary_bytes(file)


def _check_footer(path: Path) -> None:
    """Look at the size of the footer first: it is read into memory whole."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        tail = file.read(8)
    if size < 12 or tail[4:] != b"PAR1":
        raise FileRefused("It is no Parquet file, or its end is missing: it is not complete.")
    if not 0 < int.from_bytes(tail[:4], "little") <= min(size - 12, _FOOTER_BYTES_MAX):
        raise FileRefused("Its footer has no valid size.")


@contextmanager
def _refusals() -> Iterator[None]:
    """Name what pyarrow finds wrong; what the operating system does is another matter."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split())[:200]
        raise FileRefused(f"It is no valid Parquet file ({reason}).") from None
