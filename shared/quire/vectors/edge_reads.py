"""What is read from an open shard, in calls short enough to let other threads in between."""

from __future__ import annotations

from collections.abc import Sequence

import qdrant_edge as edge

from quire.vectors.edge_translate import (
    dense_request,
    from_id,
    from_record,
    from_scored,
    sparse_request,
)
from quire.vectors.fusion import candidates, facet_order, fused_page, settled_records
from quire.vectors.port import FacetCount, PointId, Query, Record, RecordPage, ScoredRecord

_STEP = 256
"""Records in one engine call; it holds the GIL meanwhile."""


def retrieved(
    ids: Sequence[PointId], with_payload: bool, with_vectors: bool, shard: edge.EdgeShard
) -> list[Record]:
    """The points with these ids, in their order."""
    return [
        from_record(record)
        for start in range(0, len(ids), _STEP)
        for record in shard.retrieve([*ids[start : start + _STEP]], with_payload, with_vectors)
    ]


def scrolled(
    condition: edge.Filter | None,
    start: PointId | None,
    limit: int,
    with_vectors: bool,
    shard: edge.EdgeShard,
) -> RecordPage:
    """One page in id order."""
    records: list[Record] = []
    offset = start
    while True:
        page, following = shard.scroll(
            edge.ScrollRequest(
                offset=offset,
                limit=min(limit - len(records), _STEP),
                filter=condition,
                with_payload=True,
                with_vector=with_vectors,
            )
        )
        records += map(from_record, page)
        offset = None if following is None else from_id(following)
        if offset is None or len(records) >= limit:
            return RecordPage(records, offset)


def listed(
    condition: edge.Filter | None, start: PointId | None, limit: int, shard: edge.EdgeShard
) -> tuple[list[PointId], PointId | None]:
    """One page of ids in their order, and where the next one begins."""
    page, following = shard.scroll(
        edge.ScrollRequest(
            offset=start, limit=limit, filter=condition, with_payload=False, with_vector=False
        )
    )
    return [from_id(r.id) for r in page], None if following is None else from_id(following)


def counted(request: edge.FacetRequest, shard: edge.EdgeShard) -> list[FacetCount]:
    """Values and their counts; the engine also tells values that no point has any more."""
    hits = shard.facet(request).hits
    return sorted((FacetCount(h.value, h.count) for h in hits if h.count), key=facet_order)


def searched(query: Query, shard: edge.EdgeShard) -> list[ScoredRecord]:
    """The hits of a checked query; those for both vectors are ranked here and fused by us."""
    both = query.dense is not None and query.sparse is not None
    return _fused(query, shard) if both else _single(query, shard)


def _single(query: Query, shard: edge.EdgeShard) -> list[ScoredRecord]:
    request = dense_request if query.dense is not None else sparse_request
    hits = shard.query(
        request(
            query,
            query.limit,
            offset=query.offset,
            with_payload=query.with_payload,
            with_vector=query.with_vectors,
            score_threshold=query.score_threshold,
        )
    )
    return settled_records(map(from_scored, hits))


def _fused(query: Query, shard: edge.EdgeShard) -> list[ScoredRecord]:
    depth = candidates(query)
    requests = [dense_request(query, depth), sparse_request(query, depth)]
    rankings = shard.query_batch(edge.QueryBatchRequest(requests))
    dense, sparse = ([(from_id(hit.id), hit.score) for hit in hits] for hits in rankings)
    page = dict(fused_page(query, dense, sparse))
    if not page:
        return []
    found = retrieved([*page], query.with_payload, query.with_vectors, shard)
    records = {record.id: record for record in found}
    return [
        ScoredRecord(r.id, r.payload, r.dense, r.sparse, score)
        for identity, score in page.items()
        if (r := records.get(identity)) is not None
    ]
