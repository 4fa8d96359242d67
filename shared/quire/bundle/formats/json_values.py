"""Points to JSON and back, so that each number comes back as it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from quire.errors import InvalidInput
from quire.vectors.port import Point, Record, SparseVector

_EXACT = 2.0**63


def written(point: Record | Point, *, vectors: bool = True) -> dict[str, Any]:
    """A point as `dumped` takes it: id, vector, sparse (if it has one), payload."""
    if not vectors:
        return {"id": point.id, "payload": point.payload}
    shape: dict[str, Any] = {"id": point.id, "vector": None}
    if point.dense is not None:
        shape["vector"] = floats(point.dense)
    if point.sparse is not None:
        shape["sparse"] = sparse_shape(point.sparse)
    shape["payload"] = point.payload
    return shape


def sparse_shape(sparse: SparseVector) -> dict[str, Any]:
    """A sparse vector as `dumped` takes it."""
    return {"indices": list(sparse.indices), "values": floats(sparse.values)}


def floats(values: Any) -> Any:
    """Numbers that are written with as many digits as a 32-bit float has: half of what 64 need."""
    return np.asarray(values, dtype=np.float32)


def dumped(value: Any) -> bytes:
    """JSON on one line."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def loaded(raw: bytes) -> Any:
    """A JSON value; of a key that an object has twice, the last counts, as everywhere."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"It is no valid JSON ({error}).") from None


def check_integers(raw: bytes, value: Any) -> None:
    """Refuse integers beyond 64 bits: the parser made floats of them, and lost digits.

    Large floats are rare, so the second look that tells the two apart is, too.
    """
    if _has_large_float(value):
        json.loads(raw, parse_int=_within_64_bits)


def _has_large_float(value: Any) -> bool:
    if type(value) is float:
        return abs(value) >= _EXACT
    if isinstance(value, Mapping):
        return any(_has_large_float(item) for item in value.values())
    return isinstance(value, list) and any(_has_large_float(item) for item in value)


def _within_64_bits(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise InvalidInput(
            f"{digits[:40]} is beyond a 64-bit integer; write it as a string.", field="payload"
        )
    return int(digits)
