"""Reciprocal rank fusion in one place, so that every engine answers alike.

Engines differ in what their own fusion knows (weights, k) and in how they break ties. So they only
rank; the ranks are fused here. The formula is Qdrant's: weight / (k + rank), ranks from 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from quire.vectors.port import FacetCount, PointId, Query, ScoredRecord

RRF_K = 2
"""Qdrant's own default. A large k lets what two rankings place middling beat what one places first:
with 60, a rare name or an error code is lost among texts on the same subject (`make bench`)."""

MIN_CANDIDATES = 100
"""Each ranking is at least this deep: a good second place must not fall off a short list."""

Hit = tuple[PointId, float]


def id_order(identity: PointId) -> tuple[bool, PointId]:
    """A key that sorts ids as Qdrant does: integers first, then UUIDs."""
    return isinstance(identity, str), identity


def candidates(query: Query) -> int:
    """How many hits of each ranking the fusion of this query looks at."""
    return max(query.limit + query.offset, MIN_CANDIDATES)


def settled(hits: Iterable[Hit]) -> list[Hit]:
    """A ranking, best first, with ties (to single precision) broken by id."""
    ordered: list[Hit] = []
    group: list[Hit] = []
    for hit in hits:
        if group and abs(hit[1] - group[0][1]) > 1e-6 * max(1.0, abs(group[0][1])):
            ordered += sorted(group, key=lambda h: id_order(h[0]))
            group = []
        group.append(hit)
    return ordered + sorted(group, key=lambda h: id_order(h[0]))


def rank_fused(rankings: Sequence[tuple[float, Sequence[Hit]]], k: int = RRF_K) -> list[Hit]:
    """Fuse (weight, ranking) pairs; best first, ties by id."""
    scores: dict[PointId, float] = {}
    for weight, ranking in rankings:
        if weight == 0:
            continue
        for rank, (identity, _) in enumerate(settled(ranking)):
            scores[identity] = scores.get(identity, 0.0) + weight / (k + rank)
    return sorted(scores.items(), key=lambda hit: (-hit[1], id_order(hit[0])))


def fused_page(query: Query, dense: Sequence[Hit], sparse: Sequence[Hit]) -> list[Hit]:
    """The hits that a query for both vectors asks for: fused, thresholded, cut to its page."""
    hits = rank_fused([(query.dense_weight, dense), (query.sparse_weight, sparse)])
    if query.score_threshold is not None:
        hits = [hit for hit in hits if hit[1] >= query.score_threshold]
    return hits[query.offset : query.offset + query.limit]


def settled_records(records: Iterable[ScoredRecord]) -> list[ScoredRecord]:
    """What an engine found, best first, with ties broken by id."""
    found = {record.id: record for record in records}
    return [found[i] for i, _ in settled((r.id, r.score) for r in found.values())]


def facet_order(facet: FacetCount) -> tuple[int, str, str | int]:
    """Most frequent first; equal counts by value."""
    return -facet.count, type(facet.value).__name__, facet.value
