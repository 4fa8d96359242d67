"""Points as Parquet: what went in comes out, and other tools read it too."""

from __future__ import annotations

import io
import math
import random
import uuid
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quire.bundle import points_file, points_table
from quire.bundle.points_file import PointsReader, PointsWriter, read_points
from quire.errors import FileRefused, InvalidInput
from quire.vectors.digest import digest_of
from quire.vectors.port import Point, Record, SparseVector
from tests.bundle.samples import DIMENSION, points

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("aé", max_size=3), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["text", "document_id", "index", "seq", "start", "end", "tokens", "metadata", "", "é", "a.b"]
)
POINTS = st.lists(
    st.builds(
        Point,
        id=st.integers(0, 2**64 - 1) | st.uuids().map(str),
        dense=st.none() | st.lists(FLOATS, min_size=DIMENSION, max_size=DIMENSION),
        sparse=st.none()
        | st.dictionaries(st.integers(0, 2**32 - 1), FLOATS, max_size=5).map(
            lambda terms: SparseVector(list(terms), list(terms.values()))
        ),
        payload=st.dictionaries(NAMES, VALUES, max_size=5),
    ),
    max_size=12,
)


def written(batches: list[Any], dimension: int = DIMENSION, **options: Any) -> bytes:
    file = io.BytesIO()
    writer = PointsWriter(file, dimension, **options)
    for batch in batches:
        writer.write(batch)
    writer.close()
    return file.getvalue()


def read(data: bytes) -> list[Point]:
    return [point for batch in read_points(io.BytesIO(data)) for point in batch]


@settings(max_examples=60, deadline=None)
@given(POINTS)
def test_what_is_written_is_read_again_exactly(given_points: list[Point]) -> None:
    back = read(written([given_points]))

    assert digest_of(back) == digest_of(given_points)
    assert back == given_points
    signs = [[math.copysign(1, value) for value in point.dense or ()] for point in back]
    assert signs == [[math.copysign(1, v) for v in point.dense or ()] for point in given_points]


def test_any_sequence_of_numbers_is_a_vector() -> None:
    values = np.array([1, 2, 3, 0.1], dtype=np.float32)
    sparse = SparseVector((np.uint32(3), 9), np.array([1, 2], dtype=np.float32))

    [back] = read(
        written(
            [
                [
                    Point(1, values, sparse),
                ]
            ]
        )
    )

    assert back == Point(1, values.tolist(), SparseVector([3, 9], [1.0, 2.0]))


def test_the_same_points_make_the_same_bytes_however_they_arrive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(points_file, "GROUP_ROWS", 100)
    many = points(777)

    files = {written([many[n : n + step] for n in range(0, 777, step)]) for step in (777, 100, 13)}

    assert len(files) == 1
    assert pq.read_metadata(io.BytesIO(files.pop())).num_row_groups == 8


def test_a_row_group_ends_with_its_points_or_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points_file, "GROUP_BYTES", 4000)
    large = [Point(n, [0.0] * DIMENSION, payload={"x": "y" * 990}) for n in range(5)]

    metadata = pq.read_metadata(io.BytesIO(written([large])))

    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [2, 2, 1]


def test_a_full_writer_tells_how_many_it_took(tmp_path: Path) -> None:
    writer = PointsWriter(tmp_path / "points", DIMENSION, points_max=10)

    assert writer.write(points(8)) == 8
    assert writer.write(points(8)) == 2
    assert writer.full
    assert writer.write(points(8)) == 0

    writer.close()
    reader = PointsReader(tmp_path / "points")
    assert (reader.points, reader.dimension) == (10, DIMENSION)
    assert reader.unpacked == writer.unpacked > 0
    reader.close()


def test_batches_are_small() -> None:
    data = written([points(1100)])

    assert [len(batch) for batch in read_points(io.BytesIO(data))] == [512, 512, 76]


def test_without_vectors_the_rest_is_there() -> None:
    some = points(20)

    back = read(written([some], vectors=False))

    assert back == [Point(point.id, None, None, point.payload) for point in some]


def test_a_point_that_does_not_fit_is_refused() -> None:
    for wrong in (
        Point(1, [1.0]),
        Point(1, sparse=SparseVector([1], [])),
        Point(1, sparse=SparseVector([-1], [1.0])),
        Point("no id"),
        Point(str(uuid.uuid4()).upper()),
        Point(2**64),
    ):
        writer = PointsWriter(io.BytesIO(), DIMENSION)
        with pytest.raises(InvalidInput):
            writer.write([wrong])
        writer.abandon()


CHUNK = Record(
    id=str(uuid.UUID(int=5)),
    payload={
        "text": "Grüße",
        "document_id": "d",
        "index": 3,
        "seq": 2**40,
        "start": 0,
        "end": 5,
        "tokens": 2,
        "metadata": {"b": 1, "a": [None]},
        "more": True,
    },
    dense=[0.5, -0.25, 0.1, 0.0],
    sparse=SparseVector([7, 2**32 - 1], [1.5, 0.1]),
)
# Fields of these names, but of other kinds.
OTHER = Record(
    id=2**64 - 1,
    payload={"text": 1, "index": True, "seq": 1.0, "start": 2**63, "end": "5", "metadata": []},
)


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    path = tmp_path / "points.parquet"
    path.write_bytes(written([[CHUNK, OTHER]]))
    return path


def test_pandas_opens_it(parquet: Path) -> None:
    frame = pd.read_parquet(parquet)

    first = frame.iloc[0]
    assert first["id"] == CHUNK.id
    assert first["dense"].dtype == np.float32
    assert first["dense"].tolist() == np.array(CHUNK.dense, np.float32).tolist()
    assert first["sparse_indices"].dtype == np.uint32
    assert first["sparse_indices"].tolist() == [7, 2**32 - 1]
    assert first["text"] == "Grüße"
    assert (first["index"], first["seq"], first["tokens"]) == (3, 2**40, 2)
    assert first["metadata"] == '{"a":[null],"b":1}'
    assert orjson.loads(first["payload"]) == CHUNK.payload
    assert frame.iloc[1]["id"] == str(2**64 - 1)
    absent = ["dense", "sparse_values", "text", "index", "seq", "start", "end", "metadata"]
    assert frame.iloc[1][absent].isna().all()


def test_polars_opens_it(parquet: Path) -> None:
    frame = pl.read_parquet(parquet)

    assert frame.schema == {
        "id": pl.String(),
        "dense": pl.Array(pl.Float32, DIMENSION),
        "sparse_indices": pl.List(pl.UInt32),
        "sparse_values": pl.List(pl.Float32),
        "text": pl.String(),
        "document_id": pl.String(),
        "index": pl.Int64(),
        "seq": pl.Int64(),
        "start": pl.Int64(),
        "end": pl.Int64(),
        "tokens": pl.Int64(),
        "metadata": pl.String(),
        "payload": pl.String(),
    }
    first, second = frame.rows(named=True)
    assert list(first["dense"]) == np.array(CHUNK.dense, np.float32).tolist()
    assert (first["seq"], first["text"]) == (2**40, "Grüße")
    assert second["dense"] is None
    assert second["sparse_indices"] is None
    assert frame.filter(pl.col("document_id") == "d")["sparse_indices"].to_list() == [
        [7, 2**32 - 1]
    ]


def test_duckdb_opens_it(parquet: Path) -> None:
    with duckdb.connect() as connection:
        table = connection.from_parquet(str(parquet))
        types = dict(zip(table.columns, map(str, table.types), strict=True))
        assert types["sparse_indices"] == "UINTEGER[]"
        assert types["dense"].startswith("FLOAT[")
        assert types["seq"] == "BIGINT"
        found = table.filter('"end" = 5').project(
            "dense[3], sparse_values[2], payload::json->>'$.more', metadata::json->>'$.b', text"
        )
        near = float(np.float32(0.1))
        assert found.fetchall() == [(near, near, "true", "1", "Grüße")]
        assert table.filter("dense is null").project("id, text").fetchall() == [
            (str(2**64 - 1), None)
        ]


def remade(**columns: Any) -> bytes:
    """The file as pyarrow writes it when some columns are others."""
    table = pq.read_table(io.BytesIO(written([points(4)])))
    for name, column in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), [column])
    out = io.BytesIO()
    pq.write_table(table, out, use_dictionary=False)
    return out.getvalue()


def test_a_file_that_another_writer_wrote_with_these_columns_is_read() -> None:
    assert read(remade()) == read(written([points(4)]))


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"id": pa.array(["1", "x", "3", "4"])}, "'x' is no point id"),
        ({"id": pa.array(["1", "07", "3", "4"])}, "'07' is no point id"),
        ({"id": pa.array(["1", str(2**64), "3", "4"])}, "is no point id"),
        ({"payload": pa.array(["{}", "{", "{}", "{}"])}, "no valid JSON"),
        ({"payload": pa.array(["{}", "[]", "{}", "{}"])}, "no JSON object"),
        (
            {"sparse_values": pa.array([[1], None, None, None], pa.list_(pa.float32()))},
            "not as many values as indices",
        ),
        (
            {"dense": pa.array([[1, None, 3, 4]] * 4, pa.list_(pa.float32(), 4))},
            "a value that is null",
        ),
    ],
)
def test_points_that_are_none_are_refused(columns: dict[str, Any], reason: str) -> None:
    with pytest.raises(FileRefused, match=reason):
        read(remade(**columns))


def test_other_columns_are_refused() -> None:
    out = io.BytesIO()
    pq.write_table(pa.table({"id": ["1"], "dense": [[1.0]]}), out)
    with pytest.raises(FileRefused, match="columns are not those"):
        read(out.getvalue())


def test_what_is_no_parquet_file_is_refused() -> None:
    good = written([points(4)])
    for bad in (b"", b"x" * 200, good[:-1], good[: len(good) // 2], good[:-6] + b"\xff\x00PAR1"):
        with pytest.raises(FileRefused):
            read(bad)


def test_a_harmed_footer_is_refused_or_read_and_never_ends_the_process() -> None:
    """Some, with sizes of lists that contradict each other, did when pyarrow looked at them."""
    good = written([points(50)])
    start = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    refusals = 0
    for seed in range(300):
        chance = random.Random(seed)
        bad = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            bad[chance.randrange(start, len(good) - 8)] ^= 1 << chance.randrange(8)
        try:
            read(bytes(bad))
        except FileRefused:
            refusals += 1
    assert refusals > 150


def test_a_row_group_that_would_fill_the_memory_is_refused() -> None:
    out = io.BytesIO()
    row = {"id": "1", "payload": "{}"}
    pq.write_table(
        pa.Table.from_pylist([row] * 2001, schema=points_table.schema(4)), out, use_dictionary=False
    )
    with pytest.raises(FileRefused, match="2001 points"):
        read(out.getvalue())


def test_a_row_group_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = remade(payload=pa.array(["{}" + " " * 500_000] * 4))
    assert len(data) < 100_000
    monkeypatch.setattr(points_file, "GROUP_BYTES_MAX", 1_000_000)
    with pytest.raises(FileRefused, match="unpacks to more than"):
        read(data)


def test_a_page_that_claims_another_size_than_the_footer_is_refused() -> None:
    data = bytearray(written([points(4)]))
    first = pq.read_metadata(io.BytesIO(data)).row_group(0).column(0)
    # A page's header begins with its kind (two bytes), then the size that it unpacks to.
    assert data[first.data_page_offset + 2] == 0x15
    data[first.data_page_offset + 3] ^= 2
    with pytest.raises(FileRefused, match="The pages of the column id contradict its footer"):
        read(bytes(data))


def test_a_dictionary_of_texts_which_may_stand_for_anything_is_refused() -> None:
    schema = points_table.schema(4)
    payload = orjson.dumps({"x": " " * 20_000}).decode()
    table = pa.Table.from_pylist([{"id": "1", "payload": payload}] * 2000, schema=schema)
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", use_dictionary=["payload"])
    with pytest.raises(FileRefused, match="the column payload"):
        read(out.getvalue())
