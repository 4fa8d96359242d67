"""What every engine may be given: checks made before the first write, the same for all engines.

The engines disagree on bad input (one keeps NaN, one applies half a batch, one dies), so none ever
sees any. What passes comes out in one canonical form: UUIDs lower-case and hyphenated, a repeated
id only once (the last wins, as in all engines), vectors as lists that stay finite as 32-bit floats
and are normalised under cosine, payload numbers as `floats` has them: bit by bit what is read back.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping, Sequence
from itertools import islice
from math import isfinite
from typing import Any

import numpy as np

from quire.errors import InvalidInput, LimitExceeded
from quire.vectors.floats import settled
from quire.vectors.port import (
    MAX_BATCH,
    MAX_IDS,
    CollectionSpec,
    Distance,
    IndexKind,
    Payload,
    Point,
    PointId,
    SparseVector,
)

MAX_DIMENSION = 65_535
MAX_DEPTH = 32
"""How deep a payload may nest: what gRPC carries, and more than anyone needs."""

MAX_MAGNITUDE = 1e15
"""Dot products and squared distances of larger values overflow 32-bit floats."""

_UNIT_TOLERANCE = 5e-7
"""How far the square of a length may be from 1; the engines' own bound is twice that."""

_UINT64 = 2**64 - 1
_UINT32 = 2**32 - 1
_INT64 = 2**63

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HEX = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")
_SEGMENT = r'(?:[\w-]+|"[^"\\]+")(?:\[\d{0,9}\])*'
_KEY = re.compile(rf"{_SEGMENT}(?:\.{_SEGMENT})*")


def collection_name(name: str) -> str:
    """Check a collection's name: it becomes a directory, and part of a URL."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise InvalidInput(
            f"{_shown(name)} cannot name a collection: use 1 to 200 of A-Z a-z 0-9 _ -, "
            "the first a letter or digit.",
            field="collection",
        )
    return name


def differing_names(source: str, target: str) -> None:
    """Check the names of a copy's two collections."""
    if collection_name(source) == collection_name(target):
        raise InvalidInput("A collection cannot be copied onto itself.", field="target")


def collection_spec(spec: CollectionSpec) -> CollectionSpec:
    """Check how a collection is to be laid."""
    dimension = spec.dimension
    if not _is_int(dimension) or not 1 <= dimension <= MAX_DIMENSION:
        raise InvalidInput(
            f"The dimension is {_shown(dimension)}; it must be 1 to {MAX_DIMENSION}.",
            field="dimension",
        )
    for key, kind in spec.indexes.items():
        payload_key(key, "indexes")
        if not isinstance(kind, IndexKind):
            raise InvalidInput(f"{_shown(kind)} is no kind of index.", field=f"indexes.{key}")
    return spec


def payload_key(key: str, field: str) -> str:
    """Check the path of a payload field, as filters and indexes name it (`a.b`, `a[].b`)."""
    if not isinstance(key, str) or _KEY.fullmatch(key) is None or not _encodes(key):
        raise InvalidInput(
            f"{_shown(key)} names no payload field: write names of letters, digits, _ and -, "
            'joined by dots, with [] or [n] for lists; quote any other name ("like this").',
            field=field,
        )
    return key


def point_id(value: PointId, field: str = "id") -> PointId:
    """The canonical form of a point id: an unsigned 64-bit integer, or a hyphenated UUID."""
    if isinstance(value, str):
        if _UUID.fullmatch(value):
            return value
        lowered = value.lower().removeprefix("urn:uuid:")
        if _UUID.fullmatch(lowered):
            return lowered
        if _HEX.fullmatch(lowered):
            parts = (lowered[:8], lowered[8:12], lowered[12:16], lowered[16:20], lowered[20:])
            return "-".join(parts)
    elif _is_int(value) and 0 <= value <= _UINT64:
        return int(value)
    raise InvalidInput(
        f"{_shown(value)} is no point id: use an unsigned 64-bit integer or a UUID.", field=field
    )


def point_ids(values: Sequence[PointId], field: str = "ids") -> list[PointId]:
    """The canonical forms, each once, in the order given; at most MAX_IDS of them."""
    if len(values) > MAX_IDS:
        raise LimitExceeded(
            f"{len(values)} ids at once; the most is {MAX_IDS}.", field=field, limit=MAX_IDS
        )
    return list(dict.fromkeys(point_id(v, f"{field}[{n}]") for n, v in enumerate(values)))


def checked_points(points: Sequence[Point], spec: CollectionSpec) -> list[Point]:
    """The points as every engine will give them back, or the first reason why none is written."""
    if len(points) > MAX_BATCH:
        raise LimitExceeded(
            f"{len(points)} points in one batch; the most is {MAX_BATCH}.",
            field="points",
            limit=MAX_BATCH,
        )
    dense = _Dense(spec)
    checked: dict[PointId, tuple[int | None, SparseVector | None, Payload]] = {}
    for n, point in enumerate(points):
        field = f"points[{n}]"
        identity = point_id(point.id, f"{field}.id")
        vector = None if point.dense is None else dense.add(point.dense, f"{field}.vector")
        sparse = None
        if point.sparse is not None:
            sparse = sparse_vector(point.sparse, f"{field}.sparse")
        payload = checked_payload(point.payload, f"{field}.payload")
        checked[identity] = vector, sparse, payload
    vectors = dense.check()
    return [
        Point(identity, None if row is None else vectors[row], sparse, payload)
        for identity, (row, sparse, payload) in checked.items()
    ]


def dense_vector(values: Sequence[float], spec: CollectionSpec, field: str) -> list[float]:
    """One dense vector, checked as `checked_points` checks those of a batch."""
    dense = _Dense(spec)
    row = dense.add(values, field)
    return dense.check()[row]


class _Dense:
    """Dense vectors of one batch, gathered so that numpy looks at all of them at once."""

    def __init__(self, spec: CollectionSpec) -> None:
        self._spec = spec
        self._buffer = array("f")
        self._vectors: list[list[float]] = []
        self._fields: list[str] = []

    def add(self, values: Sequence[float], field: str) -> int:
        """Take a vector in, and tell its place in what `check` returns."""
        vector = _as_list(values, field)
        if len(vector) != self._spec.dimension:
            raise InvalidInput(
                f"The vector has {len(vector)} values; this collection's have "
                f"{self._spec.dimension}.",
                field=field,
            )
        try:
            self._buffer.fromlist(vector)
        except (TypeError, OverflowError) as error:
            raise InvalidInput(
                f"The vector holds something that is no finite number ({error}).", field=field
            ) from None
        self._vectors.append(vector)
        self._fields.append(field)
        return len(self._vectors) - 1

    def check(self) -> list[list[float]]:
        """The vectors as they may be written, or the first reason why not."""
        if not self._vectors:
            return []
        matrix = np.frombuffer(self._buffer, dtype=np.float32).reshape(len(self._vectors), -1)
        finite = np.isfinite(matrix)
        if not finite.all():
            row, column = (int(i) for i in np.argwhere(~finite)[0])
            raise InvalidInput(
                f"Value {column} of the vector is not finite as a 32-bit float.",
                field=self._fields[row],
            )
        if self._spec.distance is Distance.COSINE:
            self._check_cosine(matrix)
            return self._vectors
        large = np.abs(matrix).max(axis=1) > MAX_MAGNITUDE
        if large.any():
            raise InvalidInput(
                f"The vector holds a value beyond ±{MAX_MAGNITUDE:g}; scores would overflow.",
                field=self._fields[int(large.argmax())],
            )
        return self._vectors

    def _check_cosine(self, matrix: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        nonzero = matrix.any(axis=1)
        if not nonzero.all():
            raise InvalidInput(
                "The vector is all zeros; cosine similarity is not defined for it.",
                field=self._fields[int((~nonzero).argmax())],
            )
        # Engines normalise too, each with the last bits of its own machine; what is normalised
        # they leave alone. So it is done here, and the same points are the same bits everywhere.
        squares = np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64)
        rows = np.nonzero(np.abs(squares - 1) > _UNIT_TOLERANCE)[0]
        if not rows.size:
            return
        wide = matrix[rows].astype(np.float64)
        wide /= np.sqrt(squares[rows])[:, None]
        for row, vector in zip(rows.tolist(), wide.astype(np.float32).tolist(), strict=True):
            self._vectors[row] = vector


def sparse_vector(sparse: SparseVector, field: str) -> SparseVector:
    """A sparse vector as the engines want it; an empty one is valid and matches nothing."""
    indices, values = _as_list(sparse.indices, field), _as_list(sparse.values, field)
    if len(indices) != len(values):
        raise InvalidInput(
            f"The sparse vector has {len(indices)} indices and {len(values)} values; "
            "it needs as many of one as of the other.",
            field=field,
        )
    if _repeats(indices):
        raise InvalidInput("The sparse vector names an index twice.", field=field)
    if indices and not _plainly_sparse(indices, values):
        _check_sparse(indices, values, field)
    return SparseVector(indices, values)


def _repeats(indices: list[Any]) -> bool:
    try:
        return len(set(indices)) != len(indices)
    except TypeError:  # not even hashable; `_check_sparse` says what it is
        return False


def _plainly_sparse(indices: list[Any], values: list[Any]) -> bool:
    """Whether all is well, found out without a loop in Python: a batch has thousands of words."""
    return (
        {*map(type, indices)} == {int}
        and min(indices) >= 0
        and max(indices) <= _UINT32
        and set(map(type, values)) <= {float, int}
        and min(values) >= -MAX_MAGNITUDE
        and max(values) <= MAX_MAGNITUDE
        and isfinite(sum(values))  # a NaN may hide from min and max
    )


def _check_sparse(indices: list[Any], values: list[Any], field: str) -> None:
    for index in indices:
        if not _is_int(index) or not 0 <= index <= _UINT32:
            raise InvalidInput(
                f"{_shown(index)} is no sparse index: use unsigned 32-bit integers.", field=field
            )
    for value in values:
        if not _is_number(value) or not abs(value) <= MAX_MAGNITUDE:
            raise InvalidInput(
                f"{_shown(value)} is no sparse value: use finite numbers within "
                f"±{MAX_MAGNITUDE:g}.",
                field=field,
            )


def checked_payload(payload: Mapping[str, Any], field: str = "payload") -> Mapping[str, Any]:
    """The payload, if it is JSON that every engine gives back; its numbers as they will stay."""
    if not isinstance(payload, Mapping):
        raise InvalidInput(f"The payload is {_kind(payload)}; it must be an object.", field=field)
    _check_object(payload, field, 0)
    return settled(payload)


def _check_object(values: Mapping[str, Any], field: str, depth: int) -> None:
    for key, value in values.items():
        if not isinstance(key, str) or not _encodes(key):
            raise InvalidInput(
                f"{_shown(key)} cannot be a payload key: keys are strings of valid Unicode.",
                field=field,
            )
        # The commonest values first, without a call: this loop runs for every field written.
        kind = type(value)
        if (kind is str and value.isascii()) or value is None or kind is bool:
            continue
        _check_value(value, field, key, depth)


def _check_value(value: Any, field: str, key: str | int, depth: int) -> None:
    problem: str
    if isinstance(value, str):
        if _encodes(value):
            return
        problem = "holds half a surrogate pair, which is not valid Unicode"
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        if -_INT64 <= value < _INT64:
            return
        problem = f"is {value}, beyond a signed 64-bit integer; send it as a string"
    elif isinstance(value, float):
        if isfinite(value):
            return
        problem = f"is {value}; JSON knows finite numbers only"
    elif isinstance(value, (dict, list, tuple)):
        if depth < MAX_DEPTH:
            inner = _joined(field, key)
            if isinstance(value, dict):
                _check_object(value, inner, depth + 1)
            else:
                for n, item in enumerate(value):
                    _check_value(item, inner, n, depth + 1)
            return
        problem = f"nests deeper than {MAX_DEPTH} levels"
    else:
        problem = f"is {_kind(value)}, which is not JSON"
    raise InvalidInput(f"The payload value {problem}.", field=_joined(field, key))


def _joined(field: str, key: str | int) -> str:
    return f"{field}[{key}]" if isinstance(key, int) else f"{field}.{key[:80]}"


def _as_list(values: Any, field: str) -> list[Any]:
    if type(values) is list:
        return values
    if hasattr(values, "tolist"):  # numpy, array.array: plain numbers, much faster
        listed = values.tolist()
        if isinstance(listed, list):
            return listed
    elif isinstance(values, Sequence) and not isinstance(values, (str, bytes)):
        return list(values)
    raise InvalidInput(f"{_kind(values)} given where a list of numbers belongs.", field=field)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _encodes(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: object) -> str:
    return type(value).__name__


def _shown(value: object) -> str:
    """A value short enough, and clean enough, to stand in a message."""
    text = ascii(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else "".join(islice(text, 77)) + "..."
