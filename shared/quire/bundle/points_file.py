"""Points as a Parquet file, which pandas, Polars and DuckDB open, and which gives them back whole.

The same points in the same order make the same bytes. Importing this module loads pyarrow, which
takes 40 MB: import it where points are written or read, not at start.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from quire.bundle.pages import check_pages, read_footer
from quire.bundle.points_table import INTEGERS, MAX_DIMENSION, OBJECT, RowGroup, points_of, schema
from quire.errors import FileRefused
from quire.vectors.port import Point, Record

GROUP_ROWS = 2_000
GROUP_BYTES = 16 * 1024 * 1024
"""A row group is closed with so many points or bytes: it is what is in memory at once."""

GROUP_BYTES_MAX = 256 * 1024 * 1024
"""One that unpacks to more is refused: a point may be large, but not that large."""

BATCH = 512

_DENSE = "dense.list.element"
_INDICES = "sparse_indices.list.element"
_VALUES = "sparse_values.list.element"
_READ = ("id", "dense", "sparse_indices", "sparse_values", "payload")
# Measured on normalised vectors and English text: 0.22 of the same as JSON. Floats lose 8 % only
# when split by byte, and a higher level gains nothing on them; words come back, so their numbers
# are worth a dictionary, but whole texts are not.
_DICTIONARIES = [_INDICES, _VALUES, "document_id", OBJECT]
_ENCODINGS = {_DENSE: "BYTE_STREAM_SPLIT"} | dict.fromkeys(INTEGERS, "DELTA_BINARY_PACKED")
_LEVELS = {_DENSE: 1}
_LEVEL = 3


# Arrow's own pools keep what was freed: 60 MB more, and no faster.
pa.set_memory_pool(pa.system_memory_pool())


class PointsWriter:
    """Writes points into a Parquet file, row group by row group; blocking."""

    def __init__(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        dimension: int,
        *,
        vectors: bool = True,
        points_max: int | None = None,
        bytes_max: int | None = None,
    ) -> None:
        self.points = 0
        self.bytes = 0
        """What they come to, roughly and unpacked."""
        self._dimension = dimension
        self._vectors = vectors
        self._points_max = points_max
        self._bytes_max = bytes_max
        self._group = RowGroup(dimension, vectors=vectors)
        # Compressing needs no interpreter: meanwhile the next group is gathered.
        self._beside = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._own = None if hasattr(target, "write") else Path(target).open("wb")  # noqa: SIM115
        self._footer: list[Any] = []
        columns = schema(dimension)
        self._file = pq.ParquetWriter(
            self._own or target,
            columns,
            compression="zstd",
            compression_level={path: _LEVELS.get(path, _LEVEL) for path in _paths(columns)},
            use_dictionary=_DICTIONARIES,
            column_encoding=_ENCODINGS,
            write_statistics=["document_id", "index", "seq"],
            metadata_collector=self._footer,
        )

    @property
    def unpacked(self) -> int:
        """What a closed file unpacks to; the reader finds the same in its footer."""
        [footer] = self._footer
        return sum(
            footer.row_group(number).total_byte_size for number in range(footer.num_row_groups)
        )

    @property
    def full(self) -> bool:
        """Whether it takes no more points."""
        return (self._points_max is not None and self.points >= self._points_max) or (
            self._bytes_max is not None and self.bytes >= self._bytes_max
        )

    def write(self, points: Sequence[Record | Point]) -> int:
        """Take points in, and tell how many: all, unless it became full."""
        for taken, point in enumerate(points):
            if self.full:
                return taken
            before = self._group.bytes
            self._group.add(point)
            self.points += 1
            self.bytes += self._group.bytes - before
            if self._group.rows >= GROUP_ROWS or self._group.bytes >= GROUP_BYTES:
                self._flush()
        return len(points)

    def close(self) -> None:
        """Write what is left, and the footer; a file that was handed in stays open."""
        try:
            if self._group.rows:
                self._flush()
            self._settle()
            self._file.close()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Let go of a file that is not wanted any more, whatever state it is in."""
        self._beside.shutdown()
        # Otherwise it would write its footer when it is collected, into a file that is closed.
        with suppress(OSError, pa.ArrowException):
            self._file.close()
        if self._own is not None:
            self._own.close()
        pa.default_memory_pool().release_unused()

    def _flush(self) -> None:
        table = self._group.table()
        self._group = RowGroup(self._dimension, vectors=self._vectors)
        self._settle()
        self._writing = self._beside.submit(self._file.write_table, table, GROUP_ROWS)

    def _settle(self) -> None:
        if self._writing is not None:
            self._writing.result()


class PointsReader:
    """A Parquet file of points, checked before anything of it is unpacked; blocking.

    Everything that is wrong with it raises `FileRefused`.
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryIO) -> None:
        self._own = None if hasattr(source, "read") else Path(source).open("rb")  # noqa: SIM115
        self._source: Any = self._own or source
        try:
            with _refusals():
                self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self.points, groups = read_footer(self._source)
        self.unpacked = sum(group.unpacked for group in groups)
        expected = _paths(schema(1))
        for group in groups:
            if [chunk.path for chunk in group.chunks] != expected:
                raise _other_columns()
            if not 0 < group.rows <= GROUP_ROWS:
                raise FileRefused(
                    f"A row group has {group.rows} points; 1 to {GROUP_ROWS} are valid."
                )
            check_pages(self._source, group, _READ, GROUP_BYTES_MAX)
        self._source.seek(0)
        self._file = pq.ParquetFile(self._source, pre_buffer=False)
        columns = self._file.schema_arrow
        place = columns.get_field_index("dense")
        self.dimension: int = (
            getattr(columns.field(place).type, "list_size", 0) if place >= 0 else 0
        )
        if not 1 <= self.dimension <= MAX_DIMENSION or not columns.equals(schema(self.dimension)):
            raise _other_columns()

    def batches(self) -> Iterator[list[Point]]:
        """All points in their order, in lists of at most 512."""
        count = 0
        with _refusals():
            for batch in self._file.iter_batches(BATCH, columns=list(_READ), use_threads=False):
                count += len(batch)
                yield points_of(batch)
        if count != self.points:
            raise FileRefused(f"It has {count} points; its footer says {self.points}.")

    def close(self) -> None:
        """Close the file, unless it was handed in open."""
        if self._own is not None:
            self._own.close()
        pa.default_memory_pool().release_unused()


def read_points(source: str | os.PathLike[str] | BinaryIO) -> Iterator[list[Point]]:
    """The points that a `PointsWriter` wrote, in their order, in lists of at most 512; blocking."""
    reader = PointsReader(source)
    try:
        yield from reader.batches()
    finally:
        reader.close()


def _paths(columns: Any) -> list[str]:
    nested = {"dense": _DENSE, "sparse_indices": _INDICES, "sparse_values": _VALUES}
    return [nested.get(name, name) for name in columns.names]


def _other_columns() -> FileRefused:
    return FileRefused("Its columns are not those of points as Quire writes them.")


@contextmanager
def _refusals() -> Iterator[None]:
    """Name what pyarrow finds wrong; what the operating system does is another matter."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split())[:200]
        raise FileRefused(f"It is no valid Parquet file ({reason}).") from None
