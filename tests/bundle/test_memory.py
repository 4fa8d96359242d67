"""However many points there are, a bundle takes the same memory to write and to read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, itertools, random, resource, sys
from pathlib import Path
from quire.bundle import points_file
from quire.bundle.contents import Body, BundleContents, DocumentEntry
from quire.bundle.reading import BundleReader
from quire.bundle.writing import BundleWriter
from quire.vectors.digest import Digest, digest_of
from quire.vectors.port import Record, SparseVector

count, folder = int(sys.argv[1]), Path(sys.argv[2])
chance = random.Random(0)
texts = [" ".join(chance.choices(["some", "words", "of", "a", "text"], k=160)) for _ in range(50)]

def rss():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6

async def points():
    for start in range(0, count, 512):
        yield [
            Record(n, {"text": texts[n % 50], "seq": n}, [chance.random() for _ in range(64)],
                   SparseVector([n, n + 1], [0.5, 1.5]))
            for n in range(start, min(start + 512, count))
        ]

async def documents():
    async def read():
        for _ in range(10):
            yield random.Random(n).randbytes(count // 20)
    for n in range(40):
        yield DocumentEntry({"id": n}, Body(10 * (count // 20), str(n), read), None)

embedding = dict(provider="f", model="f", revision="", dimension=64, distance="dot", chunker="")
peak = 0

async def write():
    global peak
    scratch = folder / "scratch"
    scratch.mkdir()
    writer = BundleWriter(
        BundleContents({}, embedding, points(), documents()), scratch
    )
    with (folder / "bundle").open("wb") as file:
        async for block in writer.blocks():
            file.write(block)
            peak = max(peak, rss())
    return writer.manifest.digest

start = rss()
written = asyncio.run(write())
with BundleReader.open(folder / "bundle", unpacked_max=1 << 34) as reader:
    peak = max(peak, rss())
    read = Digest()
    for part in range(reader.points_parts):
        for batch in reader.points(part):
            read += digest_of(batch)
            peak = max(peak, rss())
    for row in reader.documents():
        for data in reader.content(**row["raw"]):
            peak = max(peak, rss())
assert read == written and read.count == count
print(peak - start)
"""


def growth(count: int, folder: Path) -> float:
    """By how many megabytes the process grew."""
    command = [sys.executable, "-c", PROGRAM, str(count), str(folder)]
    return float(subprocess.run(command, check=True, capture_output=True).stdout)


def test_twenty_thousand_points(tmp_path: Path) -> None:
    assert growth(20_000, tmp_path) < 150


@pytest.mark.soak
def test_two_hundred_thousand_points(tmp_path: Path) -> None:
    assert growth(200_000, tmp_path) < 150
