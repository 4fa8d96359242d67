"""The port's words in the embedded engine's, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import qdrant_edge as edge

from quire.vectors.port import (
    DENSE,
    SPARSE,
    AllOf,
    AnyOf,
    Condition,
    DatetimeRange,
    HasId,
    Match,
    Missing,
    NoneOf,
    Point,
    PointId,
    Query,
    Range,
    Record,
    ScoredRecord,
    SparseVector,
)


def to_filter(condition: Condition) -> edge.Filter:
    """A checked condition as a filter."""
    match condition:
        case AllOf(conditions):
            return edge.Filter(must=[_to_condition(c) for c in conditions])
        case AnyOf(conditions):
            return edge.Filter(should=[_to_condition(c) for c in conditions])
        case NoneOf(conditions):
            return edge.Filter(must_not=[_to_condition(c) for c in conditions])
        case _:
            return edge.Filter(must=[_to_condition(condition)])


def _to_condition(condition: Condition) -> Any:
    match condition:
        case Match(key, any_of):
            return _to_match(key, any_of)
        case Range(key, gt, gte, lt, lte):
            bounds = edge.RangeFloat(gt=gt, gte=gte, lt=lt, lte=lte)
            return edge.FieldCondition(key, range=bounds)
        case DatetimeRange(key, gt, gte, lt, lte):
            times = edge.RangeDateTime(gt=gt, gte=gte, lt=lt, lte=lte)
            return edge.FieldCondition(key, range=times)
        case Missing(key):
            return edge.IsEmptyCondition(key)
        case HasId(ids):
            return edge.HasIdCondition(set(ids))
        case AllOf() | AnyOf() | NoneOf():
            return to_filter(condition)


def _to_match(key: str, any_of: Sequence[str | int | bool]) -> Any:
    strings = [v for v in any_of if isinstance(v, str)]
    booleans = {v for v in any_of if isinstance(v, bool)}
    integers = [v for v in any_of if isinstance(v, int) and not isinstance(v, bool)]
    matches: list[Any] = []
    if strings:
        matches.append(edge.MatchAny(strings))
    if integers:
        matches.append(edge.MatchAny(integers))
    # The binding takes Python's True for the integer 1; numpy's it takes for what it is.
    matches += [edge.MatchValue(np.bool_(value)) for value in booleans]  # type: ignore[arg-type]
    conditions: list[Any] = [edge.FieldCondition(key, match=m) for m in matches]
    if len(conditions) == 1:
        return conditions[0]
    return edge.Filter(should=conditions) if conditions else edge.HasIdCondition(set())


def to_point(point: Point) -> edge.Point:
    """A checked point as the engine takes it."""
    vectors: dict[str, Any] = {}
    if point.dense is not None:
        vectors[DENSE] = point.dense
    if point.sparse is not None:
        vectors[SPARSE] = _to_sparse(point.sparse)
    return edge.Point(point.id, vectors, dict(point.payload))


def _to_sparse(sparse: SparseVector) -> edge.SparseVector:
    return edge.SparseVector(list(sparse.indices), list(sparse.values))


def dense_request(query: Query, limit: int, **options: Any) -> edge.QueryRequest:
    """The dense half of a query."""
    assert query.dense is not None  # noqa: S101 - the caller has looked
    return _request(query, edge.Query.Nearest(list(query.dense), using=DENSE), limit, options)


def sparse_request(query: Query, limit: int, **options: Any) -> edge.QueryRequest:
    """The sparse half of a query."""
    assert query.sparse is not None  # noqa: S101 - the caller has looked
    return _request(
        query, edge.Query.Nearest(_to_sparse(query.sparse), using=SPARSE), limit, options
    )


def _request(
    query: Query, nearest: edge.Query, limit: int, options: dict[str, Any]
) -> edge.QueryRequest:
    return edge.QueryRequest(
        limit=limit,
        query=nearest,
        filter=None if query.filter is None else to_filter(query.filter),
        params=edge.SearchParams(exact=True) if query.exact else None,
        **options,
    )


def from_id(identity: Any) -> PointId:
    """The engine gives integers and UUID objects."""
    return identity if isinstance(identity, int) else str(identity)


def from_record(record: edge.Record) -> Record:
    """A record as it was read."""
    dense, sparse = _from_vectors(record.vector)
    return Record(from_id(record.id), record.payload or {}, dense, sparse)


def from_scored(point: edge.ScoredPoint) -> ScoredRecord:
    """A hit of a query."""
    dense, sparse = _from_vectors(point.vector)
    return ScoredRecord(from_id(point.id), point.payload or {}, dense, sparse, point.score)


def _from_vectors(vectors: Any) -> tuple[Sequence[float] | None, SparseVector | None]:
    if not vectors:
        return None, None
    sparse = vectors.get(SPARSE)
    return (
        vectors.get(DENSE),
        None if sparse is None else SparseVector(list(sparse.indices), list(sparse.values)),
    )
