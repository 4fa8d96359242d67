"""What is wrong with points is said exactly, with its place, and nothing is written."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from quire.errors import InvalidInput, LimitExceeded, PointNotFound
from quire.points import facets
from quire.points.requests import PointQuery, Selection
from quire.settings import LimitSettings
from quire.vectors.port import Match, SparseVector
from tests.points.workspace import ids_in, of, on_edge, payload_of, vector, with_points
from tests.sessions.house import ADA

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quire.app import Quire
    from quire.sessions.models import Session

pytestmark = pytest.mark.asyncio(loop_scope="module")

FINE = {"id": 1, "vector": [1.0, 0.0, 0.0, 0.0]}


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def point(**fields: Any) -> dict[str, Any]:
    return {**FINE, **fields}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quire]:
    limits = LimitSettings(points=20, query_chars=200)
    async with on_edge(tmp_path_factory.mktemp("edge"), limits=limits) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def empty(quire: Quire) -> Session:
    """Nothing is in it, and nothing that these tests send gets in."""
    return await with_points(quire)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(quire: Quire) -> Session:
    """A session of two points, which nothing here changes."""
    return await with_points(quire, 2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedding(quire: Quire) -> Session:
    """An empty session that takes texts."""
    return await with_points(quire, dimension=None)


BAD_POINTS: dict[str, tuple[Any, str, str]] = {
    "no object": (7, "", "must be an object"),
    "an unknown field": (point(vectr=[1]), ".vectr", "there is no such field"),
    "a boolean as id": (point(id=True), ".id", "unsigned 64-bit integer or a UUID"),
    "a negative id": (point(id=-1), ".id", "unsigned 64-bit integer or a UUID"),
    "an oversized id": (point(id=2**64), ".id", "unsigned 64-bit integer or a UUID"),
    "a float as id": (point(id=1.0), ".id", "unsigned 64-bit integer or a UUID"),
    "a name as id": (point(id="chunk-1"), ".id", "unsigned 64-bit integer or a UUID"),
    "neither vector nor text": ({"id": 1}, ".vector", "neither"),
    "both vector and text": (point(text="both"), ".vector", "both"),
    "a vector too short": (point(vector=[1, 2, 3]), ".vector", "has 3 values"),
    "a vector too long": (point(vector=[1] * 5), ".vector", "collection's have 4"),
    "an empty vector": (point(vector=[]), ".vector", "has 0 values"),
    "a vector that is a text": (point(vector="1234"), ".vector", "list of numbers"),
    "a word in a vector": (point(vector=[1, "2", 3, 4]), ".vector", "no finite number"),
    "null in a vector": (point(vector=[1, None, 3, 4]), ".vector", "no finite number"),
    "NaN in a vector": (point(vector=[1, math.nan, 3, 4]), ".vector", "Value 1"),
    "infinity in a vector": (point(vector=[math.inf, 2, 3, 4]), ".vector", "Value 0"),
    "a value beyond 32-bit floats": (point(vector=[1, 2, 3, 1e39]), ".vector", "Value 3"),
    "a zero vector": (point(vector=[0, 0, 0, 0]), ".vector", "all zeros"),
    "a payload that is a list": (point(payload=[]), ".payload", "must be an object"),
    "Quire's own field": (point(payload={"_stage": "in:1"}), ".payload._stage", "Quire's own"),
    "NaN in a payload": (point(payload={"a": [1, math.nan]}), ".payload.a[1]", "finite"),
    "an integer beyond 64 bits": (point(payload={"n": 2**63}), ".payload.n", "64-bit"),
    "a payload too deep": (point(payload=nested(40)), ".payload" + ".a" * 33, "deeper than 32"),
    "half a surrogate pair": (point(payload={"a": "\ud800"}), ".payload.a", "surrogate"),
    "half a pair in a key": (point(payload={"\ud800": 1}), ".payload", "valid Unicode"),
    "a sparse vector that is a list": (point(sparse=[1]), ".sparse", "must be an object"),
    "an unknown field in it": (point(sparse={"index": []}), ".sparse.index", "no such field"),
    "indices without values": (point(sparse={"indices": [1]}), ".sparse", "1 indices and 0"),
    "a repeated index": (
        point(sparse={"indices": [1, 1], "values": [1, 2]}),
        ".sparse",
        "an index twice",
    ),
    "a negative index": (point(sparse={"indices": [-1], "values": [1]}), ".sparse", "32-bit"),
    "NaN in a sparse vector": (
        point(sparse={"indices": [1], "values": [math.nan]}),
        ".sparse",
        "finite",
    ),
    "a text in a session of ready-made vectors": ({"text": "to embed"}, ".text", "send a vector"),
}


@pytest.mark.parametrize("case", BAD_POINTS)
async def test_one_bad_point_refuses_the_whole_request(
    quire: Quire, empty: Session, case: str
) -> None:
    # given
    session = await quire.sessions.peek(ADA, empty.id)
    bad, below, told = BAD_POINTS[case]
    points = [FINE, point(id=2), point(id=3), bad, point(id=4)]
    # when
    with pytest.raises(InvalidInput) as refusal:
        await quire.points.upsert(ADA, session.id, points)
    # then
    assert refusal.value.field == f"points[3]{below}"
    assert f"points[3]{below}" in refusal.value.message
    assert told in refusal.value.message
    assert await ids_in(quire, session) == []
    assert (await quire.sessions.peek(ADA, session.id)).version == session.version


BAD_TEXTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "blank": ({"text": " \n"}, ".text", "blank"),
    "a number": ({"text": 5}, ".text", "must be a string"),
    "NUL": ({"text": "a\x00b"}, ".text", "NUL at character 1"),
    "half a surrogate pair": ({"text": "ab\udc00"}, ".text", "at character 2"),
    "another text in the payload": (
        {"text": "a", "payload": {"text": "b"}},
        ".payload.text",
        "differs",
    ),
    "longer than the window": ({"text": "word " * 5_000}, ".text", "tokens; the model takes in"),
}


@pytest.mark.parametrize("case", BAD_TEXTS)
async def test_one_bad_text_refuses_the_whole_request(
    quire: Quire, embedding: Session, case: str
) -> None:
    bad, below, told = BAD_TEXTS[case]
    with pytest.raises(InvalidInput, match=told) as refusal:
        await quire.points.upsert(ADA, embedding.id, [{"text": "fine"}, bad])
    assert refusal.value.field == f"points[1]{below}"
    assert f"points[1]{below}" in refusal.value.message
    assert len(refusal.value.message) < 300
    assert await ids_in(quire, embedding) == []


async def test_a_text_over_the_window_is_pointed_to_documents(
    quire: Quire, embedding: Session
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        await quire.points.upsert(ADA, embedding.id, [{"text": "word " * 5_000}])
    assert refusal.value.details["tokens"] > refusal.value.details["window"] > 0
    assert "/documents" in refusal.value.recovery


async def test_as_many_points_as_are_allowed_and_no_more(quire: Quire) -> None:
    session = await with_points(quire)
    points = [point(id=n) for n in range(21)]
    with pytest.raises(LimitExceeded, match="QUIRE_LIMITS_POINTS"):
        await quire.points.upsert(ADA, session.id, points)
    with pytest.raises(InvalidInput, match="is empty"):
        await quire.points.upsert(ADA, session.id, [])
    done = await quire.points.upsert(ADA, session.id, points[:20])
    assert done.points_count == 20


SELECTIONS: dict[str, tuple[Selection, str, str]] = {
    "nothing": (Selection(), "ids", "by ids, by a filter"),
    "ids and a filter": (Selection(ids=[1], filter=Match("a", [1])), "ids", "not both"),
    "ids and an empty filter": (Selection(ids=[1], filtered=True), "ids", "not both"),
    "ids and all": (Selection(ids=[1], everything=True), "ids", "not both"),
    "a filter and all": (Selection(filter=Match("a", [1]), everything=True), "all", "not both"),
    "an empty filter": (Selection(filtered=True), "filter", "every point"),
    "an id that is none": (Selection(ids=[1, "x"]), "ids[1]", "is no point id"),
}


@pytest.mark.parametrize("case", SELECTIONS)
async def test_a_selection_that_is_not_clear_selects_nothing(
    quire: Quire, two: Session, case: str
) -> None:
    selection, field, told = SELECTIONS[case]
    for write in (
        quire.points.delete(ADA, two.id, selection),
        quire.points.set_payload(ADA, two.id, {"label": 1}, selection),
    ):
        with pytest.raises(InvalidInput, match=told) as refusal:
            await write
        assert refusal.value.field == field
    assert await ids_in(quire, two) == [0, 1]
    assert await payload_of(quire, two, 0) == {"n": 0, "kind": "a"}


async def test_an_empty_filter_that_says_all_is_clear(quire: Quire) -> None:
    session = await with_points(quire, 2)
    everything = Selection(filtered=True, everything=True)
    assert await quire.points.delete(ADA, session.id, everything) == 2


BAD_FIELDS: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "no field"),
    "a list": ([1], "must be an object"),
    "null": (None, "must be an object"),
    "Quire's own field": ({"_stage": None}, "Quire's own"),
    "the text": ({"text": "other"}, "with its vectors only"),
    "NaN": ({"a": math.nan}, "finite"),
    "too deep": (nested(40), "deeper"),
}


@pytest.mark.parametrize("case", BAD_FIELDS)
async def test_payload_fields_are_checked_before_any_is_written(
    quire: Quire, two: Session, case: str
) -> None:
    fields, told = BAD_FIELDS[case]
    with pytest.raises(InvalidInput, match=told):
        await quire.points.set_payload(ADA, two.id, fields, of(0))
    fine = {"ids": [1], "payload": {"label": 1}}
    with pytest.raises(InvalidInput, match=told) as refusal:
        await quire.points.assign(ADA, two.id, [fine, {"ids": [0], "payload": fields}])
    assert (refusal.value.field or "").startswith("assignments[1].payload")
    assert await payload_of(quire, two, 1) == {"n": 1, "kind": "b"}


BAD_ASSIGNMENTS: dict[str, tuple[Any, str, str]] = {
    "no object": ([], "assignments[1]", "must be an object"),
    "no ids": ({"ids": [], "payload": {"a": 1}}, "assignments[1].ids", "list of point ids"),
    "a filter": ({"filter": {}, "payload": {"a": 1}}, "assignments[1].filter", "no such field"),
    "a bad id": ({"ids": [-1], "payload": {"a": 1}}, "assignments[1].ids[0]", "no point id"),
    "an id twice": ({"ids": [0], "payload": {"a": 1}}, "assignments[1].ids", "assignments[0] too"),
}


@pytest.mark.parametrize("case", BAD_ASSIGNMENTS)
async def test_one_bad_assignment_refuses_all(quire: Quire, two: Session, case: str) -> None:
    bad, field, told = BAD_ASSIGNMENTS[case]
    with pytest.raises(InvalidInput) as refusal:
        await quire.points.assign(ADA, two.id, [{"ids": [0], "payload": {"a": 2}}, bad])
    assert refusal.value.field == field
    assert told in refusal.value.message
    assert "a" not in await payload_of(quire, two, 0)


async def test_assignments_are_bounded(quire: Quire) -> None:
    session = await with_points(quire)
    one = {"ids": [1], "payload": {"a": 1}}
    with pytest.raises(LimitExceeded, match="QUIRE_LIMITS_POINTS"):
        await quire.points.assign(ADA, session.id, [one] * 21)
    many = [{"ids": list(range(n, n + 6_000)), "payload": {"a": 1}} for n in (0, 6_000)]
    with pytest.raises(LimitExceeded, match="12000 points; the most in one request is 10000"):
        await quire.points.assign(ADA, session.id, many)


BAD_QUERIES: dict[str, tuple[PointQuery, str, str]] = {
    "nothing": (PointQuery(), "vector", "exactly one"),
    "two ways": (PointQuery(vector=vector(1), like=1), "id", "vector and id"),
    "a wrong dimension": (PointQuery(vector=[1.0]), "vector", "has 1 values"),
    "a zero vector": (PointQuery(vector=[0.0] * 4), "vector", "all zeros"),
    "a bad id": (PointQuery(like=-1), "id", "no point id"),
    "a bad sparse vector": (PointQuery(sparse=SparseVector([1], [])), "sparse", "as many"),
    "a blank text": (PointQuery(text=" "), "text", "blank"),
    "a text without end": (PointQuery(text="x" * 201), "text", "QUIRE_LIMITS_QUERY_CHARS"),
    "a text for ready-made vectors": (PointQuery(text="x"), "text", "send a vector"),
    "a limit of nought": (PointQuery(vector=vector(1), limit=0), "limit", "1 to 1000"),
    "a limit beyond all": (PointQuery(vector=vector(1), limit=10**9), "limit", "1 to 1000"),
    "a negative offset": (PointQuery(vector=vector(1), offset=-1), "offset", "0 or more"),
    "an offset beyond all": (PointQuery(vector=vector(1), offset=10**9), "offset", "10000"),
    "a threshold that is no number": (
        PointQuery(vector=vector(1), score_threshold=math.nan),
        "score_threshold",
        "finite",
    ),
}


@pytest.mark.parametrize("case", BAD_QUERIES)
async def test_a_query_that_makes_no_sense_is_refused(
    quire: Quire, two: Session, case: str
) -> None:
    query, field, told = BAD_QUERIES[case]
    with pytest.raises(InvalidInput) as refusal:
        await quire.points.query(ADA, two.id, query)
    assert refusal.value.field == field
    assert told in refusal.value.message


async def test_a_point_like_one_that_is_not_there_cannot_be_looked_for(quire: Quire) -> None:
    session = await with_points(quire, 1)
    with pytest.raises(PointNotFound):
        await quire.points.query(ADA, session.id, PointQuery(like=5))


async def test_only_so_many_fields_are_indexed(
    quire: Quire, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await with_points(quire)
    await quire.points.upsert(ADA, session.id, [point(payload={"a": 1, "b": 1})])
    present = len((await quire.engine.info(session.collection)).indexes)
    monkeypatch.setattr(facets, "MAX_INDEXES", present + 1)
    await quire.points.facets(ADA, session.id, "a")
    with pytest.raises(LimitExceeded, match=f"{present + 1} fields of the session are"):
        await quire.points.facets(ADA, session.id, "b")
    assert len(await quire.points.facets(ADA, session.id, "a")) == 1
