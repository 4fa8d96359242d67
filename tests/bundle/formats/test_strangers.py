"""Files that other programs wrote, read by the names of their columns."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import numpy as np
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quire.bundle.formats.mapping import ColumnMapping, parse_mapping
from quire.bundle.formats.models import Format
from quire.bundle.formats.reading import inspect
from quire.errors import FileRefused, InvalidInput
from quire.vectors.port import SparseVector
from tests.bundle.formats.files import read

FRAME: dict[str, Any] = {
    "id": [3, 1, 2],
    "embedding": [[0.5, 1.0], [1.5, 2.0], [2.5, 3.0]],
    "content": ["three", "one", None],
    "score": [0.5, None, 1.0],
    "made": [datetime.datetime(2026, 1, n, 12, tzinfo=datetime.UTC) for n in (1, 2, 3)],
}
EXPECTED = [
    (3, [0.5, 1.0], {"text": "three", "score": 0.5, "made": "2026-01-01T12:00:00Z"}),
    (1, [1.5, 2.0], {"text": "one", "made": "2026-01-02T12:00:00Z"}),
    (2, [2.5, 3.0], {"score": 1.0, "made": "2026-01-03T12:00:00Z"}),
]


def by_pandas(path: Path) -> None:
    pd.DataFrame(FRAME).to_parquet(path)


def by_polars(path: Path) -> None:
    pl.DataFrame(FRAME).write_parquet(path)


def by_polars_as_arrays(path: Path) -> None:
    frame = pl.DataFrame(FRAME).with_columns(pl.col("embedding").cast(pl.Array(pl.Float32, 2)))
    frame.write_parquet(path)


def by_duckdb(path: Path) -> None:
    frame = pl.DataFrame(FRAME).to_arrow()
    with duckdb.connect() as connection:
        connection.register("frame", frame)
        connection.sql(f"SET TimeZone='UTC'; COPY frame TO '{path}' (FORMAT parquet)")


@pytest.mark.parametrize("write", [by_pandas, by_polars, by_polars_as_arrays, by_duckdb])
def test_parquet_of_other_programs(write: Any, tmp_path: Path) -> None:
    write(path := tmp_path / "file.parquet")

    points = read(path, Format.PARQUET)

    assert [(point.id, point.dense, point.payload) for point in points] == EXPECTED
    found = inspect(path, Format.PARQUET)
    assert (found.own, found.points, found.dimension) == (False, 3, 2)
    assert found.taken == ColumnMapping(
        id="id", vector="embedding", text="content", payload=("score", "made")
    )


def test_csv_of_pandas(tmp_path: Path) -> None:
    pd.DataFrame(FRAME).to_csv(path := tmp_path / "file.csv", index=False)

    points = read(path, Format.CSV)

    assert [(point.id, point.dense) for point in points] == [row[:2] for row in EXPECTED]
    assert points[0].payload["text"] == "three"
    assert points[0].payload["score"] == "0.5"  # a cell is the text it is
    assert "text" not in points[2].payload


def test_csv_with_semicolons_and_a_mark(tmp_path: Path) -> None:
    (path := tmp_path / "file.csv").write_bytes(
        "\ufeffuuid;größe;body\r\n".encode() + f"{UUID(int=1)};007;a, b\r\n\r\n".encode()
    )

    (point,) = read(path, Format.CSV)

    assert (point.id, point.dense) == (str(UUID(int=1)), None)
    assert point.payload == {"größe": "007", "text": "a, b"}


def test_columns_of_all_kinds_become_json(tmp_path: Path) -> None:
    table = pa.table(
        {
            "uuid": pa.array([UUID(int=7).bytes], pa.uuid()),
            "vector": pa.array([np.array([0.5, 2], np.float16)], pa.list_(pa.float16())),
            "sparse_indices": pa.array([[5, 2]], pa.list_(pa.uint32())),
            "sparse_values": pa.array([[0.5, 0.25]], pa.list_(pa.float32())),
            "price": [decimal.Decimal("12.50")],
            "count": [decimal.Decimal(12)],
            "day": [datetime.date(2026, 2, 3)],
            "ns": pa.array([1_700_000_000_123_456_789], pa.timestamp("ns")),
            "nested": [{"a": [1, None], "when": datetime.date(2026, 1, 1)}],
            "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
            "label": pa.array(["x"]).dictionary_encode(),
            "nan": [float("nan")],
            "large": pa.array(["y"], pa.large_string()),
        }
    )
    pq.write_table(table, path := tmp_path / "file.parquet")

    (point,) = read(path, Format.PARQUET)

    assert point.id == str(UUID(int=7))
    assert point.dense == [0.5, 2.0]
    assert point.sparse == SparseVector([5, 2], [0.5, 0.25])
    assert point.payload == {
        "price": "12.50",
        "count": 12,
        "day": "2026-02-03",
        "ns": "2023-11-14T22:13:20.123456",
        "nested": {"a": [1, None], "when": "2026-01-01"},
        "map": {"k": 1},
        "label": "x",
        "large": "y",
    }


def test_binary_columns_are_refused_unless_left_out(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1], "raw": [b"\0"]}), path := tmp_path / "file.parquet")

    with pytest.raises(FileRefused, match="'raw' is binary data"):
        read(path, Format.PARQUET)
    assert [point.id for point in read(path, Format.PARQUET, {"payload": []})] == [1]


def lines(path: Path, *rows: Any) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def test_jsonl_with_a_mapping(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "file",
        {"key": "a/1", "emb": [1, 2.5], "body": "b", "content": "c", "x": [1], "y": None},
        {"key": "a/2", "body": "d", "late": 1},
    )
    mapping = {"id": {"column": "key", "hash": True}, "vector": "emb", "text": "body"}

    first, second = read(path, Format.JSONL, mapping)

    assert first.dense == [1, 2.5]
    assert first.payload == {"_id": "a/1", "text": "b", "content": "c", "x": [1], "y": None}
    assert second.payload == {"_id": "a/2", "text": "d", "late": 1}
    assert UUID(str(first.id)).version == 5
    assert read(path, Format.JSONL, mapping) == [first, second]
    only = read(path, Format.JSONL, mapping | {"payload": ["x"]})
    assert [point.payload for point in only] == [
        {"_id": "a/1", "text": "b", "x": [1]},
        {"_id": "a/2", "text": "d"},
    ]


def test_an_id_is_never_changed_silently(tmp_path: Path) -> None:
    path = lines(tmp_path / "file", {"id": "doc-1", "text": "a"})

    with pytest.raises(FileRefused, match=r'Line 1: id: \'doc-1\' is no point id.*"hash": true'):
        read(path, Format.JSONL)


def test_rows_without_an_id_need_a_namespace(tmp_path: Path) -> None:
    path = lines(tmp_path / "file", {"text": "a"}, {"text": "b"})

    with pytest.raises(FileRefused, match="No column is the id"):
        read(path, Format.JSONL)
    ids = [point.id for point in read(path, Format.JSONL, namespace=UUID(int=1))]
    assert ids == [point.id for point in read(path, Format.JSONL, namespace=UUID(int=1))]
    assert len({*ids, *(p.id for p in read(path, Format.JSONL, namespace=UUID(int=2)))}) == 4


@pytest.mark.parametrize(
    ("value", "field", "message"),
    [
        ([], "mapping", "an object"),
        ({"vectors": "v", "text": "t"}, "mapping.vectors", "knows no 'vectors'; its keys are id,"),
        ({"text": 5}, "mapping.text", "'5' is no column's name"),
        ({"id": {"hash": True}}, "mapping.id", '"column"'),
        ({"id": {"column": "a", "hash": "yes"}}, "mapping.id", '"column"'),
        ({"payload": "all"}, "mapping.payload", "a list of column names"),
    ],
)
def test_a_mapping_says_what_is_wrong_with_it(value: Any, field: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        parse_mapping(value)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"vector": "vec"}, "has no column 'vec'; it has 'id', 'text', 'body', '_id'"),
        ({"payload": ["nope"]}, "has no column 'nope'"),
        ({"text": "body"}, "'text' would be overwritten"),
        ({"id": {"column": "id", "hash": True}}, "'_id' would be overwritten"),
    ],
)
def test_a_mapping_must_fit_the_file(mapping: Any, message: str, tmp_path: Path) -> None:
    path = lines(tmp_path / "file", {"id": 1, "text": "a", "body": "b", "_id": 2})

    with pytest.raises(FileRefused, match=message):
        read(path, Format.JSONL, mapping)
