"""The filter language: what it means, held to a second reading of it, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quire.errors import InvalidInput, LimitExceeded
from quire.points.fields import MAX_CONDITIONS, MAX_DEPTH, MAX_VALUES
from quire.points.filters import parse_filter
from quire.vectors.conditions import checked_condition
from quire.vectors.edge import EdgeEngine
from quire.vectors.port import STAGE, AllOf, CollectionSpec, Match, NoneOf, Point

SOURCE = random.Random(7)
DAYS = ["2024-01-30", "2024-01-31", "2024-02-01"]
VALUES: list[Any] = [
    *("a", "b", "", "10", 10, 10.0, 2.5, -1, True, False, None, [], ["a", "b"], [10, 2.5], [None]),
    *(f"{day}T{hour}:00:00Z" for day in DAYS for hour in ("00", "12")),
]
NAMES = ["x", "y", "metadata.x", "payload.y", "context"]


def payload() -> dict[str, Any]:
    fields = {
        name: SOURCE.choice(VALUES) for name in ("x", "y", "context") if SOURCE.random() < 0.6
    }
    metadata = {
        name: SOURCE.choice(VALUES) for name in ("x", "y", "context") if SOURCE.random() < 0.6
    }
    return fields | {"metadata": metadata}


PAYLOADS = {n: payload() for n in range(150)}

scalars = st.sampled_from(["a", "b", "", "10", 10, 10.0, 2.5, -1, True, False])
bounds = st.one_of(
    st.fixed_dictionaries({"gte": st.sampled_from([-1, 2.5, 10])}),
    st.fixed_dictionaries({"gt": st.sampled_from([-1, 2.5]), "lt": st.sampled_from([10, 11.5])}),
    st.fixed_dictionaries({"lte": st.sampled_from([*DAYS, "2024-01-31T12:00:00Z"])}),
    st.fixed_dictionaries({"gt": st.sampled_from([*DAYS, "2024-01-31T12:00:00Z"])}),
)
comparisons = st.recursive(
    st.one_of(scalars, st.none(), st.lists(scalars, min_size=1, max_size=3), bounds),
    lambda inner: st.fixed_dictionaries(
        {"not": inner}, optional={"exists": st.booleans(), "gte": st.just(2)}
    ),
    max_leaves=2,
)
fields = st.dictionaries(st.sampled_from(NAMES), comparisons, min_size=1, max_size=2)
filters: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.one_of(fields, st.builds(lambda v: {"id": v}, st.lists(st.integers(0, 9), max_size=4))),
    lambda inner: st.dictionaries(
        st.sampled_from(["all", "any", "none"]),
        st.lists(inner, min_size=1, max_size=3),
        min_size=1,
        max_size=2,
    ),
    max_leaves=4,
)


# The second reading: no conditions and no engine, only what the page says.


def matches(wanted: Mapping[str, Any], identity: int, stored: Mapping[str, Any]) -> bool:
    def one(name: str, value: Any) -> bool:
        match name:
            case "all":
                return all(matches(inner, identity, stored) for inner in value)
            case "any":
                return any(matches(inner, identity, stored) for inner in value)
            case "none":
                return not any(matches(inner, identity, stored) for inner in value)
            case "id":
                return identity in value
        return compares(value, values(name, stored))

    return all(one(name, value) for name, value in wanted.items())


def values(name: str, stored: Mapping[str, Any]) -> list[Any]:
    """Everything that the field holds, wherever it is."""
    metadata = stored["metadata"]
    match name.partition("."):
        case ("metadata", _, inner):
            held = [metadata.get(inner)]
        case ("payload", _, inner):
            held = [stored.get(inner)]
        case ("context", _, _):
            held = [stored.get(name)]
        case _:
            held = [stored.get(name), metadata.get(name)]
    return [v for h in held if h is not None for v in (h if isinstance(h, list) else [h])]


def compares(wanted: Any, held: list[Any]) -> bool:
    if wanted is None:
        return not held
    if isinstance(wanted, list):
        return any(same(w, h) for w in wanted for h in held)
    if not isinstance(wanted, dict):
        return any(same(wanted, h) for h in held)
    limits = {name: b for name, b in wanted.items() if name in ("gt", "gte", "lt", "lte")}
    return (
        not ("not" in wanted and compares(wanted["not"], held))
        and not ("exists" in wanted and bool(held) is not wanted["exists"])
        and not (limits and not any(within(limits, h) for h in held))
    )


def same(wanted: Any, held: Any) -> bool:
    if isinstance(wanted, float):
        return not isinstance(held, bool) and bool(wanted == held)
    return type(wanted) is type(held) and bool(wanted == held)


def within(limits: Mapping[str, Any], held: Any) -> bool:
    return all(reaches(operator, bound, held) for operator, bound in limits.items())


def reaches(operator: str, bound: Any, held: Any) -> bool:
    if (
        held is None
        or isinstance(held, bool)
        or isinstance(held, str) is not isinstance(bound, str)
    ):
        return False
    if isinstance(bound, str):
        if "T" not in held:
            return False
        held = held[: len(bound)]  # a day is compared with days, a moment with moments
    how = {"gt": held > bound, "gte": held >= bound, "lt": held < bound, "lte": held <= bound}
    return bool(how[operator])


Find = Callable[[Any], list[Any]]


@pytest.fixture(scope="module")
def find() -> Iterator[Find]:
    """Which of the stored payloads the engine finds by a filter."""
    with tempfile.TemporaryDirectory() as directory, asyncio.Runner() as runner:
        run: Callable[[Awaitable[Any]], Any] = runner.run  # type: ignore[assignment]
        engine = run(EdgeEngine.open(Path(directory), max_open=1))
        run(engine.create("all", CollectionSpec(2)))
        points = [Point(n, [1.0, 0.0], None, payload) for n, payload in PAYLOADS.items()]
        run(engine.upsert("all", points))

        def ids(wanted: Any) -> list[Any]:
            condition = parse_filter(wanted)
            page = run(engine.scroll("all", filter=condition, limit=len(PAYLOADS)))
            return [record.id for record in page.records]

        yield ids
        run(engine.close())


@settings(max_examples=150, deadline=None)
@given(wanted=filters)
@example(wanted={"x": {"not": {"not": None}}})
@example(wanted={"y": {"exists": True, "not": ["a", 10.0]}})
@example(wanted={"none": [{"x": {"lte": "2024-01-31"}}, {"context": True}]})
def test_the_engine_finds_what_a_second_reading_of_the_language_finds(
    find: Find, wanted: dict[str, Any]
) -> None:
    expected = [n for n, stored in PAYLOADS.items() if matches(wanted, n, stored)]

    assert find(wanted) == expected


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"must": [{"key": "x", "match": {"value": "a"}}]}, {"x": "a"}),
        ({"must": {"key": "x", "match": {"any": ["a", 10]}}}, {"x": ["a", 10]}),
        ({"must_not": [{"is_empty": {"key": "x"}}]}, {"x": {"exists": True}}),
        ({"should": [{"has_id": [3]}, {"key": "x", "range": {"gt": 2, "lt": None}}], "must": None},
         {"any": [{"id": 3}, {"x": {"gt": 2}}]}),
        ({"key": "x", "match": {"except": ["a"]}, "range": None}, {"x": {"not": "a"}}),
        ({"must": [], "x": "a"}, {"x": "a"}),
    ],
)  # fmt: skip
def test_a_filter_of_qdrants_is_the_same_in_our_words(theirs: Any, ours: Any) -> None:
    assert parse_filter(theirs) == parse_filter(ours)


@pytest.mark.parametrize("nothing", [None, {}])
def test_no_filter_and_an_empty_one_ask_for_nothing(nothing: Any) -> None:
    assert parse_filter(nothing) is None


@pytest.mark.parametrize(
    ("wanted", "field", "says"),
    [
        ([], "filter", "not a list"),
        ("x", "filter", "not a string"),
        ({"year": {"gtt": 1}}, "filter.year.gtt", "valid are not, exists, gt, gte, lt, lte"),
        ({"any": [{"x": 1}, {"y": {"$in": [1]}}]}, "filter.any[1].y.$in", "valid are"),
        ({"x": []}, "filter.x", "empty"),
        ({"x": {}}, "filter.x", "how to compare"),
        ({"any": []}, "filter.any", "one or more"),
        ({"all": [{}]}, "filter.all[0]", "empty"),
        ({"must": []}, "filter", "empty"),
        ({"none": "x"}, "filter.none", "list"),
        ({"x": ["a", None]}, "filter.x[1]", "not null"),
        ({"x": ["a", ["b"]]}, "filter.x[1]", "not a list"),
        ({"x": float("nan")}, "filter.x", "finite"),
        ({"x": [1, float("inf")]}, "filter.x[1]", "finite"),
        ({"x": {"gt": float("-inf")}}, "filter.x.gt", "finite"),
        ({"x": {"gt": 10**400}}, "filter.x.gt", "finite"),
        ({"x": 2**63}, "filter.x", "64 bits"),
        ({"x": "\ud800"}, "filter.x", "Unicode"),
        ({"x": {"gt": True}}, "filter.x.gt", "not a boolean"),
        ({"x": {"gt": None}}, "filter.x.gt", "not null"),
        ({"x": {"gt": "soon"}}, "filter.x.gt", "2026-01-31"),
        ({"x": {"lte": "2024-02-30"}}, "filter.x.lte", "neither a number nor a time"),
        ({"x": {"gt": "9999-12-31"}}, "filter.x.gt", "neither a number nor a time"),
        ({"x": {"gte": "2024-01-01", "lt": 5}}, "filter.x.lt", "other bound is a time"),
        ({"x": {"gt": 1, "gte": 2}}, "filter.x", "not both"),
        ({"seq": {"gte": "2024-01-01"}}, "filter.seq", "seq is a number"),
        ({"x": {"exists": 1}}, "filter.x.exists", "true or false"),
        ({"a b": 1}, "filter.a b", "names no payload field"),
        ({"": 1}, "filter.", "names no payload field"),
        ({1: 2}, "filter", "Names are strings"),
        ({"x\ud800": 1}, r"filter.x\ud800", "names no payload field"),
        ({"id": ["x"]}, "filter.id[0]", "no point id"),
        ({"key": "x", "match": {"text": "a"}}, "filter.match.text", "value, any, except"),
        ({"key": "x", "match": {"any": "a"}}, "filter.match.any", "list"),
        ({"key": "x", "match": 1}, "filter.match", "object"),
        ({"key": "x", "range": {}}, "filter.range", "bound"),
        ({"key": "x", "match": {"value": 1}, "geo_radius": {}}, "filter.geo_radius", "valid are"),
        ({"is_empty": {"field": "x"}}, "filter.is_empty.field", "valid are key"),
        ({"is_null": {}}, "filter.is_null.key", "name"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_its_place(wanted: Any, field: str, says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_filter(wanted)

    assert refused.value.field == field
    assert says in refused.value.message
    json.dumps([refused.value.message, refused.value.field]).encode()


@pytest.mark.parametrize("name", [STAGE, f"payload.{STAGE}", f'"{STAGE}"', f"{STAGE}[].x"])
def test_the_stage_of_chunks_cannot_be_named(name: str) -> None:
    for wanted in ({name: "x"}, {"key": name, "match": {"value": 1}}, {"is_null": {"key": name}}):
        with pytest.raises(InvalidInput, match="Quire's own"):
            parse_filter(wanted)


def test_fields_of_chunks_are_themselves_and_others_may_be_in_either_place() -> None:
    assert parse_filter({"seq": 1}) == Match("seq", [1])
    assert parse_filter({"metadata.x": 1}) == Match("metadata.x", [1])
    assert parse_filter({"payload.seq": 1}) == Match("seq", [1])
    assert parse_filter({'"my name".x': 1, "id": 1}) == parse_filter(
        {"all": [{"any": [{'payload."my name".x': 1}, {'metadata."my name".x': 1}]}, {"id": [1]}]}
    )


@pytest.mark.parametrize(
    "wanted",
    [
        {"x": ["a"] * (MAX_VALUES + 1)},
        {"id": list(range(MAX_VALUES + 1))},
        {"any": [{"x": n} for n in range(MAX_CONDITIONS + 1)]},
        {"x": [n + 0.5 for n in range(MAX_CONDITIONS + 1)]},
    ],
)
def test_a_filter_too_large_is_refused_by_name_of_the_limit(wanted: Any) -> None:
    with pytest.raises(LimitExceeded, match="more than 1"):
        parse_filter(wanted)


def nested(kind: str, levels: int) -> dict[str, Any]:
    wanted: dict[str, Any] = {"x": {"not": 1}}
    for _ in range(levels):
        wanted = {kind: [wanted, {"y": 1, "z": {"gt": 1}}]}
    return wanted


@pytest.mark.parametrize("kind", ["all", "any", "none"])
def test_a_filter_nests_as_deep_as_engines_take_it_wrapped_and_no_deeper(kind: str) -> None:
    taken = 0
    while True:
        try:
            condition = parse_filter(nested(kind, taken + 1))
        except LimitExceeded:
            break
        assert condition is not None
        checked_condition(AllOf([NoneOf([AllOf([NoneOf([condition])])])]))
        taken += 1

    assert 4 < taken <= MAX_DEPTH


def test_a_filter_nested_absurdly_deep_is_refused_like_any_other() -> None:
    deep: dict[str, Any] = {"x": 1}
    for _ in range(900):
        deep = {"not": deep}

    with pytest.raises(LimitExceeded, match="deeper than"):
        parse_filter({"x": deep})
    with pytest.raises(LimitExceeded, match="deeper than"):
        parse_filter(nested("any", 900))
