"""Whatever is done to a bundle, it is refused, or what is read is what its checksums say."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quire.bundle.reading import BundleReader
from quire.errors import FileRefused
from tests.bundle.samples import (
    Sample,
    bind,
    forged,
    packed,
    points,
    put_together,
    taken_apart,
    unpacked,
)

SECONDS = 5.0
"""One file of some kilobytes takes milliseconds; nothing in it may make it take this long."""


@pytest.fixture(scope="module")
def good() -> bytes:
    return asyncio.run(bind(Sample(points=points(200))))


def read_whole(path: Path) -> None:
    """Open the bundle and read everything that is in it."""
    with BundleReader.open(path, unpacked_max=10_000_000) as reader:
        assert reader.session is not None
        for part in range(reader.points_parts):
            for _ in reader.points(part):
                pass
        for row in reader.documents():
            for span in (row["raw"], row["text"]):
                for _ in reader.content(**span) if span else ():
                    pass
        for table in ("messages", "settings"):
            list(reader.table(table))


def is_refused(path: Path, bundle: bytes) -> bool:
    path.write_bytes(bundle)
    begun = time.monotonic()
    try:
        read_whole(path)
    except FileRefused:
        return True
    finally:
        assert time.monotonic() - begun < SECONDS
    return False


def flipped(data: bytes, chance: random.Random) -> bytes:
    place, bit = chance.randrange(len(data)), chance.randrange(8)
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def patched(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    length = min(len(data) - start, chance.randrange(1, 600))
    what = chance.choice([bytes(length), b"\xff" * length, chance.randbytes(length), b""])
    return data[:start] + what + data[start + length :]


def rearranged(data: bytes, chance: random.Random) -> bytes:
    pairs = list(taken_apart(data).items())
    n, m = chance.sample(range(len(pairs)), 2)
    match chance.randrange(3):
        case 0:
            pairs[n], pairs[m] = pairs[m], pairs[n]
        case 1:
            pairs.insert(m, pairs[n])
        case _:
            del pairs[n]
    return put_together(pairs)


HARM: list[Callable[[bytes, random.Random], bytes]] = [flipped, cut, patched, rearranged]


def rounds(count: int) -> Iterator[random.Random]:
    return (random.Random(seed) for seed in range(count))


def check_harm(good: bytes, path: Path, count: int) -> None:
    assert not is_refused(path, good)
    for chance in rounds(count):
        for harm in HARM:
            bad = harm(good, chance)
            if bad != good:
                assert is_refused(path, bad), (harm, chance)


def check_forgeries(good: bytes, path: Path, count: int) -> None:
    """Harm within parts, with checksums that agree: only what makes no sense can be refused."""
    apart = taken_apart(good)
    names = [name for name in apart if name not in ("format.json", "manifest.json")]
    refusals = 0
    for chance in rounds(count):
        name, harm = chance.choice([*names, "points/00000.parquet"]), chance.choice(HARM[:3])
        bad = harm(apart[name], chance)
        if name.endswith(".zst") and chance.random() < 0.5:
            plain = harm(unpacked(apart[name]), chance)
            bundle = forged(apart, {name: packed(plain)}, {name: len(plain)})
        else:
            bundle = forged(apart, {name: bad})
        refusals += is_refused(path, bundle)
    assert refusals > count // 4


def test_a_harmed_bundle_is_refused(good: bytes, tmp_path: Path) -> None:
    check_harm(good, tmp_path / "bundle", 200)


def test_a_forged_bundle_is_refused_or_read(good: bytes, tmp_path: Path) -> None:
    check_forgeries(good, tmp_path / "bundle", 200)


@pytest.mark.soak
def test_many_harmed_bundles_are_refused(good: bytes, tmp_path: Path) -> None:
    check_harm(good, tmp_path / "bundle", 5_000)


@pytest.mark.soak
def test_many_forged_bundles_are_refused_or_read(good: bytes, tmp_path: Path) -> None:
    check_forgeries(good, tmp_path / "bundle", 20_000)


def test_every_byte_of_headers_and_end_counts(tmp_path: Path) -> None:
    """What is between them has checksums, and has been sampled above."""
    small = asyncio.run(bind(Sample(points=[], documents=[], tables={})))
    path = tmp_path / "bundle"
    for place in [*range(512), *range(len(small) - 1024, len(small), 16)]:
        bad = small[:place] + bytes([small[place] ^ 1 << place % 8]) + small[place + 1 :]
        assert is_refused(path, bad), place
