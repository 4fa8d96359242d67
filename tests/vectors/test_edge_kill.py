"""Law 1 on the embedded engine: whoever is killed, what was acknowledged is there."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest

from quire.vectors.edge import EdgeEngine
from quire.vectors.port import Query
from tests.vectors.edge_writer import batch, vector


async def _killed_writer(root: Path, first: int, flush: bool, seconds: float) -> list[str]:
    """Let a process write for a while, kill it with -9, and give what it acknowledged."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.vectors.edge_writer",
        str(root),
        str(first),
        "flush" if flush else "no-flush",
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        await asyncio.sleep(seconds)
    finally:
        process.kill()
    told = (await process.stdout.read()).decode()
    await process.wait()
    return [line for line in told.splitlines(keepends=True) if line.endswith("\n")]


async def _check(root: Path, written: set[int], deleted: set[int], extra: set[int]) -> int:
    """Open what the killed process left, and compare it with what it acknowledged."""
    engine = await EdgeEngine.open(root, max_open=3)
    try:
        assert not list((root / "temporary").iterdir())
        assert not list((root / "trash").iterdir())
        for first in written:
            expected = [p for p in batch(first) if first not in deleted or p.id not in _two(first)]
            records = await engine.retrieve("work", [p.id for p in expected], with_vectors=True)
            # Whether the two went that were being deleted is open; all others must be there.
            missing = {p.id for p in expected} - {r.id for r in records}
            assert missing <= _two(first)
            assert all(r.payload["seq"] == r.id and r.dense and r.sparse for r in records)
        gone = [n for first in deleted for n in _two(first)]
        assert await engine.retrieve("work", gone) == []
        for first in list(extra)[-3:]:
            assert await engine.count(f"extra-{first}") == 5
        assert {f"extra-{n}" for n in extra} <= {name async for name in engine.collections()}
        first = max(written, default=0)
        await engine.upsert("work", batch(first))
        hits = await engine.query("work", Query(dense=vector(first), limit=1))
        assert hits[0].id == first
        await engine.delete("work", sorted(_two(first)))
        return await engine.count("work")
    finally:
        await engine.close()


def _two(first: int) -> set[int]:
    return {first, first + 1}


async def _kill_again_and_again(root: Path, times: int) -> None:
    chance = random.Random(20)
    written: set[int] = set()
    deleted: set[int] = set()
    extra: set[int] = set()
    first = 0
    for n in range(times):
        told = await _killed_writer(root, first, n % 2 == 1, chance.uniform(0, 0.6))
        for line in told:
            kind, number = line.split()
            {"written": written, "deleted": deleted, "extra": extra}[kind].add(int(number))
            first = max(first, int(number) + 700)
        await _check(root, written, deleted, extra)
        deleted |= {max(written)} if written else set()
        first += 700
    assert written


async def test_what_was_acknowledged_survives_kills_at_any_moment(tmp_path: Path) -> None:
    await _kill_again_and_again(tmp_path, times=8)


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_what_was_acknowledged_survives_many_kills(tmp_path: Path) -> None:
    await _kill_again_and_again(tmp_path, times=50)
