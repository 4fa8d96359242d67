"""The digest of points: what it sees, what it does not, and that it adds up."""

from __future__ import annotations

import random
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from quire.vectors.digest import Digest, digest_of
from quire.vectors.edge import EdgeEngine
from quire.vectors.port import STAGE, CollectionSpec, Point, SparseVector, VectorEngine
from quire.vectors.server import QdrantEngine
from quire.vectors.validation import checked_points

ONE = Point(
    1,
    [0.5, -1.0],
    SparseVector([3, 9], [0.25, 2.0]),
    {"a": 1, "b": {"c": [None, True, "é"]}, "n": 0.5},
)


def some(count: int, dimension: int = 8) -> list[Point]:
    chance = random.Random(count)
    return [
        Point(
            n if n % 2 else str(uuid.UUID(int=n)),
            [chance.gauss(0, 3) for _ in range(dimension)],
            SparseVector([n, 500], [chance.random(), 1.0]) if n % 3 else None,
            {"n": n, "x": chance.random(), "y": chance.gauss(0, 1) * 1e-30, "text": f"word {n}"},
        )
        for n in range(count)
    ]


def test_the_order_of_points_does_not_matter_and_parts_add_up() -> None:
    points = some(50)
    whole = digest_of(points)

    assert digest_of(reversed(points)) == whole
    assert digest_of(points[:20]) + digest_of(points[20:]) == whole
    assert whole - digest_of(points[20:]) == digest_of(points[:20])
    assert digest_of([]) == Digest()
    assert (whole.count, Digest.parsed(50, str(whole))) == (50, whole)


def test_the_same_point_twice_is_not_the_point_once_or_never() -> None:
    assert len({digest_of([ONE] * n) for n in range(4)}) == 4


def test_any_change_is_another_digest() -> None:
    assert ONE.sparse is not None
    changed = [
        replace(ONE, id=2),
        replace(ONE, id=str(uuid.UUID(int=1))),
        replace(ONE, dense=None),
        replace(ONE, dense=[0.5, -1.0000001]),
        replace(ONE, dense=[-1.0, 0.5]),
        replace(ONE, sparse=None),
        replace(ONE, sparse=SparseVector([3, 9], [2.0, 0.25])),
        replace(ONE, sparse=SparseVector([3, 8], [0.25, 2.0])),
        replace(ONE, payload={}),
        replace(ONE, payload={**ONE.payload, "a": "1"}),
        replace(ONE, payload={**ONE.payload, "a": 1.0}),
        replace(ONE, payload={**ONE.payload, "n": 0.5000000000000001}),
        replace(ONE, payload={**ONE.payload, "d": None}),
        replace(ONE, payload={**ONE.payload, STAGE: "in:1"}),
    ]
    assert len({digest_of([point]) for point in [ONE, *changed]}) == len(changed) + 1


def test_the_order_of_keys_and_of_terms_and_the_stages_name_do_not_matter() -> None:
    shown, hidden = ({**ONE.payload, STAGE: stage} for stage in ("in:1", "shown"))
    turned = dict(reversed(ONE.payload.items()))

    assert digest_of([replace(ONE, payload=shown)]) == digest_of([replace(ONE, payload=hidden)])
    assert digest_of([replace(ONE, payload=turned)]) == digest_of([ONE])
    terms = SparseVector([9, 3], [2.0, 0.25])
    assert digest_of([replace(ONE, sparse=terms)]) == digest_of([ONE])


@pytest.mark.server
@pytest.mark.parametrize("dimension", [3, 384, 1_536])
async def test_it_is_the_same_on_both_engines_and_after_trips_between_them(
    dimension: int, tmp_path: Path, qdrant_url: str, qdrant_grpc_port: int | None
) -> None:
    spec, points = CollectionSpec(dimension), some(90, dimension)
    prefix = f"d{uuid.uuid4().hex[:12]}-"
    edge = await EdgeEngine.open(tmp_path, max_open=3)
    rpc = await QdrantEngine.open(qdrant_url, grpc_port=qdrant_grpc_port, prefix=prefix + "g")
    rest = await QdrantEngine.open(qdrant_url, prefix=prefix + "r")
    engines: list[VectorEngine] = [edge, rpc, rest]
    expected = digest_of(checked_points(points, spec))
    try:
        for engine in engines:
            await engine.create("work", spec)
            carried = points
            await engine.upsert("work", carried)
        for source in engines:
            carried = [
                Point(r.id, r.dense, r.sparse, r.payload)
                async for batch in source.stream("work")
                for r in batch
            ]
            assert digest_of(carried) == expected
            for target in engines:
                await target.upsert("work", carried)
    finally:
        for engine in engines:
            await engine.drop("work")
            await engine.close()
