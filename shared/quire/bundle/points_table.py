"""Points to Arrow columns and back: the columns, and nothing of files.

`payload` holds the whole payload and is what comes back; the columns between are for who analyses
the points, filled where the payload has a field of that name and kind.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from quire.errors import FileRefused, InvalidInput
from quire.vectors.port import Point, PointId, Record, SparseVector

TEXTS = ("text", "document_id")
INTEGERS = ("index", "seq", "start", "end", "tokens")
OBJECT = "metadata"
MAX_DIMENSION = 65_535

_INT64 = 1 << 63
_UINT64 = 1 << 64
_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,19}")


def schema(dimension: int) -> Any:
    """The columns of points of that dimension."""
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("dense", pa.list_(pa.float32(), dimension)),
            pa.field("sparse_indices", pa.list_(pa.uint32())),
            pa.field("sparse_values", pa.list_(pa.float32())),
            *(pa.field(name, pa.string()) for name in TEXTS),
            *(pa.field(name, pa.int64()) for name in INTEGERS),
            pa.field(OBJECT, pa.string()),
            pa.field("payload", pa.string(), nullable=False),
        ]
    )


class RowGroup:
    """Points on their way into a file, gathered until there are enough of them.

    How many are enough follows from the points alone, not from how they arrive: so the same points
    give the same bytes.
    """

    def __init__(self, dimension: int, *, vectors: bool) -> None:
        self.rows = 0
        self.bytes = 0
        self._dimension = dimension
        self._vectors = vectors
        self._ids: list[str] = []
        self._dense = bytearray()
        self._no_dense: list[bool] = []
        self._indices = bytearray()
        self._values = bytearray()
        self._no_sparse: list[bool] = []
        self._ends = [0]
        self._typed: dict[str, list[Any]] = {name: [] for name in (*TEXTS, *INTEGERS, OBJECT)}
        self._payloads: list[bytes] = []

    def add(self, point: Point | Record) -> None:
        """Take one point in."""
        self._ids.append(_written_id(point.id))
        self._add_dense(point.dense if self._vectors else None)
        self._add_sparse(point.sparse if self._vectors else None)
        payload = point.payload
        typed = self._typed
        for name in TEXTS:
            value = payload.get(name)
            typed[name].append(value if type(value) is str else None)
        for name in INTEGERS:
            value = payload.get(name)
            fits = type(value) is int and -_INT64 <= value < _INT64
            typed[name].append(value if fits else None)
        metadata = payload.get(OBJECT)
        is_object = isinstance(metadata, dict)
        typed[OBJECT].append(orjson.dumps(metadata, option=_CANONICAL) if is_object else None)
        whole = orjson.dumps(payload, option=_CANONICAL)
        self._payloads.append(whole)
        self.rows += 1
        # A text stands in two columns.
        self.bytes += 2 * len(whole) + 4 * self._dimension

    def table(self) -> Any:
        """The points as one Arrow table."""
        typed = self._typed
        columns = [
            pa.array(self._ids, pa.string()),
            self._dense_column(),
            *self._sparse_columns(),
            *(pa.array(typed[name], pa.string()) for name in TEXTS),
            *(pa.array(typed[name], pa.int64()) for name in INTEGERS),
            pa.array(typed[OBJECT], pa.string()),
            pa.array(self._payloads, pa.string()),
        ]
        return pa.Table.from_arrays(columns, schema=schema(self._dimension))

    def _add_dense(self, dense: Sequence[float] | None) -> None:
        self._no_dense.append(dense is None)
        if dense is None:
            self._dense += bytes(4 * self._dimension)
            return
        if len(dense) != self._dimension:
            raise InvalidInput(
                f"Point {self._ids[-1]} has {len(dense)} values, not {self._dimension}.",
                field="dense",
            )
        self._dense += _packed("f", dense)

    def _add_sparse(self, sparse: SparseVector | None) -> None:
        self._no_sparse.append(sparse is None)
        if sparse is not None:
            if len(sparse.indices) != len(sparse.values):
                raise InvalidInput(
                    f"Point {self._ids[-1]} has {len(sparse.indices)} sparse indices and "
                    f"{len(sparse.values)} values.",
                    field="sparse",
                )
            self._indices += _packed("I", sparse.indices)
            self._values += _packed("f", sparse.values)
        self._ends.append(len(self._indices) // 4)

    def _dense_column(self) -> Any:
        kind = pa.list_(pa.float32(), self._dimension)
        if all(self._no_dense):
            return pa.nulls(self.rows, kind)
        values = pa.array(np.frombuffer(self._dense, np.float32))
        return pa.FixedSizeListArray.from_arrays(values, type=kind, mask=pa.array(self._no_dense))

    def _sparse_columns(self) -> list[Any]:
        ends, mask = pa.array(self._ends, pa.int32()), pa.array(self._no_sparse)
        return [
            pa.ListArray.from_arrays(ends, pa.array(np.frombuffer(packed, kind)), mask=mask)
            for packed, kind in ((self._indices, np.uint32), (self._values, np.float32))
        ]


def points_of(batch: Any) -> list[Point]:
    """The points of a record batch that has at least `id`, the vectors and `payload`."""
    try:
        ids = [_read_id(text) for text in batch.column("id").to_pylist()]
        payloads = [_object(raw) for raw in batch.column("payload").cast(pa.binary()).to_pylist()]
    except UnicodeDecodeError:
        raise FileRefused("A point's id is not valid Unicode.") from None
    dense = _dense_of(batch.column("dense"))
    sparse = _sparse_of(batch.column("sparse_indices"), batch.column("sparse_values"))
    return [Point(*parts) for parts in zip(ids, dense, sparse, payloads, strict=True)]


def _packed(kind: str, values: Sequence[float]) -> bytes:
    """The numbers as 32 bits each; three times as fast as `array` or numpy are with lists."""
    try:
        return struct.pack(f"{len(values)}{kind}", *values)
    except (struct.error, OverflowError) as error:
        raise InvalidInput(f"A vector holds what it cannot ({error}).", field="vector") from None


def _written_id(identity: PointId) -> str:
    if isinstance(identity, int):
        if 0 <= identity < _UINT64:
            return str(int(identity))
    elif _UUID.fullmatch(identity):
        return identity
    raise InvalidInput(f"{str(identity)[:80]!a} is no point id in its canonical form.", field="id")


def _read_id(text: str | None) -> PointId:
    if text is not None:
        if _UUID.fullmatch(text):
            return text
        if _NUMBER.fullmatch(text) and (number := int(text)) < _UINT64:
            return number
    raise FileRefused(
        f"{str(text)[:80]!a} is no point id: it must be an unsigned 64-bit integer or a UUID."
    )


def _object(raw: bytes | None) -> dict[str, Any]:
    try:
        value = orjson.loads(raw or b"")
    except orjson.JSONDecodeError as error:
        raise FileRefused(f"A point's payload is no valid JSON ({error}).") from None
    if not isinstance(value, dict):
        raise FileRefused("A point's payload is no JSON object.")
    return value


def _dense_of(column: Any) -> list[list[float] | None]:
    if column.null_count == len(column):
        return [None] * len(column)
    size = column.type.list_size
    present = column.drop_null() if column.null_count else column
    # flatten() minds the slice; it would leave nulls out too, but there are none now.
    rows = iter(_numbers(present.flatten()).reshape(len(present), size).tolist())
    if not column.null_count:
        return list(rows)
    return [next(rows) if valid else None for valid in column.is_valid().to_pylist()]


def _sparse_of(indices: Any, values: Any) -> list[SparseVector | None]:
    if indices.null_count == len(indices) and values.null_count == len(values):
        return [None] * len(indices)
    ends = _ends(indices)
    if ends != _ends(values) or indices.is_valid() != values.is_valid():
        raise FileRefused("A point's sparse vector has not as many values as indices.")
    flat = _numbers(indices.flatten()).tolist(), _numbers(values.flatten()).tolist()
    spans = zip(pairwise(ends), indices.is_valid().to_pylist(), strict=True)
    return [
        SparseVector(flat[0][start:end], flat[1][start:end]) if valid else None
        for (start, end), valid in spans
    ]


def _ends(lists: Any) -> list[int]:
    """Where each list ends among the values of all; a null one is empty."""
    lengths = lists.value_lengths().fill_null(0)
    ends: list[int] = np.concatenate(([0], np.cumsum(lengths.to_numpy()))).tolist()
    return ends


def _numbers(values: Any) -> Any:
    if values.null_count:
        raise FileRefused("A point's vector has a value that is null.")
    return values.to_numpy(zero_copy_only=True)
