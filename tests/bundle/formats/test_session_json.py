"""The original service's export: any order of keys, any size, nothing missing unnoticed."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from quire.bundle.formats import json_stream
from quire.bundle.formats.models import Format
from quire.bundle.formats.reading import inspect, read_rows
from quire.bundle.formats.session_json import write_session_json
from quire.errors import FileRefused
from quire.vectors.digest import digest_of
from quire.vectors.port import Record, SparseVector
from tests.bundle.formats.files import read, records, saved, stream

POINT = {
    "id": 1,
    "vector": [1.0, 2.0],
    "payload": {"text": 'a "b" \\ {[\\', "é": ["]}", []], "": "\\"},
}


def export(points: Any, **more: Any) -> dict[str, Any]:
    return {
        "session": {"name": "s", "tags": ["}"]},
        "collection_data": {"collection_name": "c", "points": points, **more},
        "export_timestamp": "t",
    }


def written(path: Path, document: Any, **options: Any) -> Path:
    path.write_text(json.dumps(document, **options))
    return path


async def test_what_is_written_is_the_original_shape(tmp_path: Path) -> None:
    points = [Record(1, {"a": 1}, [0.5]), Record(2, {}, None, SparseVector([3], [0.5]))]
    blocks = write_session_json({"name": "s"}, "c", stream(points), timestamp="t")

    document = json.loads((await saved(tmp_path / "file", blocks)).read_bytes())

    assert document == {
        "session": {"name": "s"},
        "collection_data": {
            "collection_name": "c",
            "exported_points": 2,
            "points": [
                {"id": 1, "vector": [0.5], "payload": {"a": 1}},
                {
                    "id": 2,
                    "vector": None,
                    "sparse": {"indices": [3], "values": [0.5]},
                    "payload": {},
                },
            ],
        },
        "export_timestamp": "t",
    }


async def test_without_data_there_is_the_session_alone(tmp_path: Path) -> None:
    blocks = write_session_json({"name": "s"}, "c", None, timestamp="t")
    path = await saved(tmp_path / "file", blocks)

    assert json.loads(path.read_bytes())["collection_data"] is None
    found = inspect(path, Format.SESSION_JSON)
    assert (found.session, found.points, read(path, Format.SESSION_JSON)) == ({"name": "s"}, 0, [])


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
async def test_it_does_not_matter_where_reading_pauses(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    some = records()[-20:]
    compact = await saved(
        tmp_path / "compact", write_session_json({}, "c", stream(some), timestamp="t")
    )
    document = json.loads(compact.read_bytes())
    back_to_front = dict(reversed(document.items()))
    indented = written(tmp_path / "indented", back_to_front, indent=2, ensure_ascii=True)

    for path in (compact, indented):
        assert inspect(path, Format.SESSION_JSON).points == len(some)
        assert digest_of(read(path, Format.SESSION_JSON)) == digest_of(some)


@pytest.mark.parametrize(
    ("vector", "dense"),
    [
        (None, None),
        ([1.0], [1.0]),
        ({"": [1.0]}, [1.0]),
        ({"dense": [1.0], "text": {"indices": [1], "values": [2.0]}}, [1.0]),
        ({}, None),
    ],
)
def test_vectors_as_qdrant_gives_them(vector: Any, dense: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "file", export([{**POINT, "vector": vector}]))

    (point,) = read(path, Format.SESSION_JSON)

    assert point.dense == dense
    assert (point.sparse is not None) == ("text" in (vector or ()))


def test_of_several_vectors_one_is_chosen(tmp_path: Path) -> None:
    path = written(tmp_path / "file", export([{**POINT, "vector": {"a": [1.0], "b": [2.0]}}]))

    with pytest.raises(FileRefused, match=r"Point 1: vector: .*'a', 'b'"):
        read(path, Format.SESSION_JSON)
    assert read(path, Format.SESSION_JSON, {"vector": "b"})[0].dense == [2.0]
    with pytest.raises(FileRefused, match="no vector 'c'"):
        read(path, Format.SESSION_JSON, {"vector": "c"})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (export([POINT], exported_points=2), "holds 1 points; its exported_points says 2"),
        ({"collection_data": None}, "`session` is missing"),
        ({"session": []}, "`session` is no JSON object"),
        (export({}), "is no JSON array"),
        (export([{**POINT, "vector": [[1.0]]}]), "Point 1: vector: Value 0"),
        (export([POINT, 5]), "Point 2: It is no object"),
        (export([POINT, {**POINT, "extra": 1}]), "Point 2: It is no object"),
        (export([{**POINT, "payload": {"n": 2**70}}]), "beyond a 64-bit integer"),
    ],
)
def test_bad_documents(document: Any, message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "file", document)

    with pytest.raises(FileRefused, match=message):
        inspect(path, Format.SESSION_JSON)


def test_a_value_that_nests_without_end_is_refused_at_once(tmp_path: Path) -> None:
    (path := tmp_path / "file").write_text('{"session": ' + "[" * 1_000_000)

    with pytest.raises(FileRefused, match="nests deeper than 100 levels"):
        inspect(path, Format.SESSION_JSON)


def test_a_list_of_points_given_twice_is_refused(tmp_path: Path) -> None:
    (path := tmp_path / "file").write_text(
        '{"session": {}, "collection_data": {"points": [], "points": []}}'
    )

    with pytest.raises(FileRefused, match=r"has `collection_data\.points` twice"):
        inspect(path, Format.SESSION_JSON)


def test_a_file_that_was_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = json.dumps(export([POINT, POINT])).encode()
    path = tmp_path / "file"

    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(FileRefused):
            inspect(path, Format.SESSION_JSON)
    for more in (b"}", b"x", b'{"session": {}}'):
        path.write_bytes(whole + more)
        with pytest.raises(FileRefused, match="the file should end"):
            inspect(path, Format.SESSION_JSON)


def test_any_damaged_byte_is_refused_or_is_within_a_value(tmp_path: Path) -> None:
    whole = json.dumps(export([POINT])).encode()
    path = tmp_path / "file"

    for place in range(len(whole)):
        path.write_bytes(whole[:place] + b"\x01" + whole[place + 1 :])
        with pytest.raises(FileRefused):  # a control character is valid nowhere in JSON
            list(read_rows(path, Format.SESSION_JSON))


@pytest.mark.parametrize("count", [pytest.param(50_000, marks=pytest.mark.soak), 2_000])
def test_memory_stays_the_same_however_large(count: int, tmp_path: Path) -> None:
    point = json.dumps({"id": 1, "vector": [0.123456789] * 10, "payload": {"text": "x" * 20_000}})
    with (path := tmp_path / "file").open("w") as file:
        file.write(f'{{"collection_data": {{"points": [{point}')
        for _ in range(count - 1):
            file.write(f",\n{point}")
        file.write(']}, "session": {}}')

    tracemalloc.start()
    try:
        assert inspect(path, Format.SESSION_JSON).points == count
        read_back = sum(len(batch) for batch in read_rows(path, Format.SESSION_JSON))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert read_back == count
    assert path.stat().st_size > 20_000 * count
    assert peak < 32 * 1024**2
