"""Copies of embedded collections: kills, cancellations, and files that do not agree."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path
from threading import Event

import pytest

from quire.errors import StorageFull, Unavailable, VerificationFailed
from quire.vectors import edge_copies
from quire.vectors.edge import EdgeEngine
from quire.vectors.edge_files import clone_file, data_digest, disk_bytes
from tests.vectors.edge_writer import SPEC, batch


async def _filled(root: Path) -> EdgeEngine:
    engine = await EdgeEngine.open(root, max_open=3)
    await engine.create("work", SPEC)
    await engine.upsert("work", batch(0))
    return engine


async def _kill_copies(root: Path, times: int) -> None:
    await (await _filled(root)).close()
    chance = random.Random(7)
    for _ in range(times):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.vectors.edge_copier",
            str(root),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            assert await process.stdout.readline() == b"ready\n"
            await asyncio.sleep(chance.uniform(0, 0.3))
        finally:
            process.kill()
        await process.communicate()
        engine = await EdgeEngine.open(root, max_open=3)
        try:
            assert not list((root / "temporary").iterdir())
            assert not list((root / "trash").iterdir())
            assert await engine.count("work") == len(batch(0))
            if await engine.exists("copy"):
                assert await engine.count("copy") == len(batch(0))
        finally:
            await engine.close()


async def test_a_killed_copy_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    await _kill_copies(tmp_path, times=4)


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_many_killed_copies_are_there_whole_or_not_at_all(tmp_path: Path) -> None:
    await _kill_copies(tmp_path, times=50)


async def test_a_cancelled_copy_leaves_nothing_and_the_source_writable(tmp_path: Path) -> None:
    engine = await _filled(tmp_path)
    copying = asyncio.create_task(engine.copy("work", "copy"))
    await asyncio.sleep(0.01)
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying

    assert not list((tmp_path / "temporary").iterdir())
    await engine.upsert("work", batch(700))
    assert await engine.count("work") == 1_400
    assert not await engine.exists("copy") or await engine.count("copy") == 700
    await engine.close()


async def test_a_copy_is_sealed_and_takes_no_more_room_than_its_source(tmp_path: Path) -> None:
    engine = await _filled(tmp_path)
    await engine.copy("work", "copy")

    assert engine._root.is_sealed("copy")
    source, target = (engine._root.shard_path(name) for name in ("work", "copy"))
    assert disk_bytes(target) <= disk_bytes(source) + (1 << 20)
    await engine.close()


async def test_a_file_that_was_copied_wrongly_is_noticed_and_the_target_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clone_badly(source: str, target: str) -> None:
        clone_file(source, target)
        with open(target, "r+b") as file:
            file.write(b"?!")

    engine = await _filled(tmp_path)
    await engine.copy("work", "copy")
    await engine.delete("copy", [1])
    monkeypatch.setattr(edge_copies, "clone_file", clone_badly)

    with pytest.raises(VerificationFailed):
        await engine.copy("work", "copy")

    assert await engine.count("copy") == 699
    assert not list((tmp_path / "temporary").iterdir())
    await engine.close()


async def test_a_copy_for_which_there_is_no_room_is_refused(tmp_path: Path) -> None:
    engine = await _filled(tmp_path)
    engine._root._min_free_bytes = 1 << 60
    with pytest.raises(StorageFull):
        await engine.copy("work", "copy")
    assert not await engine.exists("copy")
    await engine.close()


def test_a_copy_that_was_given_up_stops_before_the_next_file(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"data")
    stop = Event()
    stop.set()
    with pytest.raises(Unavailable):
        edge_copies.clone_shard(tmp_path / "source", tmp_path / "target", stop)


def test_a_digest_of_data_takes_holes_for_the_zeros_they_are(tmp_path: Path) -> None:
    sparse, full = tmp_path / "sparse", tmp_path / "full"
    content = b"\0" * 100_000 + b"x" * 70_000 + b"\0" * 300_000 + b"y" + b"\0" * 5_000
    full.write_bytes(content)
    with open(sparse, "wb") as file:
        os.truncate(sparse, len(content))
        os.pwrite(file.fileno(), b"x" * 70_000, 100_000)
        os.pwrite(file.fileno(), b"y", 470_000)

    digest = data_digest(str(full))
    assert data_digest(str(sparse)) == digest

    for change in (b"x" * 70_001, b"x" * 69_999 + b"z"):
        with open(sparse, "r+b") as file:
            os.pwrite(file.fileno(), change, 100_000)
        assert data_digest(str(sparse)) != digest
