"""What every vector engine must do: one suite, run on the embedded engine, the double, a server."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from quire.errors import CollectionNotFound, Conflict, InvalidInput, LimitExceeded, Unavailable
from quire.vectors.bm25 import Bm25
from quire.vectors.port import (
    MAX_BATCH,
    MAX_IDS,
    MAX_PAGE,
    MAX_WINDOW,
    STANDARD_INDEXES,
    AllOf,
    AnyOf,
    CollectionSpec,
    Condition,
    DatetimeRange,
    Distance,
    FacetCount,
    HasId,
    IndexKind,
    Match,
    Missing,
    NoneOf,
    Point,
    PointId,
    Query,
    Range,
    SparseVector,
    VectorEngine,
)
from quire.vectors.server import QdrantEngine
from tests.contract.points import Collection, point, words

UUID_A = "0a0eebc9-9c0b-4ef8-bb6d-6bb9bd380a11"
UUID_B = "b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"


# Collections


async def test_a_created_collection_exists_empty_and_is_listed(engine: VectorEngine) -> None:
    assert not await engine.exists("work")

    await engine.create("work", CollectionSpec(4))

    assert await engine.exists("work")
    assert [name async for name in engine.collections()] == ["work"]
    info = await engine.info("work")
    assert (info.name, info.points_count) == ("work", 0)
    assert info.indexes == STANDARD_INDEXES


async def test_creating_again_changes_nothing(work: Collection) -> None:
    await work.write(point(1))

    await work.engine.create("work", CollectionSpec(4))

    assert await work.ids() == [1]


async def test_creating_again_adds_the_indexes_that_are_wanted_now(work: Collection) -> None:
    await work.engine.create("work", CollectionSpec(4, indexes={"label": IndexKind.KEYWORD}))

    assert (await work.engine.info("work")).indexes == {
        **STANDARD_INDEXES,
        "label": IndexKind.KEYWORD,
    }


async def test_creating_it_otherwise_is_a_conflict(work: Collection) -> None:
    for spec in (CollectionSpec(5), CollectionSpec(4, Distance.DOT)):
        with pytest.raises(Conflict, match="exists with 4 dimensions and cosine distance"):
            await work.engine.create("work", spec)


async def test_a_dropped_collection_is_gone_and_its_name_free(work: Collection) -> None:
    await work.write(point(1))

    await work.engine.drop("work")
    await work.engine.drop("work")

    assert not await work.engine.exists("work")
    with pytest.raises(CollectionNotFound):
        await work.ids()
    await work.engine.create("work", CollectionSpec(2))
    await work.write(point(1, 1.0, 0.0))
    assert await work.ids() == [1]


async def test_an_unknown_collection_is_not_found_by_any_method(engine: VectorEngine) -> None:
    calls = [
        lambda: engine.info("none"),
        lambda: engine.upsert("none", [point(1)]),
        lambda: engine.upsert("none", []),
        lambda: engine.delete("none", [1]),
        lambda: engine.set_payload("none", {"a": 1}, [1]),
        lambda: engine.retrieve("none", [1]),
        lambda: engine.query("none", Query(dense=[1.0])),
        lambda: engine.scroll("none"),
        lambda: anext(engine.stream("none")),
        lambda: anext(engine.ids("none")),
        lambda: engine.copy("none", "target"),
        lambda: engine.begin_filling("none"),
        lambda: engine.end_filling("none"),
        lambda: engine.count("none"),
        lambda: engine.facet("none", "seq"),
        lambda: engine.create_index("none", "a", IndexKind.KEYWORD),
        lambda: engine.flush("none"),
        lambda: engine.release("none"),
    ]
    for call in calls:
        with pytest.raises(CollectionNotFound):
            await call()
    assert not await engine.exists("none")
    assert not await engine.exists("target")


@pytest.mark.parametrize("name", ["", "../up", "a/b", "-a", "a" * 201, "ä", "a\0"])
async def test_a_name_that_is_no_name_is_refused(engine: VectorEngine, name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await engine.create(name, CollectionSpec(4))
    assert refused.value.field == "collection"
    with pytest.raises(InvalidInput):
        await engine.exists(name)


@pytest.mark.parametrize("dimension", [0, -1, 65_536, True])
async def test_a_dimension_that_is_none_is_refused(engine: VectorEngine, dimension: int) -> None:
    with pytest.raises(InvalidInput) as refused:
        await engine.create("work", CollectionSpec(dimension))
    assert refused.value.field == "dimension"
    assert not await engine.exists("work")


# Writing and reading back


async def test_a_point_comes_back_as_it_was_written(work: Collection) -> None:
    payload = {
        "text": "naïve — 日本語 🦉 \0",
        "number": 2**63 - 1,
        "float": 0.1,
        "whole": 1.0,
        "flag": True,
        "nothing": None,
        "list": [1, "a", [None, {"x": False}], []],
        "object": {"a": {"b.c": [1.5]}},
        "": "empty key",
    }
    await work.write(Point(7, [0.0, 3.0, 0.0, 4.0], SparseVector([9, 4], [0.5, -1.0]), payload))

    (record,) = await work.engine.retrieve("work", [7], with_vectors=True)

    assert record.payload == payload
    assert type(record.payload["whole"]) is float
    assert record.dense == pytest.approx([0.0, 0.6, 0.0, 0.8], abs=1e-6)
    assert record.sparse is not None
    pairs = dict(zip(record.sparse.indices, record.sparse.values, strict=True))
    assert pairs == {4: -1.0, 9: 0.5}


async def test_vectors_come_only_when_asked_for(work: Collection) -> None:
    await work.write(point(1))

    (record,) = await work.engine.retrieve("work", [1])

    assert record.dense is None


async def test_payloads_may_be_left_out_of_what_is_retrieved(work: Collection) -> None:
    await work.write(point(1, 1.0, 0, 0, 0, a=1))

    (record,) = await work.engine.retrieve("work", [1], with_payload=False, with_vectors=True)

    assert (record.payload, record.dense) == ({}, [1, 0, 0, 0])


async def test_dense_values_are_the_same_doubles_on_every_engine(engine: VectorEngine) -> None:
    await engine.create("work", CollectionSpec(3, Distance.DOT))
    await engine.upsert("work", [point(1, 0.1, 1 / 3, 1e-7)])

    (record,) = await engine.retrieve("work", [1], with_vectors=True)
    page = await engine.scroll("work", with_vectors=True)

    expected = [0.10000000149011612, 0.3333333432674408, 1.0000000116860974e-07]
    assert record.dense == expected
    assert page.records[0].dense == expected


async def test_points_may_lack_one_vector_or_both(work: Collection) -> None:
    await work.write(point(1), words(2, 5), Point(3, payload={"bare": True}))

    records = await work.engine.retrieve("work", [1, 2, 3], with_vectors=True)

    has = [(record.dense is not None, record.sparse is not None) for record in records]
    assert has == [(True, False), (False, True), (False, False)]
    assert await work.found(Query(dense=[1.0, 0, 0, 0])) == [1]
    assert await work.found(Query(sparse=SparseVector([5], [1.0]))) == [2]


async def test_writing_an_id_again_replaces_the_point_whole(work: Collection) -> None:
    await work.write(Point(1, [1.0, 0, 0, 0], SparseVector([1], [1.0]), {"a": 1, "b": 2}))

    await work.write(Point(1, [0, 1.0, 0, 0], None, {"a": 3}))

    (record,) = await work.engine.retrieve("work", [1], with_vectors=True)
    assert (record.payload, record.dense, record.sparse) == ({"a": 3}, [0, 1, 0, 0], None)
    assert await work.engine.count("work") == 1


async def test_of_an_id_twice_in_one_batch_the_last_counts(work: Collection) -> None:
    await work.write(point(UUID_A, n=1), point(UUID_A.upper(), n=2))

    assert await work.payload(UUID_A) == {"n": 2}
    assert await work.engine.count("work") == 1


async def test_ids_are_integers_and_uuids_in_canonical_form(work: Collection) -> None:
    await work.write(
        point(2**64 - 1), point(0), point(UUID_B.replace("-", "").upper()), point(UUID_A)
    )

    assert await work.ids() == [0, 2**64 - 1, UUID_A, UUID_B]
    records = await work.engine.retrieve("work", [UUID_B.upper(), 0, 12, 2**64 - 1, 0])
    assert [record.id for record in records] == [UUID_B, 0, 2**64 - 1]


async def test_a_full_batch_is_written(work: Collection) -> None:
    await work.write(*(point(n, 1.0, n, 2.0, 3.0, seq=n) for n in range(MAX_BATCH)))

    assert await work.engine.count("work") == MAX_BATCH
    assert len(await work.engine.retrieve("work", range(MAX_BATCH))) == MAX_BATCH


BAD_POINTS: list[tuple[Point, str]] = [
    (point(-1), "points[1].id"),
    (point(2**64), "points[1].id"),
    (point(True), "points[1].id"),
    (point("no-uuid"), "points[1].id"),
    (point(2, 1.0, 2.0), "points[1].vector"),
    (point(2, 1.0, math.nan, 0.0, 0.0), "points[1].vector"),
    (point(2, 1.0, math.inf, 0.0, 0.0), "points[1].vector"),
    (point(2, 1.0, 1e39, 0.0, 0.0), "points[1].vector"),
    (point(2, 0.0, 0.0, 0.0, 0.0), "points[1].vector"),
    (Point(2, sparse=SparseVector([1, 1], [1.0, 1.0])), "points[1].sparse"),
    (Point(2, sparse=SparseVector([1], [1.0, 2.0])), "points[1].sparse"),
    (Point(2, sparse=SparseVector([2**32], [1.0])), "points[1].sparse"),
    (Point(2, sparse=SparseVector([1], [math.nan])), "points[1].sparse"),
    (point(2, a=math.nan), "points[1].payload.a"),
    (point(2, a=[1, {"b": 2**63}]), "points[1].payload.a[1].b"),
    (point(2, a="\ud800"), "points[1].payload.a"),
    (point(2, a={1, 2}), "points[1].payload.a"),
    (Point(2, payload={1: 2}), "points[1].payload"),  # type: ignore[dict-item]
]


async def test_a_batch_with_a_bad_point_is_refused_whole(work: Collection) -> None:
    await work.write(point(9))

    for bad, field in BAD_POINTS:
        with pytest.raises(InvalidInput) as refused:
            await work.write(point(1), bad, point(3))
        assert refused.value.field == field

    assert await work.ids() == [9]


async def test_a_batch_over_the_limit_is_refused_whole(work: Collection) -> None:
    with pytest.raises(LimitExceeded, match=str(MAX_BATCH)):
        await work.write(*(point(n) for n in range(MAX_BATCH + 1)))
    assert await work.engine.count("work") == 0


async def test_a_payload_may_nest_as_deep_as_allowed_and_no_deeper(work: Collection) -> None:
    deep: object = 1
    for n in range(32):
        deep = {"a": deep} if n % 2 else [deep]
    await work.write(point(1, x=deep))
    assert await work.payload(1) == {"x": deep}

    with pytest.raises(InvalidInput, match="deeper than 32"):
        await work.write(point(2, x=[deep]))


# Deleting and changing


async def test_points_are_deleted_by_id_and_unknown_ids_passed_over(work: Collection) -> None:
    await work.write(point(1), point(2), point(UUID_A))

    await work.engine.delete("work", [1, 99, UUID_A.upper()])
    await work.engine.delete("work", [])

    assert await work.ids() == [2]


async def test_points_are_deleted_by_filter(work: Collection) -> None:
    await work.write(*(point(n, seq=n) for n in range(6)))

    await work.engine.delete("work", Range("seq", gte=2, lt=5))

    assert await work.ids() == [0, 1, 5]


async def test_payload_fields_are_merged_and_unknown_ids_passed_over(work: Collection) -> None:
    await work.write(point(1, a=1, b={"x": 1}), point(2, a=1))

    await work.engine.set_payload("work", {"b": {"y": 2}, "c": 3}, [1, 99])
    await work.engine.set_payload("work", {"b": 5}, [])

    assert await work.payload(1) == {"a": 1, "b": {"y": 2}, "c": 3}
    assert await work.payload(2) == {"a": 1}


async def test_a_payload_field_merged_as_null_is_removed(work: Collection) -> None:
    await work.write(point(1, a=1, b=2))

    await work.engine.set_payload("work", {"b": None, "c": None, "d": [None]}, [1])

    assert await work.payload(1) == {"a": 1, "d": [None]}


async def test_payload_fields_are_merged_by_filter_and_found_by_index(work: Collection) -> None:
    await work.write(*(point(n, seq=n) for n in range(4)))

    await work.engine.set_payload("work", {"document_id": "d"}, Range("seq", gte=2))

    assert await work.ids(Match("document_id", ["d"])) == [2, 3]
    assert await work.engine.facet("work", "document_id") == [FacetCount("d", 2)]


async def test_a_bad_payload_is_not_merged(work: Collection) -> None:
    await work.write(point(1, a=1))
    with pytest.raises(InvalidInput) as refused:
        await work.engine.set_payload("work", {"a": 2, "b": math.inf}, [1])
    assert refused.value.field == "payload.b"
    assert await work.payload(1) == {"a": 1}


# Searching


async def test_dense_search_ranks_by_cosine(work: Collection) -> None:
    await work.write(
        point(1, 1.0, 0, 0, 0), point(2, 1.0, 1.0, 0, 0), point(3, 0, 0, 1.0, 0, kind="far")
    )

    hits = await work.engine.query("work", Query(dense=[2.0, 0, 0, 0], with_vectors=True))

    assert [hit.id for hit in hits] == [1, 2, 3]
    assert [hit.score for hit in hits] == pytest.approx([1.0, math.sqrt(0.5), 0.0], abs=1e-4)
    assert hits[0].dense == [1, 0, 0, 0]
    assert hits[2].payload == {"kind": "far"}


async def test_payloads_may_be_left_out_of_hits(work: Collection) -> None:
    await work.write(Point(1, [1.0, 0, 0, 0], SparseVector([1], [1.0]), {"a": 1}))
    both = Query(dense=[1.0, 0, 0, 0], sparse=SparseVector([1], [1.0]), with_payload=False)

    for query in (both, replace(both, sparse=None)):
        (hit,) = await work.engine.query("work", query)
        assert hit.payload == {}


@pytest.mark.parametrize(
    ("distance", "scores"),
    [
        (Distance.COSINE, {1: 1.0, 2: 0.6}),
        (Distance.DOT, {1: 1.0, 2: 3.0}),
        (Distance.EUCLID, {1: 0.0, 2: math.sqrt(20)}),
        (Distance.MANHATTAN, {1: 0.0, 2: 6.0}),
    ],
)
async def test_each_distance_gives_its_scores(
    engine: VectorEngine, distance: Distance, scores: dict[int, float]
) -> None:
    await engine.create("work", CollectionSpec(2, distance))
    await engine.upsert("work", [point(1, 1.0, 0.0), point(2, 3.0, 4.0)])

    hits = await engine.query("work", Query(dense=[1.0, 0.0]))

    assert {hit.id: hit.score for hit in hits} == pytest.approx(scores, abs=1e-4)


async def test_cosine_looks_at_directions_however_long_the_vector(work: Collection) -> None:
    for scale in (1e-30, 1e-5, 1e30):
        await work.write(point(1, scale, 0, 0, 0), point(2, scale, scale, 0, 0))

        hits = await work.engine.query("work", Query(dense=[scale, scale, 0, 0]))

        assert [(hit.id, round(hit.score, 4)) for hit in hits] == [(2, 1.0), (1, 0.7071)]


async def test_equal_scores_are_ordered_by_id(work: Collection) -> None:
    await work.write(*(point(i, 1.0, 0, 0, 0) for i in (UUID_B, 3, UUID_A, 1, 2)))

    assert await work.found(Query(dense=[1.0, 0, 0, 0])) == [1, 2, 3, UUID_A, UUID_B]


async def test_offset_limit_and_threshold_cut_the_ranking(work: Collection) -> None:
    await work.write(*(point(n, 1.0, n / 10, 0, 0) for n in range(10)))
    query = Query(dense=[1.0, 0, 0, 0])

    assert await work.found(replace(query, limit=3)) == [0, 1, 2]
    assert await work.found(replace(query, limit=3, offset=8)) == [8, 9]
    assert await work.found(replace(query, score_threshold=0.98)) == [0, 1, 2]
    assert await work.found(replace(query, limit=2, exact=True)) == [0, 1]


async def test_sparse_search_weighs_rare_words_more(work: Collection) -> None:
    await work.write(words(1, 10, 20), words(2, 10), words(3, 10), words(4, 30))

    hits = await work.engine.query("work", Query(sparse=SparseVector([10, 20], [1.0, 1.0])))

    assert [hit.id for hit in hits] == [1, 2, 3]
    assert hits[0].score > 2 * hits[1].score
    # Qdrant's inverse document frequency: ln((N - n + 0.5) / (n + 0.5) + 1), N = 4, n = 3.
    assert hits[1].score == pytest.approx(2 * math.log(1.5 / 3.5 + 1), abs=1e-4)


async def test_a_query_without_words_finds_nothing_by_words(work: Collection) -> None:
    await work.write(words(1, 10), point(2))
    nothing = SparseVector([], [])

    assert await work.found(Query(sparse=nothing)) == []
    assert await work.found(Query(sparse=nothing, dense=[1.0, 2, 3, 4])) == [2]


async def test_bm25_finds_texts_by_stem(work: Collection) -> None:
    bm25 = Bm25()
    texts = ["The quick brown foxes jump", "Lazy dogs sleep all day", "A fox and a dog"]
    await work.write(
        *(Point(n, sparse=bm25.document(text), payload={"n": n}) for n, text in enumerate(texts))
    )

    assert await work.found(Query(sparse=bm25.query("jumping fox"))) == [0, 2]
    assert set(await work.found(Query(sparse=bm25.query("dog")))) == {1, 2}


async def test_fused_search_adds_reciprocal_ranks(work: Collection) -> None:
    await work.write(
        Point(1, [1.0, 0, 0, 0], SparseVector([7], [1.0])),
        Point(2, [1.0, 0.1, 0, 0], SparseVector([7], [3.0])),
        Point(3, [1.0, 0.2, 0, 0], SparseVector([7], [2.0])),
    )
    query = Query(dense=[1.0, 0, 0, 0], sparse=SparseVector([7], [1.0]))

    hits = await work.engine.query("work", query)

    # By vector 1, 2, 3; by words 2, 3, 1.
    expected = {1: 1 / 2 + 1 / 4, 2: 1 / 3 + 1 / 2, 3: 1 / 4 + 1 / 3}
    assert [hit.id for hit in hits] == [2, 1, 3]
    assert {hit.id: hit.score for hit in hits} == pytest.approx(expected, abs=1e-6)
    weighted = replace(query, dense_weight=3.0)
    assert await work.found(weighted) == [1, 2, 3]
    assert await work.found(replace(query, sparse_weight=0.0)) == [1, 2, 3]
    assert await work.found(replace(query, dense_weight=0.0)) == [2, 3, 1]
    assert await work.found(replace(query, limit=1, offset=1)) == [1]
    assert await work.found(replace(query, score_threshold=0.7)) == [2, 1]


async def test_filters_hold_in_every_kind_of_search(work: Collection) -> None:
    sparse = SparseVector([7], [1.0])
    await work.write(*(Point(n, [1.0, n, 0, 0], sparse, {"seq": n}) for n in range(6)))
    late = Query(dense=[1.0, 0, 0, 0], sparse=sparse, filter=Range("seq", gt=3))

    for query in (late, replace(late, dense=None), replace(late, sparse=None)):
        assert await work.found(query) == [4, 5]


BAD_QUERIES: list[tuple[dict[str, Any], str]] = [
    ({"dense": None}, "query"),
    ({"dense": [1.0]}, "query.dense"),
    ({"dense": [math.nan] * 4}, "query.dense"),
    ({"dense": [0.0] * 4}, "query.dense"),
    ({"sparse": SparseVector([1], [])}, "query.sparse"),
    ({"limit": 0}, "limit"),
    ({"limit": MAX_PAGE + 1}, "limit"),
    ({"offset": -1}, "offset"),
    ({"offset": MAX_WINDOW}, "offset"),
    ({"score_threshold": math.nan}, "score_threshold"),
    ({"sparse_weight": -1.0}, "sparse_weight"),
    ({"sparse_weight": 0.0, "dense_weight": 0.0}, "dense_weight"),
    ({"filter": Match("a b", ["x"])}, "filter.key"),
]


async def test_a_query_that_makes_no_sense_is_refused(work: Collection) -> None:
    for change, field in BAD_QUERIES:
        with pytest.raises(InvalidInput) as refused:
            await work.engine.query("work", replace(Query(dense=[1.0, 2, 3, 4]), **change))
        assert refused.value.field == field


# Filters


SELECTIONS: list[tuple[Condition, list[PointId]]] = [
    (Match("name", ["ann"]), [1, 3]),
    (Match("name", ["ann", "bob"]), [1, 2, 3]),
    (Match("name", []), []),
    (Match("age", [30]), [1]),
    (Match("age", [30, 41]), [1, 2]),
    (Match("name", ["bob", 7]), [2]),
    (Match("flag", [True]), [1]),
    (Match("flag", [False]), [2]),
    (Match("flag", [True, False]), [1, 2]),
    (Match("deep.er", ["x"]), [3]),
    (Match("rows[].n", [2]), [3]),
    (Match('"odd key"', ["o"]), [4]),
    (Range("age", gte=30, lt=41), [1]),
    (Range("age", gt=30), [2]),
    (Range("age", lte=30.5), [1]),
    (DatetimeRange("at", gte="2026-01-02T00:00:00Z"), [2]),
    (DatetimeRange("at", lt="2026-01-02T00:00:00+01:00"), [1]),
    (Missing("name"), [4, UUID_A]),
    (Missing("tags"), [1, 3, 4, UUID_A]),
    (HasId([1, UUID_A.upper(), 77]), [1, UUID_A]),
    (HasId([]), []),
    (AllOf([Match("name", ["ann"]), Match("flag", [True])]), [1]),
    (AllOf([]), [1, 2, 3, 4, UUID_A]),
    (AnyOf([Match("age", [41]), HasId([4])]), [2, 4]),
    (AnyOf([]), []),
    (NoneOf([Missing("name"), Match("age", [30])]), [2, 3]),
    (NoneOf([]), [1, 2, 3, 4, UUID_A]),
    (AllOf([NoneOf([Match("name", ["ann"])]), AnyOf([HasId([1, 2]), HasId([4])])]), [2, 4]),
]


async def test_filters_select(work: Collection) -> None:
    await work.write(
        point(1, name="ann", age=30, flag=True, at="2026-01-01T12:00:00Z"),
        point(2, name="bob", age=41, flag=False, at="2026-01-03T00:00:00+02:00", tags=["t"]),
        point(3, name=["cy", "ann"], deep={"er": "x"}, rows=[{"n": 1}, {"n": 2}], tags=[]),
        point(4, **{"odd key": "o"}),
        point(UUID_A, name=None),
    )

    assert [(c, await work.ids(c)) for c, _ in SELECTIONS] == SELECTIONS
    counts = [await work.engine.count("work", condition) for condition, _ in SELECTIONS]
    assert counts == [len(expected) for _, expected in SELECTIONS]


BAD_FILTERS: list[tuple[Condition, str]] = [
    (Match("", ["a"]), "filter.key"),
    (Match("a[", ["a"]), "filter.key"),
    (Match("a", [1.5]), "filter.any_of[0]"),  # type: ignore[list-item]
    (Match("a", [2**63]), "filter.any_of[0]"),
    (Match("a", ["x"] * (MAX_IDS + 1)), "filter.any_of"),
    (Range("a"), "filter"),
    (Range("a", gt=math.nan), "filter.gt"),
    (DatetimeRange("a", gt="yesterday"), "filter.gt"),
    (DatetimeRange("a", lte="2026-01-01T00:00:00"), "filter.lte"),
    (HasId(["x"]), "filter.ids[0]"),
    (AllOf([NoneOf([HasId([-1])])]), "filter.conditions[0].conditions[0].ids[0]"),
]


async def test_filters_that_make_no_sense_are_refused(work: Collection) -> None:
    for condition, field in BAD_FILTERS:
        for call in (
            work.engine.count("work", condition),
            work.engine.scroll("work", filter=condition),
            work.engine.delete("work", condition),
        ):
            with pytest.raises(InvalidInput) as refused:
                await call
            assert refused.value.field == field


# Scrolling


async def test_scrolling_pages_through_all_points_in_id_order(work: Collection) -> None:
    await work.write(*(point(n) for n in (5, 3, 11, 2, 7)), point(UUID_B), point(UUID_A))

    pages, cursor = [], None
    while True:
        page = await work.engine.scroll("work", limit=3, cursor=cursor)
        pages.append([record.id for record in page.records])
        cursor = page.next_cursor
        if cursor is None:
            break

    assert pages == [[2, 3, 5], [7, 11, UUID_A], [UUID_B]]


async def test_a_cursor_stays_valid_while_points_come_and_go(work: Collection) -> None:
    await work.write(*(point(n) for n in range(10)))
    first = await work.engine.scroll("work", limit=4)
    assert first.next_cursor == 4

    await work.engine.delete("work", [0, 4, 5])
    await work.write(point(1000))
    rest = await work.engine.scroll("work", cursor=first.next_cursor, limit=100)

    assert [record.id for record in rest.records] == [6, 7, 8, 9, 1000]
    assert rest.next_cursor is None


async def test_scrolling_filters_and_brings_vectors(work: Collection) -> None:
    await work.write(*(Point(n, [1.0, 0, 0, 0], None, {"seq": n}) for n in range(700)))

    page = await work.engine.scroll(
        "work", filter=Range("seq", gte=100), limit=600, with_vectors=True
    )

    assert [record.id for record in page.records] == list(range(100, 700))
    assert all(record.dense == [1, 0, 0, 0] for record in page.records)
    assert page.next_cursor is None


async def test_a_page_has_a_size(work: Collection) -> None:
    for limit in (0, -1, MAX_PAGE + 1, True):
        with pytest.raises(InvalidInput, match=f"1 to {MAX_PAGE}"):
            await work.engine.scroll("work", limit=limit)


async def test_a_cursor_is_a_point_id(work: Collection) -> None:
    with pytest.raises(InvalidInput) as refused:
        await work.engine.scroll("work", cursor="elsewhere")
    assert refused.value.field == "cursor"


# Facets and indexes


async def test_facets_count_values_most_frequent_first(work: Collection) -> None:
    await work.write(
        *(point(n, seq=n % 2, document_id="ab"[n % 2]) for n in range(5)),
        point(5, document_id=["a", "c"]),
    )

    assert await work.engine.facet("work", "document_id") == [
        FacetCount("a", 4),
        FacetCount("b", 2),
        FacetCount("c", 1),
    ]
    assert await work.engine.facet("work", "seq") == [FacetCount(0, 3), FacetCount(1, 2)]
    assert await work.engine.facet("work", "seq", filter=HasId([1, 3]), limit=1) == [
        FacetCount(1, 2)
    ]


async def test_facets_forget_values_that_no_point_has_any_more(work: Collection) -> None:
    await work.write(point(1, seq=1), point(2, seq=2), point(3, seq=3))

    await work.write(point(1, seq=2))
    await work.engine.delete("work", [3])

    assert await work.engine.facet("work", "seq") == [FacetCount(2, 2)]


async def test_facets_know_booleans(work: Collection) -> None:
    await work.engine.create_index("work", "good", IndexKind.BOOL)
    await work.write(point(1, good=True), point(2, good=False), point(3, good=True))

    counts = await work.engine.facet("work", "good")

    assert [(count.value, count.count) for count in counts] == [(True, 2), (False, 1)]
    assert all(type(count.value) is bool for count in counts)


async def test_facets_need_an_index_that_knows_values(work: Collection) -> None:
    await work.engine.create_index("work", "weight", IndexKind.FLOAT)
    for key in ("label", "weight"):
        with pytest.raises(InvalidInput, match="keyword, integer or bool") as refused:
            await work.engine.facet("work", key)
        assert refused.value.field == "key"


async def test_indexes_of_every_kind_are_made_and_remembered(work: Collection) -> None:
    await work.write(point(1, **dict.fromkeys(IndexKind, "x")))

    for kind in IndexKind:
        await work.engine.create_index("work", kind.value, kind)
        await work.engine.create_index("work", kind.value, kind)
    await work.engine.release("work")

    indexes = (await work.engine.info("work")).indexes
    assert {kind: indexes[kind.value] for kind in IndexKind} == {k: k for k in IndexKind}
    assert await work.ids() == [1]


async def test_an_index_covers_what_was_written_before(work: Collection) -> None:
    await work.write(point(1, label="x"), point(2, label="x"))
    await work.engine.create_index("work", "label", IndexKind.KEYWORD)
    await work.write(point(3, label="y"))

    assert await work.engine.facet("work", "label") == [FacetCount("x", 2), FacetCount("y", 1)]


async def test_an_index_of_another_kind_is_a_conflict(work: Collection) -> None:
    with pytest.raises(Conflict, match="indexed as integer already"):
        await work.engine.create_index("work", "seq", IndexKind.KEYWORD)


# The engine itself


async def test_flushing_and_releasing_lose_nothing(work: Collection) -> None:
    await work.write(point(1, a=1))
    await work.engine.flush("work")
    await work.write(point(2))
    await work.engine.release("work")

    assert await work.ids() == [1, 2]
    await work.write(point(3))
    await work.engine.flush("work")
    await work.engine.flush("work")
    assert await work.ids() == [1, 2, 3]


async def test_an_engine_tells_its_version_until_it_is_closed(engine: VectorEngine) -> None:
    assert await engine.ping()

    await engine.close()
    await engine.close()

    with pytest.raises(Unavailable):
        await engine.ping()
    with pytest.raises(Unavailable):
        await engine.exists("work")


async def test_a_server_that_is_down_is_unavailable_and_nothing_worse() -> None:
    engine = await QdrantEngine.open("http://127.0.0.1:9", grpc_port=9, timeout=2)
    calls = [
        engine.ping,
        lambda: engine.exists("a"),
        lambda: engine.create("a", CollectionSpec(2)),
        lambda: engine.upsert("a", [point(1)]),
        lambda: engine.scroll("a"),
        lambda: engine.count("a"),
    ]
    for call in calls:
        with pytest.raises(Unavailable) as down:
            await call()
        assert down.value.retry_after
    await engine.close()
