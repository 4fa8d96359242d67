"""Points out of a file of any of these formats.

Everything that is wrong with a file raises `FileRefused`, naming the line, row or point, the field,
and what is valid. Two points of one id are not noticed here. All of it blocks: call it in threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from quire.bundle.formats.comma_separated import CsvReader
from quire.bundle.formats.jsonl import JsonlReader
from quire.bundle.formats.mapping import TEXT, ColumnMapping
from quire.bundle.formats.models import Format, Found
from quire.bundle.formats.parquet import ParquetReader
from quire.bundle.formats.session_json import SessionJsonReader
from quire.bundle.formats.snapshots import SnapshotReader
from quire.vectors.port import Point


def read_rows(
    path: Path,
    format: Format,
    mapping: ColumnMapping | None = None,
    *,
    folder: Path | None = None,
    namespace: UUID | None = None,
    bytes_max: int = 20 * 1024**3,
) -> Iterator[list[Point]]:
    """The file's points in its order, in lists of at most 512.

    A point with text and no vector has `dense` None and the text in its payload. `namespace` gives
    rows that have no id one that follows from the row's number: the same for the same namespace.
    Snapshots need `folder`, a scratch folder; `bytes_max` is what one shard may unpack to.
    """
    match format:
        case Format.JSONL:
            return JsonlReader(path, mapping, namespace).batches()
        case Format.CSV:
            return CsvReader(path, mapping, namespace).batches()
        case Format.PARQUET:
            return ParquetReader(path, mapping, namespace).batches()
        case Format.SESSION_JSON:
            return SessionJsonReader(path, mapping).batches()
        case Format.SNAPSHOT:
            if folder is None:
                raise ValueError("A snapshot is read with a scratch folder")
            return SnapshotReader(path, mapping, folder).batches(bytes_max)
        case Format.BUNDLE:
            raise ValueError("A bundle holds more than rows; it has a reader of its own")


def inspect(
    path: Path,
    format: Format,
    mapping: ColumnMapping | None = None,
    *,
    namespace: UUID | None = None,
) -> Found:
    """What the file holds, after a look at its beginning and its tables of contents.

    An original export is gone through as a whole, for its session may stand at the end, and a
    cut-off one is found out. A file that `inspect` passes may still have a bad row further on.
    """
    match format:
        case Format.JSONL:
            lines = JsonlReader(path, mapping, namespace)
            found = Found(format, lines.own, columns=lines.columns, taken=lines.taken)
            return _looked_at(found, lines.batches())
        case Format.CSV:
            rows = CsvReader(path, mapping, namespace)
            found = Found(format, rows.own, columns=rows.columns, taken=rows.taken)
            return _looked_at(found, rows.batches())
        case Format.PARQUET:
            table = ParquetReader(path, mapping, namespace)
            found = Found(
                format,
                table.own,
                points=table.points,
                dimension=table.dimension,
                columns=table.columns,
                taken=table.taken,
            )
            return _looked_at(found, table.batches())
        case Format.SESSION_JSON:
            export = SessionJsonReader(path, mapping)
            found = Found(
                format,
                True,
                points=export.points,
                session=export.session,
                collection_name=export.collection_name,
            )
            return _looked_at(found, export.batches())
        case Format.SNAPSHOT:
            return _snapshot(path, mapping)
        case Format.BUNDLE:
            raise ValueError("A bundle has a reader of its own")


def _snapshot(path: Path, mapping: ColumnMapping | None) -> Found:
    snapshot = SnapshotReader(path, mapping, path.parent)
    return Found(
        Format.SNAPSHOT,
        own=False,
        dimension=snapshot.dimension,
        has_vectors=snapshot.dimension is not None,
        has_sparse=snapshot.has_sparse,
        distance=snapshot.distance,
    )


def _looked_at(found: Found, batches: Iterator[list[Point]]) -> Found:
    first = next(batches, [])
    dense = [point.dense for point in first if point.dense is not None]
    return replace(
        found,
        dimension=len(dense[0]) if dense else found.dimension,
        has_vectors=bool(dense),
        has_sparse=any(point.sparse is not None for point in first),
        has_text=any(isinstance(point.payload.get(TEXT), str) for point in first),
    )
