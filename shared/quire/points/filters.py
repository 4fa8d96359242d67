"""The filter language: JSON that says which points are meant. `docs/filters.md` describes it.

An object names fields and what they must be; `all`, `any` and `none` combine such objects. Qdrant's
own filters are understood too, as far as every engine can answer them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quire.errors import InvalidInput, LimitExceeded
from quire.points.fields import (
    BOUNDS,
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_VALUES,
    all_of,
    any_of,
    checked_depth,
    equals,
    kind,
    missing,
    too_deep,
    within,
)
from quire.vectors.port import Condition, HasId, NoneOf
from quire.vectors.validation import point_ids

OPERATORS = ("not", "exists", *BOUNDS)
_MATCHES = ("value", "any", "except")
_FIELD_TESTS = ("match", "range")


def parse_filter(value: Any, at: str = "filter") -> Condition | None:
    """What a filter says; None when it says nothing (null, or an empty object).

    `at` is what errors call the filter. They name the part that is wrong: `filter.year.gtt`.
    """
    if value is None or value == {}:
        return None
    return checked_depth(_Reader().filter(value, at, 0), at)


class _Reader:
    """Reads one filter, and counts what it holds."""

    def __init__(self) -> None:
        self._conditions = 0
        self._values = 0

    def filter(self, value: Any, at: str, depth: int) -> Condition:
        """An object: all that it says must hold."""
        if depth > MAX_DEPTH:
            raise too_deep(at)
        if not isinstance(value, Mapping):
            raise InvalidInput(
                f'A filter is an object such as {{"field": "value"}}, not {kind(value)}.', field=at
            )
        if isinstance(value.get("key"), str) and any(test in value for test in _FIELD_TESTS):
            return self._qdrant_field(value, at)
        # Qdrant's clients write what is not given as null, and its engines pass over empty lists.
        parts = [
            self._part(name, inner, _below(at, name), depth)
            for name, inner in value.items()
            if not (name in ("must", "should", "must_not") and inner in (None, []))
        ]
        if not parts:
            raise InvalidInput("The filter is empty; leave it out to mean every point.", field=at)
        return all_of(parts)

    def _part(self, name: str, value: Any, at: str, depth: int) -> Condition:
        match name:
            case "all" | "must":
                return all_of(self._filters(value, at, depth))
            case "any" | "should":
                return any_of(self._filters(value, at, depth))
            case "none" | "must_not":
                return NoneOf(self._filters(value, at, depth))
            case "id" | "has_id":
                ids = self._list(value if isinstance(value, list) else [value], at)
                return HasId(point_ids(ids, at))
            case "is_empty" | "is_null" if isinstance(value, Mapping):
                self._count(at)
                return missing(self._string(_known(value, ("key",), at).get("key"), at), at)
            case _:
                return self._field(name, value, at, depth)

    def _filters(self, value: Any, at: str, depth: int) -> list[Condition]:
        if isinstance(value, Mapping):
            value = [value]
        if not isinstance(value, list) or not value:
            raise InvalidInput("Give a list of one or more filters here.", field=at)
        return [self.filter(inner, f"{at}[{n}]", depth + 1) for n, inner in enumerate(value)]

    def _field(self, name: str, value: Any, at: str, depth: int) -> Condition:
        self._count(at)
        match value:
            case None:
                return missing(name, at)
            case list():
                return equals(name, self._list(value, at), at)
            case Mapping():
                return self._operators(name, value, at, depth)
            case _:
                return equals(name, self._list([value], at), at)

    def _operators(self, name: str, value: Mapping[str, Any], at: str, depth: int) -> Condition:
        if depth > MAX_DEPTH:
            raise too_deep(at)
        _known(value, OPERATORS, at)
        if not value:
            raise InvalidInput(f"Say how to compare: {', '.join(OPERATORS)}.", field=at)
        parts: list[Condition] = []
        if "not" in value:
            parts.append(NoneOf([self._field(name, value["not"], f"{at}.not", depth + 1)]))
        if "exists" in value:
            if not isinstance(value["exists"], bool):
                raise InvalidInput(
                    f"exists is true or false, not {kind(value['exists'])}.", field=f"{at}.exists"
                )
            absent = missing(name, at)
            parts.append(NoneOf([absent]) if value["exists"] else absent)
        bounds = {operator: value[operator] for operator in BOUNDS if operator in value}
        if bounds:
            parts.append(within(name, bounds, at))
        return all_of(parts)

    def _qdrant_field(self, value: Mapping[str, Any], at: str) -> Condition:
        given = {test: inner for test, inner in value.items() if inner is not None}
        _known(given, ("key", *_FIELD_TESTS), at)
        parts = []
        for test in _FIELD_TESTS:
            if test in given:
                place = f"{at}.{test}"
                self._count(place)
                parts.append(self._qdrant_test(value["key"], test, given[test], place))
        if not parts:
            raise InvalidInput("Give match or range.", field=at)
        return all_of(parts)

    def _qdrant_test(self, key: str, test: str, value: Any, at: str) -> Condition:
        if not isinstance(value, Mapping):
            raise InvalidInput(f"{test} is an object, not {kind(value)}.", field=at)
        given = {name: inner for name, inner in value.items() if inner is not None}
        if test == "range":
            if not _known(given, BOUNDS, at):
                raise InvalidInput(f"Give a bound: {', '.join(BOUNDS)}.", field=at)
            return within(key, given, at)
        if len(_known(given, _MATCHES, at)) != 1:
            raise InvalidInput(f"Give one of {', '.join(_MATCHES)}.", field=at)
        ((how, wanted),) = given.items()
        values = [wanted] if how == "value" else wanted
        found = equals(key, self._list(values, f"{at}.{how}"), f"{at}.{how}")
        return NoneOf([found]) if how == "except" else found

    def _list(self, values: Any, at: str) -> list[Any]:
        if not isinstance(values, list):
            raise InvalidInput(f"Give a list here, not {kind(values)}.", field=at)
        self._values += len(values)
        if self._values > MAX_VALUES:
            raise LimitExceeded(
                f"The filter has more than {MAX_VALUES:,} values.",
                field=at,
                limit=MAX_VALUES,
                recovery="Ask in several requests.",
            )
        # Every fraction is a condition of its own; other values cost the engine next to nothing.
        self._count(at, sum(isinstance(value, float) for value in values))
        return values

    def _count(self, at: str, conditions: int = 1) -> None:
        self._conditions += conditions
        if self._conditions > MAX_CONDITIONS:
            raise LimitExceeded(
                f"The filter has more than {MAX_CONDITIONS} conditions.",
                field=at,
                limit=MAX_CONDITIONS,
                recovery="Give a list of values where many conditions compare one field.",
            )

    def _string(self, value: Any, at: str) -> str:
        if not isinstance(value, str):
            raise InvalidInput(f"key is a field's name, not {kind(value)}.", field=f"{at}.key")
        return value


def _known(value: Mapping[str, Any], names: tuple[str, ...], at: str) -> Mapping[str, Any]:
    for name in value:
        if name not in names:
            raise InvalidInput(
                f"{str(name)[:60]!a} is not understood here; valid are {', '.join(names)}.",
                field=_below(at, name),
            )
    return value


def _below(at: str, name: Any) -> str:
    """The place of a part. Names come from outside: any text, of any length."""
    if not isinstance(name, str):
        raise InvalidInput(f"Names are strings, and {name!r} is {kind(name)}.", field=at)
    return f"{at}.{name[:80].encode(errors='backslashreplace').decode()}"
