"""What is written is read back, each point exactly."""

from __future__ import annotations

import csv
import struct
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import numpy as np
import orjson
import pytest

from quire.bundle.formats.comma_separated import write_csv
from quire.bundle.formats.detection import detect
from quire.bundle.formats.json_values import dumped, floats
from quire.bundle.formats.jsonl import write_jsonl
from quire.bundle.formats.models import BATCH, Format
from quire.bundle.formats.parquet import write_parquet
from quire.bundle.formats.reading import inspect, read_rows
from quire.bundle.formats.session_json import write_session_json
from quire.vectors.digest import digest_of
from quire.vectors.port import Record
from tests.bundle.formats.files import DIMENSION, read, records, saved, stream

Writer = Callable[[AsyncIterator[Sequence[Record]], Path, bool], AsyncIterator[bytes]]

WRITERS: dict[Format, Writer] = {
    Format.JSONL: lambda points, _, vectors: write_jsonl(points, vectors=vectors),
    Format.CSV: lambda points, _, vectors: write_csv(points, vectors=vectors),
    Format.PARQUET: lambda points, folder, vectors: write_parquet(
        points, folder, DIMENSION, vectors=vectors
    ),
    Format.SESSION_JSON: lambda points, _, vectors: write_session_json(
        {"name": "s"}, "c", points, timestamp="2026-01-01T00:00:00Z"
    ),
}


@pytest.mark.parametrize("format", WRITERS)
async def test_every_format_gives_the_same_points_back(format: Format, tmp_path: Path) -> None:
    path = await saved(tmp_path / "file", WRITERS[format](stream(records()), tmp_path, True))

    batches = list(read_rows(path, format))

    assert all(0 < len(batch) <= BATCH for batch in batches)
    points = [point for batch in batches for point in batch]
    assert [point.id for point in points] == [record.id for record in records()]
    assert [point.payload for point in points] == [record.payload for record in records()]
    assert digest_of(points) == digest_of(records())
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("format", WRITERS)
async def test_every_format_is_known_by_what_it_is(format: Format, tmp_path: Path) -> None:
    path = await saved(tmp_path / "file", WRITERS[format](stream(records()), tmp_path, True))

    assert detect(path, "x.csv" if format is Format.CSV else None) is format
    found = inspect(path, format)
    assert (found.own, found.dimension) == (True, DIMENSION)
    assert found.has_vectors
    assert found.has_sparse
    assert found.has_text
    if format in (Format.PARQUET, Format.SESSION_JSON):
        assert found.points == len(records())


@pytest.mark.parametrize("format", [Format.JSONL, Format.CSV, Format.PARQUET])
async def test_without_vectors_the_rest_comes_back(format: Format, tmp_path: Path) -> None:
    path = await saved(tmp_path / "file", WRITERS[format](stream(records()), tmp_path, False))

    bare = [Record(record.id, record.payload) for record in records()]
    assert digest_of(read(path, format)) == digest_of(bare)


@pytest.mark.parametrize("format", WRITERS)
async def test_no_points_are_a_valid_file(format: Format, tmp_path: Path) -> None:
    path = await saved(tmp_path / "file", WRITERS[format](stream([]), tmp_path, True))

    assert read(path, format) == []


async def test_a_reader_that_stops_leaves_no_spool_behind(tmp_path: Path) -> None:
    blocks = write_parquet(stream(records()), tmp_path, DIMENSION)

    await anext(blocks)
    assert len(list(tmp_path.iterdir())) == 1
    await blocks.aclose()

    assert list(tmp_path.iterdir()) == []


def test_vectors_are_written_short_and_come_back_bit_by_bit() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32)
    numbers = bits.view(np.float32)
    numbers = numbers[np.isfinite(numbers)]

    written = dumped(floats(numbers.tolist()))

    assert len(written) < len(orjson.dumps(numbers.tolist())) * 0.7
    back = np.array(orjson.loads(written)).astype(np.float32)
    assert back.tobytes() == numbers.tobytes()
    assert dumped(floats([struct.unpack("f", struct.pack("f", 0.1))[0]])) == b"[0.1]"


async def test_a_cell_edited_in_a_spreadsheet_is_taken(tmp_path: Path) -> None:
    identity = str(uuid.uuid4())
    blocks = write_csv(stream([Record(identity, {"text": "before", "seq": 1, "kept": True})]))
    path = await saved(tmp_path / "file.csv", blocks)

    path.write_bytes(path.read_bytes().replace(b"before", b"after"))

    (point,) = read(path, Format.CSV)
    assert point.payload == {"text": "after", "seq": 1, "kept": True}


async def test_no_cell_of_a_csv_file_begins_like_a_formula(tmp_path: Path) -> None:
    path = await saved(tmp_path / "file.csv", write_csv(stream(records())))

    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    assert len(rows) == len(records())
    texts = [row[name] for row in rows for name in row if name not in ("start", "end")]
    assert any(text.startswith("'=SUM") for text in texts)
    assert not any(text.startswith(("=", "+", "-", "@", "\t", "\r")) for text in texts)
