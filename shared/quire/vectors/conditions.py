"""Checks and canonical forms of filters and queries, before any engine sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import isfinite

from quire.errors import InvalidInput, LimitExceeded
from quire.vectors.port import (
    MAX_IDS,
    MAX_PAGE,
    MAX_WINDOW,
    AllOf,
    AnyOf,
    CollectionSpec,
    Condition,
    DatetimeRange,
    HasId,
    IndexKind,
    Match,
    Missing,
    NoneOf,
    PointId,
    Query,
    Range,
)
from quire.vectors.validation import dense_vector, payload_key, point_ids, sparse_vector

MAX_FILTER_DEPTH = 16
_INT64 = 2**63

CONDITIONS = (Match, Range, DatetimeRange, Missing, HasId, AllOf, AnyOf, NoneOf)
NOTHING = HasId(())
FACETED = frozenset({IndexKind.KEYWORD, IndexKind.INTEGER, IndexKind.BOOL})


def checked_condition(condition: Condition, field: str = "filter", depth: int = 0) -> Condition:
    """The filter in canonical form: ids canonical, times in UTC."""
    if depth > MAX_FILTER_DEPTH:
        raise LimitExceeded(
            f"The filter nests deeper than {MAX_FILTER_DEPTH} levels.",
            field=field,
            limit=MAX_FILTER_DEPTH,
        )
    match condition:
        case Match(key, any_of):
            return Match(payload_key(key, f"{field}.key"), _match_values(any_of, field))
        case Range():
            payload_key(condition.key, f"{field}.key")
            for name, bound in _bounds(condition, field):
                if isinstance(bound, bool) or not isinstance(bound, (int, float)):
                    raise InvalidInput("The bound must be a number.", field=f"{field}.{name}")
                try:
                    finite = isfinite(bound)
                except OverflowError:
                    finite = False
                if not finite:
                    raise InvalidInput("The bound must be finite.", field=f"{field}.{name}")
            return condition
        case DatetimeRange():
            payload_key(condition.key, f"{field}.key")
            times = {n: _time(b, f"{field}.{n}") for n, b in _bounds(condition, field)}
            return DatetimeRange(condition.key, **times)
        case Missing(key):
            return Missing(payload_key(key, f"{field}.key"))
        case HasId(ids):
            return HasId(point_ids(ids, f"{field}.ids"))
        case AllOf() | AnyOf() | NoneOf():
            if len(condition.conditions) > MAX_IDS:
                raise LimitExceeded(
                    f"{len(condition.conditions)} conditions; the most is {MAX_IDS}.",
                    field=field,
                    limit=MAX_IDS,
                )
            inner = [
                checked_condition(c, f"{field}.conditions[{n}]", depth + 1)
                for n, c in enumerate(condition.conditions)
            ]
            if not inner and isinstance(condition, AnyOf):
                return NOTHING  # engines read an empty "should" as no condition at all
            return type(condition)(inner)
        case _:
            raise InvalidInput(f"{type(condition).__name__} is no filter.", field=field)


def checked_selector(
    selector: Sequence[PointId] | Condition, field: str = "selector"
) -> HasId | Condition:
    """A selector as a filter; ids nobody has are passed over, by every engine alike."""
    if isinstance(selector, CONDITIONS):
        return checked_condition(selector, "filter")
    if isinstance(selector, Sequence) and not isinstance(selector, str):
        return HasId(point_ids(selector, "ids"))
    raise InvalidInput("Select points by a list of ids or by a filter.", field=field)


def checked_query(query: Query, spec: CollectionSpec) -> Query:
    """The query in canonical form, or the first reason why it cannot be answered."""
    if query.dense is None and query.sparse is None:
        raise InvalidInput("A query needs a dense vector, a sparse one, or both.", field="query")
    checked_page(query.limit)
    if not _is_int(query.offset) or query.offset < 0:
        raise InvalidInput("The offset must be 0 or more.", field="offset")
    if query.offset + query.limit > MAX_WINDOW:
        raise LimitExceeded(
            f"offset + limit is {query.offset + query.limit}; the most is {MAX_WINDOW}.",
            field="offset",
            limit=MAX_WINDOW,
        )
    threshold = query.score_threshold
    if threshold is not None and not isfinite(threshold):
        raise InvalidInput("The threshold must be finite.", field="score_threshold")
    weights = {"dense_weight": query.dense_weight, "sparse_weight": query.sparse_weight}
    for name, weight in weights.items():
        if not isfinite(weight) or not 0 <= weight <= 1_000_000:
            raise InvalidInput("The weight must be 0 to 1,000,000.", field=name)
    if not any(weights.values()):
        raise InvalidInput("One of the two weights must be more than 0.", field="dense_weight")
    dense, sparse = query.dense, query.sparse
    return replace(
        query,
        dense=None if dense is None else dense_vector(dense, spec, "query.dense"),
        sparse=None if sparse is None else sparse_vector(sparse, "query.sparse"),
        filter=None if query.filter is None else checked_condition(query.filter),
    )


def checked_page(limit: int, most: int = MAX_PAGE) -> int:
    """A page's size, 1 to `most`."""
    if not _is_int(limit) or limit < 1:
        raise InvalidInput(f"The limit must be 1 to {most}.", field="limit")
    if limit > most:
        raise LimitExceeded(
            f"The limit is {limit}; it must be 1 to {most}.", field="limit", limit=most
        )
    return limit


def checked_facet(key: str, spec: CollectionSpec) -> str:
    """A field whose values can be counted: one with a keyword, integer or boolean index."""
    payload_key(key, "key")
    kind = spec.indexes.get(key)
    if kind not in FACETED:
        raise InvalidInput(
            f"{key} has {'no' if kind is None else f'a {kind.value}'} index; values are counted "
            "through a keyword, integer or bool index.",
            field="key",
            recovery="Create such an index on the field first.",
        )
    return key


def _match_values(values: Sequence[str | int | bool], field: str) -> list[str | int | bool]:
    if isinstance(values, str) or len(values) > MAX_IDS:
        raise LimitExceeded(
            f"any_of must be a list of at most {MAX_IDS} values.", field=f"{field}.any_of"
        )
    for n, value in enumerate(values):
        name = f"{field}.any_of[{n}]"
        if isinstance(value, str):
            if not value.isascii() and value != value.encode(errors="replace").decode():
                raise InvalidInput("The value is not valid Unicode.", field=name)
        elif not isinstance(value, int):
            raise InvalidInput(
                "Match compares strings, integers and booleans; use a range for other numbers.",
                field=name,
            )
        elif not -_INT64 <= value < _INT64:
            raise InvalidInput("The integer is beyond signed 64 bits.", field=name)
    return list(values)


def _bounds(condition: Range | DatetimeRange, field: str) -> list[tuple[str, float | str]]:
    every = ((n, getattr(condition, n)) for n in ("gt", "gte", "lt", "lte"))
    bounds = [(n, b) for n, b in every if b is not None]
    if not bounds:
        raise InvalidInput("A range needs a bound: gt, gte, lt or lte.", field=field)
    return bounds


def _time(text: float | str, field: str) -> str:
    try:
        time = datetime.fromisoformat(text)  # type: ignore[arg-type]
        if time.tzinfo is not None:
            return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidInput(
        f"{str(text)[:60]!a} is no RFC 3339 time, such as 2026-01-31T12:00:00Z.", field=field
    )


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
