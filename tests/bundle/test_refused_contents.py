"""Parts that are not what they should be, in bundles whose checksums all agree."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from quire.bundle import packing
from quire.bundle.points_file import PointsWriter
from quire.bundle.reading import BundleReader
from quire.errors import FileRefused
from quire.vectors.port import Point
from tests.bundle.samples import (
    UNPACKED_MAX,
    forged,
    packed,
    points,
    unpacked,
)

POINTS, DOCUMENTS = "points/00000.parquet", "documents.jsonl.zst"
CONTENT, MESSAGES = "content/00000.bin.zst", "messages.jsonl.zst"


def test_a_bundle_that_unpacks_to_more_than_is_allowed(refused: Any, good: bytes) -> None:
    refused(good, "QUIRE_TRANSFER_BUNDLE_BYTES", unpacked_max=1000)


@pytest.mark.parametrize("name", ["session.json.zst", DOCUMENTS, CONTENT, MESSAGES])
def test_parts_that_unpack_to_something_else(
    refused: Any, apart: dict[str, bytes], name: str
) -> None:
    plain = unpacked(apart[name])
    bomb = packed(bytes(300_000_000))
    assert len(bomb) < 100_000
    refused(forged(apart, {name: bomb}), "unpacks to more than|is longer than|no valid JSON")
    refused(forged(apart, {name: packed(plain[:-1])}), "unpacks to")
    refused(forged(apart, {name: plain}), "cannot be unpacked")
    refused(forged(apart, {name: apart[name][:-4]}), "cannot be unpacked|unpacks to")
    refused(forged(apart, {name: apart[name] + b"rest"}), "cannot be unpacked")
    refused(forged(apart, {name: apart[name] * 2}), "unpacks to more than")


def test_a_bomb_that_is_declared(refused: Any, apart: dict[str, bytes]) -> None:
    bomb = packed(bytes(40_000_000))
    refused(forged(apart, {MESSAGES: bomb}, {MESSAGES: 40_000_000}), "is longer than")
    name = "session.json.zst"
    refused(forged(apart, {name: bomb}, {name: 40_000_000}), "is larger than")


def test_a_window_that_would_take_too_much_memory(refused: Any, apart: dict[str, bytes]) -> None:
    plain = unpacked(apart[CONTENT])
    parameters = packing.zstandard.ZstdCompressionParameters(window_log=27, format=0)
    packing_object = packing.zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    wide = packing_object.compress(plain) + packing_object.flush()
    refused(forged(apart, {CONTENT: wide}), "cannot be unpacked")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{}", "Line 2 .* does not end"),
        (b"[]\n", "Line 2 .* is no JSON object"),
        (b"{\n", "Line 2 .* is no valid JSON"),
        (b"\n", "Line 2 .* is no valid JSON"),
        (b'"\xff"\n', "Line 2 .* is no valid JSON"),
    ],
)
def test_lines_that_are_no_rows(
    refused: Any, apart: dict[str, bytes], line: bytes, reason: str
) -> None:
    data = b'{"a":1}\n' + line
    refused(forged(apart, {MESSAGES: packed(data)}, {MESSAGES: len(data)}), reason)


def test_a_session_that_is_none_or_two(refused: Any, apart: dict[str, bytes]) -> None:
    name = "session.json.zst"
    refused(forged(apart, {name: packed(b"")}, {name: 0}), "has 0 sessions")
    refused(forged(apart, {name: packed(b"{}\n{}\n")}, {name: 6}), "has 2 sessions")


FIRST = {"pack": 0, "start": 0, "end": 8}


@pytest.mark.parametrize(
    ("raw", "text", "reason"),
    [
        (None, None, "does not say where"),
        ({"pack": 0}, None, "does not say where"),
        ({**FIRST, "pack": "0"}, None, "does not say where"),
        ({**FIRST, "start": -1}, None, "does not say where"),
        ({**FIRST, "end": True}, None, "does not say where"),
        ({**FIRST, "end": 10**9}, None, "behind the end of its pack"),
        ({**FIRST, "pack": 1}, None, "where it cannot be"),
        ({**FIRST, "pack": 10**30}, None, "where it cannot be|does not say"),
        ({**FIRST, "start": 1}, None, "where it cannot be"),
        ({"pack": 0, "start": 8, "end": 8}, None, "where it cannot be"),
        (FIRST, {"pack": 0, "start": 4, "end": 12}, "where it cannot be"),
        (FIRST, "text", "does not say where"),
        (FIRST, None, "content that no document has"),
    ],
)
def test_documents_whose_content_is_not_there(
    refused: Any, apart: dict[str, bytes], raw: Any, text: Any, reason: str
) -> None:
    row = json.dumps({"raw": raw, "text": text}).encode() + b"\n"
    counts = {**orjson.loads(apart["manifest.json"])["counts"], "documents": 1}
    refused(forged(apart, {DOCUMENTS: packed(row)}, {DOCUMENTS: len(row)}, counts=counts), reason)


def test_a_document_that_does_not_say_whether_it_has_text(
    refused: Any, apart: dict[str, bytes]
) -> None:
    lines = unpacked(apart[DOCUMENTS]).replace(b'"text":null', b'"test":null')
    refused(forged(apart, {DOCUMENTS: packed(lines)}), "Document 1 .* does not say where")


def points_part(dimension: int, count: int) -> tuple[bytes, int]:
    file = io.BytesIO()
    writer = PointsWriter(file, dimension)
    writer.write([Point(n, [0.5] * dimension) for n in range(count)])
    writer.close()
    return file.getvalue(), writer.unpacked


def test_points_of_another_dimension(refused: Any, apart: dict[str, bytes]) -> None:
    data, size = points_part(5, 30)
    refused(forged(apart, {POINTS: data}, {POINTS: size}), "5 dimensions, not 4")


def test_a_part_with_too_many_points_or_none(refused: Any, apart: dict[str, bytes]) -> None:
    for count in (0, 10_001):
        data, size = points_part(4, count)
        refused(forged(apart, {POINTS: data}, {POINTS: size}), f"has {count} points; 1 to 10000")


def test_points_that_unpack_to_something_else(refused: Any, apart: dict[str, bytes]) -> None:
    refused(
        forged(apart, {POINTS: apart[POINTS]}, {POINTS: 5}), "unpacks to .*; manifest.json says 5"
    )


def test_points_that_are_no_parquet(refused: Any, apart: dict[str, bytes]) -> None:
    refused(forged(apart, {POINTS: b"PAR1" * 100}), "points/00000.parquet: ")
    other = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(apart[POINTS])).select(["id"]), other)
    refused(forged(apart, {POINTS: other.getvalue()}), "columns are not those")


def test_points_that_only_show_when_they_are_read_are_refused_then(
    apart: dict[str, bytes], tmp_path: Path
) -> None:
    data = apart[POINTS]
    table = pq.read_table(io.BytesIO(data))
    place = table.schema.get_field_index("payload")
    wrong = table.set_column(place, table.schema.field(place), [["{"] * len(points(30))])
    out = io.BytesIO()
    pq.write_table(wrong, out, use_dictionary=False)
    footer = pq.read_metadata(io.BytesIO(out.getvalue()))
    path = tmp_path / "bundle"
    size = footer.row_group(0).total_byte_size
    path.write_bytes(forged(apart, {POINTS: out.getvalue()}, {POINTS: size}))

    with (
        BundleReader.open(path, unpacked_max=UNPACKED_MAX) as reader,
        pytest.raises(FileRefused, match=r"points/00000.parquet: .*no valid JSON"),
    ):
        list(reader.points(0))
