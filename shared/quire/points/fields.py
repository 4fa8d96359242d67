"""What filters may name and compare, whichever language they are written in.

What is known of a document lies under `metadata` in the payload of its chunks; what a pipeline
writes lies at the payload's top. Who filters need not know which: a bare name means either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

from quire.errors import InvalidInput, LimitExceeded
from quire.vectors.conditions import MAX_FILTER_DEPTH
from quire.vectors.port import (
    STAGE,
    AllOf,
    AnyOf,
    Condition,
    DatetimeRange,
    Match,
    Missing,
    NoneOf,
    Range,
)
from quire.vectors.validation import payload_key

CHUNK_FIELDS = frozenset(
    {"document_id", "index", "seq", "text", "start", "end", "tokens", "context", "metadata"}
)
"""These are themselves, and never looked for in the metadata."""

CHUNK_NUMBERS = frozenset({"index", "seq", "start", "end", "tokens"})

BOUNDS = ("gt", "gte", "lt", "lte")

MAX_CONDITIONS = 100
"""The most comparisons of one filter."""

MAX_VALUES = 1_000
"""The most values and ids of one filter, all its lists together."""

MAX_DEPTH = MAX_FILTER_DEPTH - 4
"""How deep a filter may nest; the rest is for what Quire puts around it."""

_HEAD = re.compile(r'"[^"]*"|[^.\[]*')
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d(?P<hour>[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[Zz]|[+-]\d\d:\d\d)?)?", re.ASCII
)
_NEXT_DAY = {"gt": "gte", "lte": "lt"}
_INT64 = 2**63


def keys(name: str, at: str) -> tuple[str, ...]:
    """The payload fields that a name stands for: one, or `x` and `metadata.x`."""
    exact = name.removeprefix("payload.")
    payload_key(exact, at)
    top = _HEAD.findall(exact)[0].strip('"')
    if top == STAGE:
        raise InvalidInput(f"{STAGE} is Quire's own; filters cannot name it.", field=at)
    if exact != name or top in CHUNK_FIELDS:
        return (exact,)
    return exact, f"metadata.{exact}"


def equals(name: str, values: Sequence[Any], at: str) -> Condition:
    """The field is, or as a list holds, one of these strings, numbers and booleans."""
    if not values:
        raise InvalidInput("The list is empty, so nothing could match it.", field=at)
    exact: list[str | int | bool] = []
    fractions: list[float] = []
    for n, value in enumerate(values):
        place = at if len(values) == 1 else f"{at}[{n}]"
        if isinstance(value, float):
            fractions.append(_number(value, place))
        elif isinstance(value, str):
            exact.append(_unicode(value, place))
        elif isinstance(value, int):
            if not -_INT64 <= value < _INT64:
                raise InvalidInput("The integer is beyond signed 64 bits.", field=place)
            exact.append(value)
        else:
            raise InvalidInput(
                f"A field equals a string, a number or a boolean, not {kind(value)}.", field=place
            )
    named = keys(name, at)
    matches: list[Condition] = [Match(key, exact) for key in named] if exact else []
    matches += [Range(key, gte=number, lte=number) for key in named for number in fractions]
    return any_of(matches)


def within(name: str, bounds: Mapping[str, Any], at: str) -> Condition:
    """The field lies within these bounds: numbers, or times (RFC 3339, or a plain date).

    A plain date is all of its day: after it (`gt`) is from the next day on, and up to it (`lte`)
    is to its end. A time without an offset is UTC.
    """
    for one, other in (("gt", "gte"), ("lt", "lte")):
        if one in bounds and other in bounds:
            raise InvalidInput(f"Give {one} or {other}, not both.", field=at)
    named = keys(name, at)
    if any(isinstance(bound, str) for bound in bounds.values()):
        if named[0] in CHUNK_NUMBERS:  # through its index, seq would be compared as microseconds
            raise InvalidInput(f"{named[0]} is a number, and no time bounds it.", field=at)
        times = dict(_time(operator, bound, at) for operator, bound in bounds.items())
        return any_of([DatetimeRange(key, **times) for key in named])
    numbers = {operator: _number(bound, f"{at}.{operator}") for operator, bound in bounds.items()}
    return any_of([Range(key, **numbers) for key in named])


def missing(name: str, at: str) -> Condition:
    """The field is absent, null or an empty list, wherever it might be."""
    return all_of([Missing(key) for key in keys(name, at)])


def all_of(conditions: Sequence[Condition]) -> Condition:
    """All of these hold; as flat as it can be."""
    flat = [i for c in conditions for i in (c.conditions if isinstance(c, AllOf) else (c,))]
    return flat[0] if len(flat) == 1 else AllOf(flat)


def any_of(conditions: Sequence[Condition]) -> Condition:
    """At least one of these holds; as flat as it can be."""
    flat = [i for c in conditions for i in (c.conditions if isinstance(c, AnyOf) else (c,))]
    return flat[0] if len(flat) == 1 else AnyOf(flat)


def checked_depth(condition: Condition, at: str, depth: int = 0) -> Condition:
    """The same condition, when engines take it however Quire wraps it."""
    if depth > MAX_DEPTH:
        raise too_deep(at)
    if isinstance(condition, (AllOf, AnyOf, NoneOf)):
        for inner in condition.conditions:
            checked_depth(inner, at, depth + 1)
    return condition


def too_deep(at: str) -> LimitExceeded:
    """The error of what nests deeper than MAX_DEPTH."""
    return LimitExceeded(
        f"The filter nests deeper than {MAX_DEPTH} levels.",
        field=at,
        limit=MAX_DEPTH,
        recovery="Write it flatter.",
    )


def kind(value: object) -> str:
    """What a JSON value is, in JSON's words."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case Mapping():
            return "an object"
        case Sequence():
            return "a list"
        case _:
            return type(value).__name__


def _number(value: Any, at: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidInput(f"A bound is a number or a time, not {kind(value)}.", field=at)
    try:
        if isfinite(value):
            return value
    except OverflowError:
        pass
    raise InvalidInput("The number must be finite.", field=at)


def _time(operator: str, value: Any, at: str) -> tuple[str, str]:
    place = f"{at}.{operator}"
    if not isinstance(value, str):
        raise InvalidInput(f"The other bound is a time, and this is {kind(value)}.", field=place)
    found = _TIME.fullmatch(value)
    try:
        if found is not None:
            time = datetime.fromisoformat(value.upper())
            time = time.replace(tzinfo=time.tzinfo or UTC)
            if found["hour"] is None and operator in _NEXT_DAY:
                operator, time = _NEXT_DAY[operator], time + timedelta(days=1)
            return operator, time.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError):
        pass
    raise InvalidInput(
        f"{value[:60]!a} is neither a number nor a time, such as 2026-01-31 or "
        "2026-01-31T12:00:00Z.",
        field=place,
    )


def _unicode(value: str, at: str) -> str:
    if not value.isascii() and value != value.encode(errors="replace").decode():
        raise InvalidInput("The value is not valid Unicode.", field=at)
    return value
