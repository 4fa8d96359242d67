"""Reciprocal rank fusion: the formula, its ties, and that Qdrant's own says the same."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import AsyncQdrantClient, models

from quire.vectors.fusion import RRF_K as K
from quire.vectors.fusion import fused_page, id_order, rank_fused, settled
from quire.vectors.port import CollectionSpec, Point, Query, SparseVector
from quire.vectors.server import QdrantEngine

A, B = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


def test_each_ranking_gives_its_weight_over_k_plus_rank() -> None:
    fused = dict(rank_fused([(1.0, [(1, 0.9), (2, 0.5)]), (2.0, [(2, 7.0), (3, 1.0)])]))
    assert fused == pytest.approx({1: 1 / K, 2: 1 / (K + 1) + 2 / K, 3: 2 / (K + 1)})


def test_a_ranking_of_no_weight_brings_nobody_in() -> None:
    assert rank_fused([(1.0, [(1, 0.9)]), (0.0, [(2, 7.0)])]) == [(1, 1 / K)]


def test_ties_go_by_id_integers_first() -> None:
    assert sorted([B, 10, A, 9], key=id_order) == [9, 10, A, B]
    assert [i for i, _ in settled([(5, 1.0), (B, 0.5), (A, 0.5 + 1e-9), (7, 0.5)])] == [5, 7, A, B]


def test_rankings_by_growing_distance_keep_their_direction() -> None:
    assert [i for i, _ in settled([(3, 0.1), (2, 0.1), (1, 4.0)])] == [2, 3, 1]


@given(st.lists(st.integers(0, 50), unique=True), st.lists(st.integers(0, 50), unique=True))
def test_fusion_does_not_depend_on_how_its_input_breaks_ties(a: list[int], b: list[int]) -> None:
    def ranked(ids: list[int]) -> list[tuple[int | str, float]]:
        return [(i, 1.0) for i in ids]

    once = rank_fused([(1.0, ranked(a)), (1.0, ranked(b))])
    again = rank_fused([(1.0, ranked(a[::-1])), (1.0, ranked(b[::-1]))])
    assert once == again


def test_a_page_is_cut_after_the_threshold() -> None:
    hits = [(n, 1.0 - n / 10) for n in range(5)]
    query = Query([1.0], SparseVector([], []), limit=2, offset=1, score_threshold=1 / (K + 3))
    assert [i for i, _ in fused_page(query, hits, [])] == [1, 2]


@pytest.mark.server
async def test_qdrants_own_fusion_gives_the_same_scores(qdrant_url: str) -> None:
    name = f"fusion-{uuid.uuid4().hex}"
    engine = await QdrantEngine.open(qdrant_url)
    client = AsyncQdrantClient(url=qdrant_url, check_compatibility=False)
    await engine.create(name, CollectionSpec(2))
    await engine.upsert(
        name,
        [Point(n, [1.0, n], SparseVector([1], [float(n * 7 % 5) + 0.1])) for n in range(5)],
    )

    ours = await engine.query(name, Query([1.0, 0.0], SparseVector([1], [1.0])))
    theirs = await client.query_points(
        name,
        prefetch=[
            models.Prefetch(query=[1.0, 0.0], using="dense", limit=100),
            models.Prefetch(
                query=models.SparseVector(indices=[1], values=[1.0]), using="text", limit=100
            ),
        ],
        query=models.RrfQuery(rrf=models.Rrf(k=K)),
    )

    expected = {p.id: p.score for p in theirs.points}
    assert {hit.id: hit.score for hit in ours} == pytest.approx(expected, abs=1e-6)
    await engine.drop(name)
    await client.close()
    await engine.close()
