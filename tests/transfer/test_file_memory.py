"""Exporting and importing need no more memory for many points than for few."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import asyncio, resource, sys
from pathlib import Path
from random import Random
from quire.bundle.formats.models import Format
from quire.transfer.exporting import ExportRequest
from quire.transfer.import_request import ImportRequest
from quire.vectors.port import Point
from tests.sessions.house import ADA, create, quire_in

def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

async def carry(quire, folder, points):
    session = await create(quire, name="s", provider="external", dimension=64)
    for start in range(0, points, 500):
        random = Random(start)
        batch = [
            Point(n, [random.random()] * 64, None, {"text": random.randbytes(400).hex()})
            for n in range(start, start + 500)
        ]
        await quire.engine.upsert(session.collection, batch)
    for format in (Format.BUNDLE, Format.JSONL):
        file = folder / format.value
        request = ExportRequest(format=format)
        export = await quire.files.exporting.open(ADA, session.id, request, lambda _: {})
        with file.open("wb") as out:
            async for block in export.blocks():
                out.write(block)
        async def blocks():
            with file.open("rb") as content:
                while block := content.read(1 << 20):
                    yield block
        begun = await quire.files.importing.begin(ADA, ImportRequest(format=format), blocks())
        job = await quire.jobs.wait(begun.job_id, 600)
        assert job.result and job.result["points"] == points, job

async def main(folder, few, many):
    async with quire_in(folder) as quire:
        await carry(quire, folder, few)
        before = megabytes()
        await carry(quire, folder, many)
        print(megabytes() - before)

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
"""


def growth(folder: Path, few: int, many: int) -> float:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), str(few), str(many)],
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout.splitlines()[-1])


def test_memory_does_not_follow_the_number_of_points(tmp_path: Path) -> None:
    # 8,000 points more are 7 MB of text and 2 MB of vectors, several times that as objects
    assert growth(tmp_path, 2_000, 10_000) < 40


@pytest.mark.soak
def test_memory_stays_flat_up_to_very_many_points(tmp_path: Path) -> None:
    assert growth(tmp_path, 10_000, 200_000) < 150
