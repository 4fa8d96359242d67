"""What may be written, and what the refusals say."""

from __future__ import annotations

import json
import math
import uuid
from array import array
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quire.errors import InvalidInput, LimitExceeded
from quire.vectors.conditions import checked_condition
from quire.vectors.floats import settled
from quire.vectors.port import (
    MAX_BATCH,
    MAX_IDS,
    AnyOf,
    CollectionSpec,
    DatetimeRange,
    Distance,
    HasId,
    Match,
    Point,
    SparseVector,
)
from quire.vectors.validation import (
    MAX_MAGNITUDE,
    checked_payload,
    checked_points,
    collection_name,
    dense_vector,
    payload_key,
    point_id,
    point_ids,
    sparse_vector,
)

SPEC = CollectionSpec(3)
DOT = CollectionSpec(3, Distance.DOT)


# Ids


@given(st.uuids())
def test_every_spelling_of_a_uuid_has_one_canonical_form(value: uuid.UUID) -> None:
    canonical = str(value)
    for spelling in (canonical, canonical.upper(), value.hex, value.hex.upper(), value.urn):
        assert point_id(spelling) == canonical


@given(st.integers(0, 2**64 - 1))
def test_unsigned_64_bit_integers_are_ids(value: int) -> None:
    assert point_id(value) == value


@pytest.mark.parametrize("value", [-1, 2**64, True, 1.0, None, "", "12", "x" * 500, b"a" * 16, ()])
def test_anything_else_is_no_id(value: Any) -> None:
    with pytest.raises(InvalidInput, match="unsigned 64-bit integer or a UUID") as refused:
        point_id(value, "points[3].id")
    assert refused.value.field == "points[3].id"
    assert len(refused.value.message) < 200


def test_ids_are_taken_once_in_the_order_given() -> None:
    a = str(uuid.uuid4())
    assert point_ids([3, a.upper(), 3, a, 1]) == [3, a, 1]


def test_too_many_ids_name_the_limit() -> None:
    with pytest.raises(LimitExceeded, match=str(MAX_IDS)):
        point_ids(range(MAX_IDS + 1))


# Dense vectors


@pytest.mark.parametrize(
    "values",
    [[1, 2.5, 3], (1, 2.5, 3), array("f", [1, 2.5, 3]), np.array([1, 2.5, 3], dtype=np.float32)],
)
def test_any_sequence_of_numbers_is_a_vector(values: Any) -> None:
    assert dense_vector(values, CollectionSpec(3, Distance.DOT), "v") == [1, 2.5, 3]


@pytest.mark.parametrize("dimension", [1, 3, 384, 4_096])
def test_under_cosine_a_vector_is_normalised_once_and_then_left_alone(dimension: int) -> None:
    source = np.random.default_rng(dimension)
    spec = CollectionSpec(dimension)
    for scale in (1e-30, 1e-3, 1.0, 1e6, 1e30):
        raw = (source.exponential(size=dimension) ** 3 * scale).astype(np.float32) + np.float32(0)
        once = dense_vector(raw, spec, "v")
        assert np.linalg.norm(once) == pytest.approx(1, abs=1e-6)
        assert dense_vector(once, spec, "v") is once


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1.0, 2.0], "has 2 values; this collection's have 3"),
        ([], "has 0 values"),
        ([1.0, math.nan, 0.0], "Value 1 of the vector is not finite"),
        ([1.0, 0.0, -math.inf], "Value 2 of the vector is not finite"),
        ([1.0, 0.0, 1e39], "not finite as a 32-bit float"),
        ([1.0, 0.0, 10**400], "no finite number"),
        (["1", 2.0, 3.0], "no finite number"),
        ([[1.0], [2.0], [3.0]], "no finite number"),
        ("abc", "str given where a list of numbers belongs"),
        (5, "int given"),
        ({1.0, 2.0, 3.0}, "set given"),
    ],
)
def test_what_is_no_vector_is_told_apart(values: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        dense_vector(values, SPEC, "query.dense")
    assert refused.value.field == "query.dense"


def test_zeros_have_no_direction_but_may_have_products() -> None:
    with pytest.raises(InvalidInput, match="all zeros"):
        dense_vector([0.0, -0.0, 1e-60], SPEC, "v")
    assert dense_vector([0.0, 0.0, 0.0], DOT, "v") == [0, 0, 0]


def test_values_whose_products_overflow_are_refused() -> None:
    assert dense_vector([MAX_MAGNITUDE, 0.0, 0.0], DOT, "v")
    with pytest.raises(InvalidInput, match="scores would overflow"):
        dense_vector([0.0, -1e16, 0.0], DOT, "v")


@given(st.lists(st.floats(-(2.0**126), 2.0**126, width=32), min_size=3, max_size=3))
def test_under_cosine_a_vector_is_refused_or_keeps_its_direction(values: list[float]) -> None:
    given_values = np.array(values, dtype=np.float64)
    try:
        kept = np.array(dense_vector(values, SPEC, "v"), dtype=np.float32)
    except InvalidInput:
        assert not given_values.any()
        return
    with np.errstate(over="raise"):
        length = float(np.sqrt(kept @ kept))
    assert length >= 1e-3
    direction = given_values / np.abs(given_values).max()
    direction /= np.sqrt(direction @ direction)
    assert np.allclose(kept / length, direction, atol=1e-5)


# Batches


def test_the_field_names_the_point_that_is_wrong() -> None:
    points = [Point(n, [1.0, 2.0, 3.0]) for n in range(5)]
    points[3] = Point(3, [1.0, math.nan, 3.0])
    with pytest.raises(InvalidInput) as refused:
        checked_points(points, SPEC)
    assert refused.value.field == "points[3].vector"


def test_checking_leaves_the_callers_vectors_alone() -> None:
    mine = [0.0, 1e-20, 0.0]
    (checked,) = checked_points([Point(1, mine)], SPEC)
    assert checked.dense == [0, 1, 0]
    assert mine == [0.0, 1e-20, 0.0]


def test_the_last_of_equal_ids_wins() -> None:
    points = [Point(1, payload={"n": 1}), Point(2), Point(1, payload={"n": 2})]
    assert {p.id: p.payload for p in checked_points(points, SPEC)} == {1: {"n": 2}, 2: {}}


def test_a_batch_has_a_limit() -> None:
    assert len(checked_points([Point(n) for n in range(MAX_BATCH)], SPEC)) == MAX_BATCH
    with pytest.raises(LimitExceeded):
        checked_points([Point(n) for n in range(MAX_BATCH + 1)], SPEC)


# Sparse vectors


@pytest.mark.parametrize(
    ("indices", "values", "words"),
    [
        ([1, 2], [1.0], "2 indices and 1 values"),
        ([1, 1], [1.0, 1.0], "an index twice"),
        ([-1], [1.0], "no sparse index"),
        ([2**32], [1.0], "no sparse index"),
        ([True], [1.0], "no sparse index"),
        ([1.0], [1.0], "no sparse index"),
        ([1], [math.inf], "no sparse value"),
        ([1], [math.nan], "no sparse value"),
        ([1], ["x"], "no sparse value"),
        ([1], [1e39], "no sparse value"),
    ],
)
def test_what_is_no_sparse_vector_is_told_apart(
    indices: list[Any], values: list[Any], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        sparse_vector(SparseVector(indices, values), "points[0].sparse")


def test_an_empty_sparse_vector_is_one() -> None:
    assert sparse_vector(SparseVector((), ()), "s") == SparseVector([], [])


# Payloads


class Colour(StrEnum):
    RED = "red"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON, max_size=5))
def test_json_objects_are_payloads(payload: dict[str, Any]) -> None:
    assert checked_payload(payload) == settled(payload)
    json.dumps(payload, allow_nan=False).encode()


def test_mappings_enums_and_tuples_that_read_as_json_are_payloads() -> None:
    checked_payload(MappingProxyType({Colour.RED: Colour.RED, "pair": (1, 2)}))


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"a": math.nan}, "payload.a"),
        ({"a": {"b": [0, math.inf]}}, "payload.a.b[1]"),
        ({"a": 2**63}, "payload.a"),
        ({"a": -(2**63) - 1}, "payload.a"),
        ({"a": "\ud83e"}, "payload.a"),
        ({"a": {"\udd89": 1}}, "payload.a"),
        ({"a": b"bytes"}, "payload.a"),
        ({"a": object()}, "payload.a"),
        ({"a": [{1: 2}]}, "payload.a[0]"),
        ({1: 2}, "payload"),
        ([1], "payload"),
    ],
)
def test_what_is_no_payload_is_named_by_its_path(payload: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        checked_payload(payload)
    assert refused.value.field == field
    refused.value.message.encode()


def test_a_payload_that_holds_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    with pytest.raises(InvalidInput, match="deeper than 32"):
        checked_payload(loop)


# Names and filters


@pytest.mark.parametrize("name", ["a", "0a0eebc9-9c0b-4ef8-bb6d-6bb9bd380a11", "A_b-9", "a" * 200])
def test_names_of_collections(name: str) -> None:
    assert collection_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0", "a b", "_a", "-a", "é", "a\n", None])
def test_no_names_of_collections(name: Any) -> None:
    with pytest.raises(InvalidInput, match="cannot name a collection"):
        collection_name(name)


@pytest.mark.parametrize("key", ["a", "a_b-c", "a.b", "a[].b", "a[0][1]", '"any name".b', "größe"])
def test_paths_of_payload_fields(key: str) -> None:
    assert payload_key(key, "key") == key


@pytest.mark.parametrize("key", ["", ".", "a.", ".a", "a b", "a[", "a]", "[0]", '"a', "a\0", None])
def test_no_paths_of_payload_fields(key: Any) -> None:
    with pytest.raises(InvalidInput, match="names no payload field"):
        payload_key(key, "key")


def test_times_are_read_as_rfc_3339_and_put_in_utc() -> None:
    condition = DatetimeRange("at", gte="2026-03-01T01:30:00.25+02:00", lt="2026-03-02T00:00:00Z")
    assert checked_condition(condition) == DatetimeRange(
        "at", gte="2026-02-28T23:30:00.250000Z", lt="2026-03-02T00:00:00Z"
    )


def test_one_of_nothing_is_nothing() -> None:
    assert checked_condition(AnyOf([])) == HasId(())


def test_a_filter_may_not_nest_for_ever() -> None:
    condition: Any = Match("a", ["x"])
    for _ in range(20):
        condition = AnyOf([condition])
    with pytest.raises(LimitExceeded, match="nests deeper"):
        checked_condition(condition)
