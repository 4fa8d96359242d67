"""Values from a file to points, checked one by one; the same for every format.

What is wrong is raised as plain `InvalidInput`; `located` says where in the file it stands.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID, uuid5

import numpy as np

from quire.bundle.formats.mapping import DOCUMENT, ORIGINAL_ID, TEXT, ColumnMapping
from quire.bundle.formats.models import BATCH, BATCH_BYTES
from quire.errors import FileRefused, InvalidInput
from quire.vectors.port import Payload, Point, PointId, SparseVector
from quire.vectors.validation import MAX_DIMENSION, checked_payload, point_id, sparse_vector

_HASHED_IDS = UUID("6f0d9a3e-6f53-5d0c-9a0e-2b1f4f1c7a55")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,19}")
_PLAIN = frozenset({float, int})


class RowPoints:
    """Makes points from rows of named values, after a resolved mapping."""

    def __init__(self, mapping: ColumnMapping, namespace: UUID | None) -> None:
        """Rows without an id get one that follows from the namespace and the row's number."""
        if mapping.id is None and namespace is None:
            raise FileRefused(
                'No column is the id (id, _id, uuid): name it in the mapping ({"id": …}).',
                field="mapping.id",
            )
        self._mapping = mapping
        self._namespace = namespace
        self._payload_columns = mapping.payload or ()

    def point(self, row: Mapping[str, Any], number: int) -> Point:
        """The point of one row; a column that the row does not have counts as null."""
        mapping = self._mapping
        payload = {name: row[name] for name in self._payload_columns if name in row}
        for column, target in ((mapping.text, TEXT), (mapping.document, DOCUMENT)):
            value = None if column is None else row.get(column)
            if column is not None and value is not None:
                if not isinstance(value, str):
                    raise InvalidInput(f"{_kind(value)} stands where text belongs.", field=column)
                payload[target] = value
        identity = self._identity(row, number, payload)
        dense = sparse = None
        if mapping.vector is not None:
            dense = dense_of(row.get(mapping.vector), mapping.vector)
        if mapping.sparse_indices is not None and mapping.sparse_values is not None:
            sparse = _sparse(row.get(mapping.sparse_indices), row.get(mapping.sparse_values))
        return Point(identity, dense, sparse, checked_payload(payload))

    def _identity(self, row: Mapping[str, Any], number: int, payload: dict[str, Any]) -> PointId:
        mapping = self._mapping
        if mapping.id is None:
            assert self._namespace is not None  # noqa: S101 - checked at the beginning
            return str(uuid5(self._namespace, f"row {number}"))
        value = row.get(mapping.id)
        if not mapping.hash_ids:
            return identity_of(value, mapping.id)
        if value is None or isinstance(value, (float, bool, list, dict)):
            raise InvalidInput(f"{_kind(value)} cannot be hashed to an id.", field=mapping.id)
        payload[ORIGINAL_ID] = value
        return str(uuid5(_HASHED_IDS, str(value)))


def identity_of(value: object, field: str = "id") -> PointId:
    """A point id from a file, where an integer may also stand as text, as it must in CSV."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value)
    try:
        return point_id(value, field)  # type: ignore[arg-type]
    except InvalidInput as error:
        raise InvalidInput(
            f"{error.message} A mapping can make one of any text: "
            '{"id": {"column": …, "hash": true}}.',
            field=field,
        ) from None


def dense_of(value: object, field: str = "vector") -> list[float] | None:
    """A dense vector: a list of numbers that stay finite as 32-bit floats, or null."""
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        raise InvalidInput(f"{_kind(value)} stands where a list of numbers belongs.", field=field)
    if len(value) > MAX_DIMENSION:
        raise InvalidInput(
            f"The vector has {len(value)} values; the most is {MAX_DIMENSION}.", field=field
        )
    kinds = set(map(type, value))
    if not kinds <= _PLAIN:
        wrong = next(n for n, item in enumerate(value) if type(item) not in _PLAIN)
        raise InvalidInput(
            f"Value {wrong} of the vector is {_kind(value[wrong])}, no number.", field=field
        )
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.array(value, dtype=np.float32))
    if not finite.all():
        raise InvalidInput(
            f"Value {int((~finite).argmax())} of the vector is not finite as a 32-bit float.",
            field=field,
        )
    return value


def sparse_of(value: object, field: str = "sparse") -> SparseVector | None:
    """A sparse vector as `{"indices": […], "values": […]}`, or null."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or set(value) != {"indices", "values"}:
        raise InvalidInput(
            f'{_kind(value)} stands where {{"indices": […], "values": […]}} belongs.', field=field
        )
    return sparse_vector(SparseVector(value["indices"], value["values"]), field)


def named_vectors(
    value: object, chosen: str | None
) -> tuple[list[float] | None, SparseVector | None]:
    """Vectors as Qdrant gives them: one list, or lists and sparse vectors by name."""
    if not isinstance(value, Mapping):
        return dense_of(value), None
    dense = {name: item for name, item in value.items() if isinstance(item, list)}
    sparse = {name: item for name, item in value.items() if isinstance(item, Mapping)}
    if chosen is not None and dense:
        if chosen not in dense:
            raise InvalidInput(
                f"There is no vector {chosen!a}; there is {_names(dense)}.", field="vector"
            )
        dense = {chosen: dense[chosen]}
    if len(dense) > 1 or len(sparse) > 1:
        several = dense if len(dense) > 1 else sparse
        raise InvalidInput(
            f"The point has the vectors {_names(several)}; a point of a session has one dense and "
            'one sparse vector. Choose the dense one in the mapping: {"vector": …}.',
            field="vector",
        )
    return (
        next((dense_of(item, f"vector.{name}") for name, item in dense.items()), None),
        next((sparse_of(item, f"vector.{name}") for name, item in sparse.items()), None),
    )


def payload_of(value: object) -> Payload:
    """A payload: an object, or null for an empty one."""
    return checked_payload({} if value is None else value)  # type: ignore[arg-type]


def located(message: str, error: InvalidInput) -> FileRefused:
    """What is wrong, and where it stands in the file."""
    field = f"{error.field}: " if error.field else ""
    return FileRefused(f"{message}: {field}{error.message}", field=error.field)


def batched(points: Iterable[tuple[Point, int]], place: str) -> Iterator[list[Point]]:
    """Points, each with the bytes it took in the file, as lists that the next stage can hold.

    Also the last check: all vectors of a file have one dimension.
    """
    batch: list[Point] = []
    size, dimension, number = 0, 0, 0
    for number, (point, weight) in enumerate(points, 1):
        if point.dense is not None and len(point.dense) != dimension:
            if dimension:
                raise FileRefused(
                    f"{place} {number} (id {point.id}): the vector has {len(point.dense)} values; "
                    f"those before have {dimension}.",
                    field="vector",
                )
            dimension = len(point.dense)
        batch.append(point)
        size += weight
        if len(batch) == BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def weight_of(point: Point) -> int:
    """Roughly what a point comes to in a file, where the file does not tell."""
    values = 0 if point.dense is None else len(point.dense)
    return 8 * values + sum(sys.getsizeof(value) for value in point.payload.values())


def _sparse(indices: object, values: object) -> SparseVector | None:
    if indices is None and values is None:
        return None
    return sparse_of({"indices": indices, "values": values})


def _names(vectors: Iterable[str]) -> str:
    return ", ".join(ascii(name[:80]) for name in vectors) or "none"


def _kind(value: object) -> str:
    """A value as JSON would call it, short enough to stand in a message."""
    if value is None or value is True or value is False:
        return str(value).lower().replace("none", "null")
    if isinstance(value, (str, int, float)):
        shown = ascii(value)
        return shown if len(shown) <= 60 else f"{shown[:57]}..."
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "an object" if isinstance(value, Mapping) else type(value).__name__
