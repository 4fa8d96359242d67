"""Reading a collection to its end, copying it whole, and filling it, on every engine."""

from __future__ import annotations

import asyncio
import random

import pytest

from quire.errors import InvalidInput
from quire.vectors.digest import Digest, digest_of
from quire.vectors.port import (
    STANDARD_INDEXES,
    CollectionSpec,
    CopyPath,
    Distance,
    FacetCount,
    IndexKind,
    Match,
    Point,
    PointId,
    Query,
    Range,
    Record,
    SparseVector,
    VectorEngine,
)
from tests.contract.points import Collection, point

UUID = "0a0eebc9-9c0b-4ef8-bb6d-6bb9bd380a11"
MANY = 1_300
"""More than two batches of a stream, and more than one page of ids."""


def varied(count: int, first: int = 0) -> list[Point]:
    chance = random.Random(first)
    return [
        Point(
            n,
            [chance.gauss(0, 1) for _ in range(4)],
            SparseVector([n % 5, 7], [chance.random(), 1.0]) if n % 3 else None,
            {"seq": n, "label": "ab"[n % 2], "weight": chance.random()},
        )
        for n in range(first, first + count)
    ]


async def filled(work: Collection, count: int = MANY) -> None:
    points = varied(count)
    for start in range(0, count, 1_000):
        await work.write(*points[start : start + 1_000])


async def streamed(engine: VectorEngine, name: str = "work", **options: object) -> list[Record]:
    return [r async for batch in engine.stream(name, **options) for r in batch]  # type: ignore[arg-type]


async def listed(engine: VectorEngine, name: str = "work", **options: object) -> list[PointId]:
    return [i async for batch in engine.ids(name, **options) for i in batch]  # type: ignore[arg-type]


async def digest(engine: VectorEngine, name: str) -> Digest:
    return digest_of(await streamed(engine, name))


# Streams


async def test_a_stream_gives_every_point_whole_and_in_order(work: Collection) -> None:
    await filled(work)
    await work.write(point(UUID, kind="uuid"), point(2**64 - 1))
    expected = [*range(MANY), 2**64 - 1, UUID]

    batches = [batch async for batch in work.engine.stream("work")]

    records = [record for batch in batches for record in batch]
    assert [record.id for record in records] == expected
    assert all(1 <= len(batch) <= 512 for batch in batches)
    wanted = [0, 1, 700, UUID]
    by_id = {record.id: record for record in records}
    assert [by_id[i] for i in wanted] == await work.engine.retrieve(
        "work", wanted, with_vectors=True
    )


async def test_ids_come_in_order_in_pages(work: Collection) -> None:
    await filled(work)
    await work.write(point(UUID), point(2**64 - 1))

    pages = [page async for page in work.engine.ids("work")]

    assert [i for page in pages for i in page] == [*range(MANY), 2**64 - 1, UUID]
    assert all(1 <= len(page) <= 1_000 for page in pages)


async def test_nothing_comes_from_an_empty_collection(work: Collection) -> None:
    assert await streamed(work.engine) == []
    assert await listed(work.engine) == []
    await work.write(point(1))
    assert await streamed(work.engine, filter=Match("label", ["none"])) == []
    assert await listed(work.engine, cursor=2) == []


async def test_a_cursor_and_a_filter_are_where_it_begins_and_what_it_gives(
    work: Collection,
) -> None:
    await filled(work, 900)
    options = {"filter": Match("label", ["a"]), "cursor": 301}
    expected = list(range(302, 900, 2))

    assert [record.id for record in await streamed(work.engine, **options)] == expected
    assert await listed(work.engine, **options) == expected
    assert await listed(work.engine, filter=Range("seq", lt=3)) == [0, 1, 2]


async def test_a_cursor_that_is_no_id_is_refused(work: Collection) -> None:
    for read in (streamed, listed):
        with pytest.raises(InvalidInput) as refused:
            await read(work.engine, cursor="x")
        assert refused.value.field == "cursor"


async def test_a_stream_that_is_left_early_leaves_nothing_running(work: Collection) -> None:
    await filled(work)
    before = asyncio.all_tasks()

    for answers in (work.engine.stream("work"), work.engine.ids("work")):
        assert (await anext(answers))[0] is not None
        await answers.aclose()

    assert asyncio.all_tasks() == before
    await work.engine.drop("work")


async def test_a_stream_that_is_cancelled_leaves_nothing_running(work: Collection) -> None:
    await filled(work)
    before = asyncio.all_tasks()
    for _ in range(5):
        reading = asyncio.create_task(streamed(work.engine))
        await asyncio.sleep(random.uniform(0, 0.03))
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    assert asyncio.all_tasks() == before
    assert len(await streamed(work.engine)) == MANY


async def test_points_that_go_while_a_stream_is_read_are_left_out(work: Collection) -> None:
    await filled(work)
    seen: list[PointId] = []

    async for batch in work.engine.stream("work"):
        if not seen:
            await work.engine.delete("work", Range("seq", gte=1_250))
        seen += [record.id for record in batch]

    assert seen[:1_250] == list(range(1_250))
    assert seen == sorted(set(seen))


# Copies


async def copy(work: Collection, target: str = "copy") -> bool:
    """Whether the engine copies at all; the double does not."""
    path = await work.engine.copy("work", target)
    assert path is {"edge": CopyPath.CLONE, "qdrant": CopyPath.SNAPSHOT}.get(work.engine.name) or (
        path is None and not await work.engine.exists(target)
    )
    return path is not None


async def test_a_copy_is_the_same_to_every_question(engine: VectorEngine) -> None:
    indexes = {**STANDARD_INDEXES, "label": IndexKind.KEYWORD}
    await engine.create("work", CollectionSpec(4, Distance.DOT, indexes))
    work = Collection(engine, "work")
    await filled(work)
    if not await copy(work):
        return

    source, target = await engine.info("work"), await engine.info("copy")
    assert (target.points_count, target.indexes) == (source.points_count, source.indexes)
    assert await digest(engine, "copy") == await digest(engine, "work")
    question = Query([1.0, 0.5, 0, 0], SparseVector([3], [1.0]), Match("label", ["a"]))
    assert await engine.query("copy", question) == await engine.query("work", question)
    counts = [FacetCount("a", MANY // 2), FacetCount("b", MANY // 2)]
    assert await engine.facet("copy", "label") == counts


async def test_an_empty_collection_is_copied_too(work: Collection) -> None:
    if await copy(work):
        assert await work.engine.count("copy") == 0
        await work.engine.upsert("copy", [point(1)])
        assert await work.ids() == []


async def test_a_copy_replaces_what_was_there(work: Collection) -> None:
    await filled(work, 30)
    await work.engine.create("copy", CollectionSpec(2))
    await work.engine.upsert("copy", [point(n, 1.0, 0.5) for n in range(50)])
    if not await work.engine.copy("work", "copy"):
        assert await work.engine.count("copy") == 50
        return

    assert await digest(work.engine, "copy") == await digest(work.engine, "work")
    await work.write(point(99))
    await work.engine.copy("work", "copy")
    assert await work.engine.count("copy") == 31


async def test_a_copy_and_its_source_go_ways_of_their_own(work: Collection) -> None:
    await filled(work, 30)
    if not await copy(work):
        return

    await work.write(point(100))
    await work.engine.delete("copy", [1, 2])
    await work.engine.create_index("copy", "label", IndexKind.KEYWORD)
    for name in ("work", "copy"):
        await work.engine.release(name)

    assert await work.ids() == [*range(30), 100]
    assert await listed(work.engine, "copy") == [0, *range(3, 30)]
    assert "label" not in (await work.engine.info("work")).indexes
    await work.engine.drop("work")
    assert await work.engine.count("copy") == 28


async def test_a_collection_is_copied_while_it_is_read_and_written(work: Collection) -> None:
    await filled(work, 600)
    written = 600
    done = asyncio.Event()

    async def write() -> None:
        nonlocal written
        while not done.is_set():
            await work.write(*varied(10, written))
            written += 10
            await asyncio.sleep(0)  # the double never waits by itself

    async def read() -> None:
        while not done.is_set():
            assert len(await work.engine.retrieve("work", range(100))) == 100
            assert await work.found(Query([1.0, 0, 0, 0], limit=1))
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        group.create_task(read())
        copied = await copy(work)
        done.set()

    await work.engine.release("work")
    assert await work.ids(Range("seq", lt=900)) == list(range(min(written, 900)))
    assert await work.engine.count("work") == written
    if copied:
        found = await listed(work.engine, "copy")
        # Acknowledged one after the other, so a state that once was has no gap.
        assert found == list(range(len(found)))
        assert 600 <= len(found) <= written


async def test_copies_of_one_collection_at_once_are_all_whole(work: Collection) -> None:
    await filled(work, 30)
    targets = ["other", "third", "work-2"]
    paths = await asyncio.gather(*(work.engine.copy("work", name) for name in targets))
    if any(paths):
        assert all(paths)
        assert [await work.engine.count(name) for name in targets] == [30] * 3


async def test_a_collection_is_not_copied_onto_itself(work: Collection) -> None:
    await work.write(point(1))
    with pytest.raises(InvalidInput, match="onto itself"):
        await work.engine.copy("work", "work")
    with pytest.raises(InvalidInput):
        await work.engine.copy("work", "../up")
    assert await work.ids() == [1]


# Filling


async def test_filling_may_begin_and_end_again_and_changes_no_answer(work: Collection) -> None:
    await work.engine.begin_filling("work")
    await work.engine.begin_filling("work")
    await filled(work, 30)
    assert await work.engine.count("work") == 30
    await work.engine.end_filling("work")
    await work.engine.end_filling("work")
    assert await work.ids() == list(range(30))


# What is written stays, to the last bit


async def test_what_is_read_and_written_again_does_not_change(engine: VectorEngine) -> None:
    chance = random.Random(3)
    points = [
        Point(
            n,
            [chance.gauss(0, 100) for _ in range(48)],
            SparseVector([9, 2], [chance.random(), -chance.random()]),
            {"x": chance.random(), "y": [chance.gauss(0, 1) * 10 ** chance.randint(-300, 290)]},
        )
        for n in range(400)
    ]
    for name in ("one", "two"):
        await engine.create(name, CollectionSpec(48))
    await engine.upsert("one", points)
    first = await streamed(engine, "one")

    again = [Point(r.id, r.dense, r.sparse, r.payload) for r in first]
    await engine.upsert("two", again)

    assert await streamed(engine, "two") == first
