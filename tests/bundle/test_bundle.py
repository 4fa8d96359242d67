"""A bundle gives back what it was made of, and is the same for the same session."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from quire.bundle import parts, writing
from quire.bundle.contents import Body, DocumentEntry
from quire.bundle.reading import BundleReader
from quire.bundle.writing import BundleWriter, write_bundle
from quire.errors import LimitExceeded, VerificationFailed
from quire.vectors.digest import digest_of
from quire.vectors.port import Point, Record
from tests.bundle.samples import (
    EMBEDDING,
    UNPACKED_MAX,
    Sample,
    bind,
    body,
    points,
    taken_apart,
    unpacked,
)


def opened(tmp_path: Path, bundle: bytes, *, checked: bool = False) -> BundleReader:
    path = tmp_path / "session.quire"
    path.write_bytes(bundle)
    return BundleReader.open(path, unpacked_max=UNPACKED_MAX, checked=checked)


def all_points(reader: BundleReader) -> list[Point]:
    return [
        p for part in range(reader.points_parts) for batch in reader.points(part) for p in batch
    ]


@pytest.mark.parametrize("checked", [False, True])
async def test_a_bundle_gives_back_what_it_was_made_of(tmp_path: Path, checked: bool) -> None:
    sample = Sample()

    with opened(tmp_path, await bind(sample), checked=checked) as reader:
        assert reader.session == {"name": "A session", "tags": ["x"]}
        assert reader.manifest.embedding == EMBEDDING
        assert reader.manifest.counts == {
            "points": 30,
            "documents": 4,
            "messages": 2,
            "settings": 1,
        }
        assert digest_of(all_points(reader)) == digest_of(sample.points) == reader.manifest.digest
        assert list(reader.table("messages")) == sample.tables["messages"]
        assert list(reader.table("lineage")) == []
        for row, (given, raw, text) in zip(reader.documents(), sample.documents, strict=True):
            assert row.items() >= given.items()
            assert b"".join(reader.content(**row["raw"])) == raw
            assert (row["text"] is None) == (text is None)
            if text is not None:
                assert b"".join(reader.content(**row["text"])) == text


async def test_an_empty_session_is_a_bundle_too(tmp_path: Path) -> None:
    empty = Sample(points=[], documents=[], tables={})

    bundle = await bind(empty)

    assert list(taken_apart(bundle)) == [
        "format.json",
        "session.json.zst",
        "documents.jsonl.zst",
        "manifest.json",
    ]
    with opened(tmp_path, bundle) as reader:
        assert (reader.points_parts, list(reader.documents())) == (0, [])
        assert reader.manifest.counts == {"points": 0, "documents": 0}


async def test_documents_that_are_empty_need_no_content(tmp_path: Path) -> None:
    with opened(tmp_path, await bind(Sample(documents=[({}, b"", b"")] * 3))) as reader:
        assert [list(reader.content(**row["raw"])) for row in reader.documents()] == [[], [], []]


async def test_the_same_session_makes_the_same_bytes_however_it_is_read() -> None:
    noise = random.Random(1).randbytes(2_500_000)
    sample = Sample(documents=[*Sample().documents, ({"id": "e"}, noise, noise.hex().encode())])

    assert (
        len({await bind(sample), await bind(sample, 1000, 77), await bind(sample, 1, 10**7)}) == 1
    )


async def test_the_parts_stand_in_one_order_and_say_nothing_of_when(tmp_path: Path) -> None:
    (tmp_path / "session.quire").write_bytes(await bind())
    with tarfile.open(tmp_path / "session.quire") as tar:
        members = tar.getmembers()

    assert [member.name for member in members] == [
        "format.json",
        "session.json.zst",
        "points/00000.parquet",
        "documents.jsonl.zst",
        "content/00000.bin.zst",
        "messages.jsonl.zst",
        "settings.jsonl.zst",
        "manifest.json",
    ]
    said = {(m.mtime, m.uid, m.gid, m.mode, m.uname, m.gname) for m in members}
    assert said == {(0, 0, 0, 0o644, "", "")}


async def test_points_are_cut_into_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(writing, "POINTS_MAX", 100)
    many = points(250)

    with opened(tmp_path, await bind(Sample(points=many))) as reader:
        sizes = [sum(map(len, reader.points(part))) for part in range(reader.points_parts)]
        assert sizes == [100, 100, 50]
        assert [point.id for point in all_points(reader)] == [point.id for point in many]


async def test_large_points_are_cut_into_parts_sooner(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(writing, "POINTS_BYTES", 10_000)
    large = [Record(n, {"text": "y" * 2000}) for n in range(6)]

    with opened(tmp_path, await bind(Sample(points=large))) as reader:
        assert [sum(map(len, reader.points(part))) for part in range(2)] == [3, 3]


async def test_without_vectors_all_else_is_there(tmp_path: Path) -> None:
    sample = Sample(vectors=False)
    bare = [replace(point, dense=None, sparse=None) for point in sample.points]

    with opened(tmp_path, await bind(sample)) as reader:
        assert not reader.manifest.vectors
        assert digest_of(all_points(reader)) == reader.manifest.digest == digest_of(bare)


async def test_text_that_is_the_raw_bytes_is_stored_once() -> None:
    bundle = taken_apart(await bind(Sample(documents=[({}, b"once", b"once"), ({}, b"raw", b"T")])))

    assert unpacked(bundle["content/00000.bin.zst"]) == b"oncerawT"
    rows = [orjson.loads(line) for line in unpacked(bundle["documents.jsonl.zst"]).splitlines()]
    assert rows[0]["raw"] == rows[0]["text"] == {"pack": 0, "start": 0, "end": 4}


@pytest.fixture
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "PACK_BYTES", 1000)


@pytest.mark.usefixtures("small_packs")
async def test_content_is_packed_and_what_is_large_stands_alone(tmp_path: Path) -> None:
    sizes = [400, 500, 0, 200, 5000, 10, 990, 1]
    documents = [({"n": n}, bytes([65 + n]) * size, None) for n, size in enumerate(sizes)]

    with opened(tmp_path, await bind(Sample(documents=documents))) as reader:
        unpacked_sizes = [p.unpacked for p in reader.manifest.parts if "content/" in p.name]
        assert unpacked_sizes == [900, 200, 5000, 1000, 1]
        rows = list(reader.documents())
        for row, (_, raw, _) in zip(rows, documents, strict=True):
            assert b"".join(reader.content(**row["raw"])) == raw
        assert [row["n"] for row in reader.documents(skip=6)] == [6, 7]


@pytest.mark.usefixtures("small_packs")
async def test_content_may_be_read_in_any_order_and_by_several_at_once(tmp_path: Path) -> None:
    chance = random.Random(3)
    documents = [({}, chance.randbytes(chance.randrange(1, 700)), None) for _ in range(20)]

    with opened(tmp_path, await bind(Sample(documents=documents))) as reader:
        rows = list(reader.documents())
        for n in [*range(19, -1, -1), *chance.choices(range(20), k=30)]:
            halted = reader.content(**rows[(n * 7) % 20]["raw"])
            begun = next(halted)
            assert b"".join(reader.content(**rows[n]["raw"])) == documents[n][1]
            assert begun + b"".join(halted) == documents[(n * 7) % 20][1]


async def test_content_that_is_not_as_long_as_it_says_is_an_error(tmp_path: Path) -> None:
    async def documents() -> AsyncIterator[DocumentEntry]:
        yield DocumentEntry({}, Body(5, "k", body(b"four").read), None)

    contents = replace(Sample().contents(), documents=documents())
    with pytest.raises(VerificationFailed, match="4 bytes, not 5"):
        [block async for block in write_bundle(contents, tmp_path)]


async def test_a_row_that_no_reader_would_take_is_not_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(writing, "LINE_BYTES_MAX", 100)
    contents = Sample(tables={"messages": [{"text": "x" * 200}]}).contents()
    with pytest.raises(LimitExceeded, match="messages"):
        [block async for block in write_bundle(contents, tmp_path)]


def test_only_known_tables_are_written_and_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no table secrets"):
        BundleWriter(Sample(tables={"secrets": []}).contents(), tmp_path)
    with pytest.raises(ValueError, match="no table secrets"):
        opened(tmp_path, asyncio.run(bind())).table("secrets")
    assert sorted(parts.TABLES) == list(parts.TABLES)


async def test_the_writer_knows_the_manifest_when_it_is_done(tmp_path: Path) -> None:
    writer = BundleWriter(Sample().contents(), tmp_path)
    bundle = b"".join([block async for block in writer.blocks()])

    with opened(tmp_path, bundle) as reader:
        assert reader.manifest == writer.manifest


async def test_leaving_early_leaves_nothing_open(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[Sequence[Record]]:
        while True:
            yield points(100)

    contents = replace(Sample().contents(), points=endless())
    task = asyncio.create_task(_all(write_bundle(contents, tmp_path)))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # Open files would be warned of, which is an error here.


async def _all(blocks: AsyncIterator[bytes]) -> None:
    async for _ in blocks:
        pass


def test_pyarrow_is_not_loaded_before_points_are_read_or_written() -> None:
    program = "import sys, quire.bundle.writing, quire.bundle.reading; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert "quire.bundle.reading" in loaded.stdout.decode().split()
    assert "pyarrow" not in loaded.stdout.decode().split()
