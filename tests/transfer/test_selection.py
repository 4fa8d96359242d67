"""Selections: what they admit, and that a job's parameters say it again."""

from __future__ import annotations

from typing import Any

import pytest

from quire.transfer.selection import (
    ByDocuments,
    ByFilter,
    ByIds,
    BySeq,
    ByShare,
    ByValue,
    Everything,
    Except,
    Selection,
    selected,
    selection_from,
)
from quire.vectors.port import CollectionSpec, Match, NoneOf, Point
from quire.vectors.server import QdrantEngine

SELECTIONS: list[Selection] = [
    Everything(),
    ByIds([1, "5c56c793-69f3-4fbf-87e6-c4bf54c28c26"]),
    ByFilter({"a": {"gte": 1}}),
    ByDocuments(["d"]),
    ByValue("cluster", "x"),
    BySeq(1, 5),
    ByShare(7, 0.25, 0.5),
    Except(ByValue("cluster", 1), [ByIds([1]), ByShare(7, 0, 0.5)]),
]


@pytest.mark.parametrize("selection", SELECTIONS, ids=lambda s: type(s).__name__)
def test_a_selection_is_read_back_as_it_was_written(selection: Selection) -> None:
    again = selection_from(selection.as_json())
    assert again == selection
    assert again.condition() == selection.condition()
    assert [again.admits(n) for n in range(50)] == [selection.admits(n) for n in range(50)]


def test_shares_part_all_points_and_follow_from_ids_alone() -> None:
    shares = [ByShare(3, 0, 0.2), ByShare(3, 0.2, 1)]
    admitted = [{n for n in range(20_000) if share.admits(n)} for share in shares]
    assert not admitted[0] & admitted[1]
    assert len(admitted[0]) + len(admitted[1]) == 20_000
    assert len(admitted[0]) == pytest.approx(4_000, rel=0.05)
    other = {n for n in range(20_000) if ByShare(4, 0, 0.2).admits(n)}
    assert len(other & admitted[0]) == pytest.approx(800, rel=0.2)


def test_values_of_one_field_are_one_condition() -> None:
    left = Except(Everything(), [ByValue("c", n) for n in range(500)])
    assert left.condition() == NoneOf([Match("c", list(range(500)))])


SOME = [
    (Everything(), range(100)),
    (ByIds([5, 3, 3, 700]), [3, 5]),
    (ByValue("c", 1), range(1, 100, 10)),
    (Except(Everything(), [ByIds([*range(90)])]), range(90, 100)),
    (Except(ByIds([1, 2, 3]), [ByValue("c", 2), ByIds([3])]), [1]),
    (Except(ByFilter({"c": [1, 2]}), [ByIds([1, 2]), ByValue("c", 2)]), range(11, 100, 10)),
]


@pytest.mark.parametrize(("selection", "expected"), SOME)
async def test_selected_points_come_whole_in_the_order_of_their_ids(
    selection: Selection, expected: Any
) -> None:
    engine = QdrantEngine.in_memory()
    try:
        await engine.create("c", CollectionSpec(2))
        points = [Point(n, [1.0, n + 1.0], payload={"c": n % 10}) for n in range(100)]
        await engine.upsert("c", points)

        async def found(after: int | None) -> list[Any]:
            stream = selected(engine, "c", selection, shown=None, after=after)
            records = [record async for batch in stream for record in batch]
            assert all(record.dense and record.payload for record in records)
            return [record.id for record in records]

        assert await found(None) == list(expected)
        assert await found(3) == [n for n in expected if n > 3]
    finally:
        await engine.close()
