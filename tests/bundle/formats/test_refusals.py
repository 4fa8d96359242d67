"""Files that are wrong: refused, with the place and what is valid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quire.bundle.formats import lines as text_lines
from quire.bundle.formats.detection import detect
from quire.bundle.formats.models import Format
from quire.errors import FileRefused
from tests.bundle.formats.files import read

GOOD = b'{"id": 1, "vector": [1, 2], "payload": {}}\n'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "Line 2: It is no valid JSON"),
        (b"[1]", "Line 2 is no JSON object"),
        (b'{"id": 2, "vector": [NaN, 1]}', "Line 2: It is no valid JSON"),
        (b'{"id": 2, "vector": [1e39, 1]}', "Line 2: vector: Value 0 .* not finite as a 32-bit"),
        (b'{"id": 2, "vector": [true, 1]}', "Line 2: vector: Value 0 of the vector is true"),
        (b'{"id": 2, "vector": [1, null]}', "Line 2: vector: Value 1 of the vector is null"),
        (b'{"id": 2, "vector": "[1]"}', "Line 2: vector: .* where a list of numbers belongs"),
        (b'{"id": 2, "vector": []}', "Line 2: vector: an empty list"),
        (b'{"id": 2, "vector": [1, 2, 3]}', r"Point 2 \(id 2\): .* 3 values; those before have 2"),
        (b'{"id": -2, "vector": [1, 2]}', "Line 2: id: -2 is no point id"),
        (b'{"id": 2.0, "vector": [1, 2]}', "Line 2: id: 2.0 is no point id"),
        (b'{"id": "007", "vector": [1, 2]}', "Line 2: id: '007' is no point id"),
        (b'{"id": 2, "sparse": {"indices": [1]}}', "Line 2: sparse: "),
        (b'{"id": 2, "sparse": {"indices": [1, 1], "values": [1, 1]}}', "names an index twice"),
        (b'{"id": 2, "payload": [1]}', "Line 2: payload: The payload is list"),
        (
            b'{"id": 2, "vector": [1, 2], "extra": 1}',
            "Line 2: Lines like .*'extra' is none of them",
        ),
        (b'{"id": 2, "payload": {"n": 18446744073709551616}}', "beyond a 64-bit integer"),
        (b'{"id": 2, "payload": {"n": 9223372036854775808}}', "beyond a signed 64-bit integer"),
        (b'{"id": 2, "payload": {"n": "\xff"}}', "Line 2: It is no valid JSON"),
        (b'{"id": 2, "payload": {"n": "\\ud800"}}', "Line 2"),
    ],
)
def test_bad_lines(line: bytes, message: str, tmp_path: Path) -> None:
    (path := tmp_path / "file").write_bytes(GOOD + line + b"\n")

    with pytest.raises(FileRefused, match=message):
        read(path, Format.JSONL)


def test_of_a_key_given_twice_the_last_counts(tmp_path: Path) -> None:
    (path := tmp_path / "file").write_bytes(b'{"id": 1, "id": 2, "payload": {"a": 1, "a": 1e300}}')

    (point,) = read(path, Format.JSONL)

    assert (point.id, point.payload) == (2, {"a": 1e300})


def test_lines_are_not_read_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "ROW_BYTES_MAX", 1_000)
    path = tmp_path / "file"

    for format, start in ((Format.JSONL, GOOD), (Format.CSV, b"id,text\n")):
        path.write_bytes(start + b"x" * 2_000)
        with pytest.raises(FileRefused, match="Line 2 is longer than"):
            read(path, format)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "The file is empty"),
        (b"id,a,a\n1,2,3\n", "'a' twice"),
        (b"id,a\n1,2\n3\n", "Row 2 .*line 3.* has 1 cells; the header has 2"),
        (b'id,a\n1,"open\n', "no valid CSV"),
        (b'id,a\n1,"x"y\n', "Line 2 is no valid CSV"),
        (b"id,a\n1,\xff\n", r"Line 2 is no valid UTF-8 \(byte 3"),
        (b'id,vector\n1,"[1.0 2.0]"\n', "Row 1 .*vector: It is no valid JSON"),
        (b'id,vector\n1,"[1]"\n2,"[1,2]"\n', "2 values; those before have 1"),
        (b"id,a\n,2\n", "Row 1 .*id: null is no point id|Row 1 .*None is no point id"),
    ],
)
def test_bad_csv(content: bytes, message: str, tmp_path: Path) -> None:
    (path := tmp_path / "file").write_bytes(content)

    with pytest.raises(FileRefused, match=message):
        read(path, Format.CSV)


def test_bad_parquet(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def refused(table: dict[str, Any], message: str) -> None:
        pq.write_table(pa.table(table), path)
        with pytest.raises(FileRefused, match=message):
            read(path, Format.PARQUET)

    refused({"id": [1, 2], "vector": [[1.0], [float("nan")]]}, "Row 2: vector: Value 0")
    refused({"id": [1, 2], "vector": [[1.0], [1.0, 2.0]]}, "Row 2 .*2 values")
    refused({"id": [1.5]}, "Row 1: id: 1.5 is no point id")
    refused({"id": [1], "x": [float("inf")]}, "Row 1: payload.x")
    refused({"id": [1], "vector": ["[1]"]}, "Row 1: vector: '.1.' stands where a list")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileRefused, match="not complete"):
        read(path, Format.PARQUET)
    path.write_bytes(b"PAR1" + bytes(100) + (50).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(FileRefused, match="no valid Parquet"):
        read(path, Format.PARQUET)


def test_a_dictionary_that_stands_for_gigabytes_is_refused(tmp_path: Path) -> None:
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000, pa.int32()), ["x" * 70_000_000])
    table = pa.table({"id": range(2_000), "text": long})
    pq.write_table(table, path := tmp_path / "file", compression="zstd")
    assert path.stat().st_size < 100_000

    with pytest.raises(FileRefused, match="Row 1 comes to more than 64 MB"):
        read(path, Format.PARQUET)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"\x1f\x8b\x08", "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"PK\x03\x04", "ZIP"),
        (b"\x80\x04\x95", "pickle"),
        (b' [{"id": 1}]', "one JSON array"),
    ],
)
def test_files_to_be_treated_first_say_how(start: bytes, message: str, tmp_path: Path) -> None:
    (path := tmp_path / "file").write_bytes(start)

    with pytest.raises(FileRefused, match=message):
        detect(path)


@pytest.mark.parametrize(
    ("content", "format"),
    [
        (GOOD, Format.JSONL),
        (b'\xef\xbb\xbf{"a": 1}\n', Format.JSONL),
        (b'{"session": "a", "id": 1}\n{"session": "b", "id": 2}\n', Format.JSONL),
        (b'{"session": {"id": "a"}, "collection_data": null}', Format.SESSION_JSON),
        (b'{\n  "export_timestamp": "",\n  "session": {}}', Format.SESSION_JSON),
        (b"id,text\n", None),
        (b"", None),
    ],
)
def test_text_is_told_apart(content: bytes, format: Format | None, tmp_path: Path) -> None:
    (path := tmp_path / "file").write_bytes(content)

    assert detect(path) is format
    assert detect(path, "points.CSV") is Format.CSV
    assert detect(path, None, "text/csv; charset=utf-8") is Format.CSV
