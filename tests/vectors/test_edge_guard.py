"""The guard around the embedded engine: locks, templates, sealing, sweeping, open shards."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from quire.errors import ConfigurationError, StorageFull, Unavailable
from quire.vectors import edge_root
from quire.vectors.edge import EdgeEngine
from quire.vectors.edge_files import clone_tree, disk_bytes
from quire.vectors.port import CollectionSpec, IndexKind, Point, Query

SPEC = CollectionSpec(8)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EdgeEngine]:
    opened = await EdgeEngine.open(tmp_path, max_open=3)
    yield opened
    await opened.close()


def points(count: int, first: int = 0) -> list[Point]:
    return [
        Point(n, [1.0 + n % 7, *[float(n % 5)] * 7], None, {"seq": n})
        for n in range(first, first + count)
    ]


def shard(root: Path, name: str) -> Path:
    return root / "collections" / name[:2] / name / "shard"


def template(root: Path) -> Path:
    (only,) = (root / "templates").iterdir()
    return only


def tear(directory: Path) -> None:
    """Leave every file as a power cut may: there, but empty."""
    for path in directory.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


@pytest.fixture
def reboot(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A function after which the machine seems to have been started anew."""
    return lambda: monkeypatch.setattr(edge_root, "_this_boot", lambda: "another boot")


# One process


async def test_a_second_process_is_refused_and_does_no_harm(
    engine: EdgeEngine, tmp_path: Path
) -> None:
    await engine.create("work", SPEC)
    await engine.upsert("work", points(10))
    code = (
        "import asyncio, pathlib, sys\n"
        "from quire.vectors.edge import EdgeEngine\n"
        "asyncio.run(EdgeEngine.open(pathlib.Path(sys.argv[1]), max_open=1, lock_wait=0.1))\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(tmp_path), stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()

    assert process.returncode == 1
    assert f"in use by process {os.getpid()}" in said.decode()
    await engine.upsert("work", points(10, first=10))
    await engine.release("work")
    assert await engine.count("work") == 20


async def test_a_second_engine_of_the_same_process_is_refused_too(
    engine: EdgeEngine, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=f"in use by process {os.getpid()}") as refused:
        await EdgeEngine.open(tmp_path, max_open=1, lock_wait=0)
    assert "QUIRE_QDRANT_URL" in refused.value.recovery


async def test_a_closed_engine_frees_its_root(engine: EdgeEngine, tmp_path: Path) -> None:
    await engine.create("work", SPEC)
    await engine.upsert("work", points(3))
    await engine.close()

    again = await EdgeEngine.open(tmp_path, max_open=1, lock_wait=0)

    assert await again.count("work") == 3
    await again.close()


async def test_a_killed_process_frees_its_root(tmp_path: Path) -> None:
    code = (
        "import asyncio, pathlib, sys, time\n"
        "from quire.vectors.edge import EdgeEngine\n"
        "engine = asyncio.run(EdgeEngine.open(pathlib.Path(sys.argv[1]), max_open=1))\n"
        "print('open', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"open\n"
    process.kill()
    await process.wait()

    engine = await EdgeEngine.open(tmp_path, max_open=1)
    await engine.close()


async def test_a_forked_child_leaves_the_parents_shards_alone(engine: EdgeEngine) -> None:
    await engine.create("work", SPEC)
    await engine.upsert("work", points(5))

    child = os.fork()
    if child == 0:
        try:
            engine.ping().send(None)
        except Unavailable as error:
            os._exit(7 if "fork" in error.message and engine.hot_collections() == 0 else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 7
    await engine.upsert("work", points(5, first=5))
    assert await engine.count("work") == 10
    with pytest.raises(ConfigurationError):  # the child's end freed nothing
        await EdgeEngine.open(engine._root.root, max_open=1, lock_wait=0)


# Open shards


async def test_no_more_shards_stay_open_than_the_limit(engine: EdgeEngine) -> None:
    for n in range(7):
        await engine.create(f"work{n}", SPEC)
        await engine.upsert(f"work{n}", points(n + 1))
        assert (engine.hot_collections() or 0) <= 3

    assert [await engine.count(f"work{n}") for n in range(7)] == [1, 2, 3, 4, 5, 6, 7]
    assert engine.hot_collections() == 3


async def test_the_least_recently_used_shard_is_closed(engine: EdgeEngine) -> None:
    for name in ("a1", "b1", "c1"):
        await engine.create(name, SPEC)
        await engine.count(name)
    await engine.count("a1")
    await engine.create("d1", SPEC)
    await engine.count("d1")

    assert set(engine._shards._entries) == {"c1", "a1", "d1"}


async def test_shards_in_use_exceed_the_limit_rather_than_wait(engine: EdgeEngine) -> None:
    names = [f"w{n}" for n in range(6)]
    for name in names:
        await engine.create(name, SPEC)

    def hold_all(left: list[str]) -> int:
        with engine._shards.lease(left[0]) as held:
            deeper = hold_all(left[1:]) if left[1:] else engine.hot_collections()
            assert held.engine.info().points_count == 0
            return deeper or 0

    assert await asyncio.to_thread(hold_all, names) == 6
    assert engine.hot_collections() == 3


async def test_a_shard_that_many_want_is_opened_once(engine: EdgeEngine) -> None:
    await engine.create("work", SPEC)
    await engine.upsert("work", points(50))
    await engine.release("work")
    assert engine.hot_collections() == 0

    counts = await asyncio.gather(*(engine.count("work") for _ in range(30)))

    assert counts == [50] * 30
    assert engine.hot_collections() == 1


async def test_looking_around_opens_nothing(engine: EdgeEngine) -> None:
    await engine.create("work", SPEC)

    assert await engine.exists("work")
    assert [name async for name in engine.collections()] == ["work"]
    await engine.ping()

    assert engine.hot_collections() == 0


async def test_many_things_at_once_in_few_open_shards(engine: EdgeEngine) -> None:
    names = [f"work{n}" for n in range(8)]
    await asyncio.gather(*(engine.create(name, SPEC) for name in names))

    async def use(name: str) -> None:
        for n in range(4):
            await engine.upsert(name, points(300, first=300 * n))
            await engine.release(name)
            await engine.query(name, Query(dense=[1.0] * 8))
            await engine.flush(name)

    await asyncio.gather(*(use(name) for name in names))

    assert [await engine.count(name) for name in names] == [1200] * 8


async def test_writers_of_one_collection_do_not_mix_their_batches(engine: EdgeEngine) -> None:
    await engine.create("work", SPEC)

    async def write(label: int) -> None:
        await engine.upsert(
            "work", [Point(p.id, p.dense, None, {"seq": label}) for p in points(900)]
        )

    await asyncio.gather(*(write(label) for label in range(5)))

    assert len(await engine.facet("work", "seq")) == 1


async def test_a_drop_waits_for_readers_and_leaves_nothing(
    engine: EdgeEngine, tmp_path: Path
) -> None:
    await engine.create("work", SPEC)
    await engine.upsert("work", points(500))

    results = await asyncio.gather(
        *(engine.scroll("work", limit=500) for _ in range(5)),
        engine.drop("work"),
        *(engine.exists("work") for _ in range(3)),
        return_exceptions=True,
    )

    assert not any(isinstance(r, Unavailable) for r in results)
    assert not await engine.exists("work")
    assert not list((tmp_path / "trash").iterdir())


async def test_the_loop_goes_on_while_a_batch_is_written(engine: EdgeEngine) -> None:
    await engine.create("work", CollectionSpec(384))
    batch = [Point(n, [1.0 + n, *[0.5] * 383], None, {"seq": n}) for n in range(1000)]
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.create_task(tick())
    for _ in range(3):
        await engine.upsert("work", batch)
    ticking.cancel()

    assert ticks > 30


async def test_a_cancelled_write_is_whole_or_absent_and_the_engine_goes_on(
    engine: EdgeEngine,
) -> None:
    await engine.create("work", SPEC)
    writing = asyncio.create_task(engine.upsert("work", points(900)))
    await asyncio.sleep(0.001)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)

    await engine.release("work")

    assert await engine.count("work") in {0, 900}


# The disk


async def test_a_nearly_full_disk_is_told_before_anything_is_written(tmp_path: Path) -> None:
    engine = await EdgeEngine.open(tmp_path, max_open=3)
    await engine.create("work", SPEC)
    engine._root._min_free_bytes = 1 << 60

    for call in (engine.upsert("work", points(1)), engine.create("more", SPEC)):
        with pytest.raises(StorageFull):
            await call

    assert not await engine.exists("more")
    assert await engine.count("work") == 0
    await engine.close()


async def test_a_clone_takes_no_more_room_than_its_template(
    engine: EdgeEngine, tmp_path: Path
) -> None:
    await engine.create("work", SPEC)

    assert disk_bytes(shard(tmp_path, "work")) <= 1_000_000
    copy = tmp_path / "copy"
    clone_tree(shard(tmp_path, "work"), copy)
    for path in shard(tmp_path, "work").rglob("*"):
        if path.is_file():
            twin = copy / path.relative_to(shard(tmp_path, "work"))
            assert twin.read_bytes() == path.read_bytes()


async def test_what_a_crash_left_is_swept(tmp_path: Path) -> None:
    engine = await EdgeEngine.open(tmp_path, max_open=3)
    await engine.create("work", SPEC)
    await engine.close()
    clone_tree(shard(tmp_path, "work"), tmp_path / "temporary" / "half")
    (tmp_path / "trash" / "dropped" / "shard").mkdir(parents=True)

    engine = await EdgeEngine.open(tmp_path, max_open=3)

    assert not list((tmp_path / "temporary").iterdir())
    assert not list((tmp_path / "trash").iterdir())
    assert [name async for name in engine.collections()] == ["work"]
    await engine.close()


# Templates


async def test_collections_of_one_kind_share_a_template(engine: EdgeEngine, tmp_path: Path) -> None:
    await engine.create("one", SPEC)
    await engine.create("two", SPEC)
    assert len(list((tmp_path / "templates").iterdir())) == 1

    await engine.create("other", CollectionSpec(9))
    assert len(list((tmp_path / "templates").iterdir())) == 2


async def test_a_template_with_files_missing_is_built_anew(
    engine: EdgeEngine, tmp_path: Path
) -> None:
    await engine.create("one", SPEC)
    shutil.rmtree(template(tmp_path) / "shard" / "segments")

    await engine.create("two", SPEC)
    await engine.upsert("two", points(3))

    assert await engine.count("two") == 3


async def test_a_template_whose_clones_do_not_load_is_built_anew(
    engine: EdgeEngine, tmp_path: Path
) -> None:
    await engine.create("one", SPEC)
    (segment,) = template(tmp_path).glob("shard/segments/*/segment.json")
    segment.write_bytes(b"\0" * segment.stat().st_size)
    await engine.create("two", SPEC)

    await engine.upsert("two", points(3))

    assert await engine.count("two") == 3
    await engine.create("three", SPEC)
    assert await engine.count("three") == 0


# After a power cut


async def test_a_torn_shard_that_was_never_written_is_laid_anew(
    engine: EdgeEngine, tmp_path: Path, reboot: object
) -> None:
    await engine.create("work", SPEC)
    await engine.create_index("work", "label", IndexKind.KEYWORD)
    await engine.close()
    tear(shard(tmp_path, "work"))
    reboot()  # type: ignore[operator]

    engine = await EdgeEngine.open(tmp_path, max_open=3)

    assert await engine.count("work") == 0
    await engine.upsert("work", [Point(1, [1.0] * 8, None, {"label": "x"})])
    assert len(await engine.facet("work", "label")) == 1
    assert not (tmp_path / "damaged").exists()
    await engine.close()


async def test_a_torn_shard_that_was_never_flushed_is_set_aside_and_laid_anew(
    engine: EdgeEngine, tmp_path: Path, reboot: object
) -> None:
    await engine.create("work", SPEC)
    await engine.upsert("work", points(3))
    await engine.close()
    tear(shard(tmp_path, "work"))
    reboot()  # type: ignore[operator]

    engine = await EdgeEngine.open(tmp_path, max_open=3)

    assert await engine.count("work") == 0
    assert len(list((tmp_path / "damaged").iterdir())) == 1
    await engine.close()


async def test_an_unflushed_shard_survives_an_orderly_reboot(
    engine: EdgeEngine, tmp_path: Path, reboot: object
) -> None:
    await engine.create("work", SPEC)
    await engine.upsert("work", points(300))
    await engine.close()
    reboot()  # type: ignore[operator]

    engine = await EdgeEngine.open(tmp_path, max_open=3)

    assert await engine.count("work") == 300
    assert (shard(tmp_path, "work").parent / "sealed").exists()
    await engine.close()


async def test_a_shard_that_was_flushed_is_never_laid_anew(
    engine: EdgeEngine, tmp_path: Path, reboot: object
) -> None:
    await engine.create("work", SPEC)
    await engine.upsert("work", points(3))
    await engine.flush("work")
    await engine.close()
    keep = tmp_path / "keep"
    clone_tree(shard(tmp_path, "work"), keep)
    tear(shard(tmp_path, "work"))
    reboot()  # type: ignore[operator]

    engine = await EdgeEngine.open(tmp_path, max_open=3)
    with pytest.raises(Unavailable) as failed:
        await engine.count("work")

    assert str(tmp_path) not in failed.value.message
    shutil.rmtree(shard(tmp_path, "work"))
    keep.rename(shard(tmp_path, "work"))
    assert await engine.count("work") == 3
    await engine.close()


async def test_a_written_shard_is_never_laid_anew_within_one_boot(
    engine: EdgeEngine, tmp_path: Path
) -> None:
    await engine.create("work", SPEC)
    await engine.upsert("work", points(3))
    await engine.release("work")
    config = shard(tmp_path, "work") / "edge_config.json"
    content = config.read_bytes()
    config.write_bytes(b"")

    with pytest.raises(Unavailable):
        await engine.count("work")

    config.write_bytes(content)
    assert await engine.count("work") == 3


async def test_laying_anew_can_be_broken_off_and_repeated(
    engine: EdgeEngine, tmp_path: Path, reboot: object
) -> None:
    await engine.create("work", SPEC)
    await engine.close()
    shutil.rmtree(shard(tmp_path, "work"))  # between the two renames
    reboot()  # type: ignore[operator]

    engine = await EdgeEngine.open(tmp_path, max_open=3)

    await engine.upsert("work", points(2))
    assert await engine.count("work") == 2
    await engine.close()
