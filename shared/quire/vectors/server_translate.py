"""The port's words in the Qdrant client's, and back."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qdrant_client import grpc as pb
from qdrant_client import models
from qdrant_client.conversions.conversion import payload_to_grpc

from quire.vectors.port import (
    DENSE,
    SPARSE,
    AllOf,
    AnyOf,
    CollectionSpec,
    Condition,
    DatetimeRange,
    Distance,
    HasId,
    IndexKind,
    Match,
    Missing,
    NoneOf,
    Point,
    PointId,
    Query,
    Range,
    Record,
    ScoredRecord,
    SparseVector,
)

_DISTANCES = {
    Distance.COSINE: models.Distance.COSINE,
    Distance.DOT: models.Distance.DOT,
    Distance.EUCLID: models.Distance.EUCLID,
    Distance.MANHATTAN: models.Distance.MANHATTAN,
}
_SCHEMAS = {kind: models.PayloadSchemaType(kind.value) for kind in IndexKind}


def collection_options(spec: CollectionSpec) -> dict[str, Any]:
    """Settings with a small footprint: with the defaults, 400 collections take over a gigabyte."""
    return {
        "vectors_config": {
            DENSE: models.VectorParams(
                size=spec.dimension, distance=_DISTANCES[spec.distance], on_disk=True
            )
        },
        "sparse_vectors_config": {
            SPARSE: models.SparseVectorParams(
                modifier=models.Modifier.IDF, index=models.SparseIndexParams(on_disk=True)
            )
        },
        "on_disk_payload": True,
        "hnsw_config": models.HnswConfigDiff(on_disk=True),
        "optimizers_config": models.OptimizersConfigDiff(default_segment_number=1),
        "wal_config": models.WalConfigDiff(wal_capacity_mb=1, wal_segments_ahead=0),
    }


def to_schema(kind: IndexKind) -> models.PayloadSchemaType:
    """The kind of a payload index."""
    return _SCHEMAS[kind]


def from_info(info: models.CollectionInfo) -> CollectionSpec | None:
    """How a collection was laid; None when Quire did not lay it."""
    vectors = info.config.params.vectors
    dense = vectors.get(DENSE) if isinstance(vectors, dict) else None
    if dense is None:
        return None
    return CollectionSpec(
        dimension=dense.size,
        distance=Distance(dense.distance.value.lower()),
        indexes=from_schema(info.payload_schema),
    )


def from_schema(schema: Mapping[str, models.PayloadIndexInfo]) -> dict[str, IndexKind]:
    """The payload indexes of a collection, those of a kind that the port knows."""
    kinds = {kind.value: kind for kind in IndexKind}
    return {
        key: kinds[entry.data_type.value]
        for key, entry in schema.items()
        if entry.data_type.value in kinds
    }


def to_filter(condition: Condition) -> models.Filter:
    """A checked condition as a filter."""
    match condition:
        case AllOf(conditions):
            return models.Filter(must=[_to_condition(c) for c in conditions])
        case AnyOf(conditions):
            return models.Filter(should=[_to_condition(c) for c in conditions])
        case NoneOf(conditions):
            return models.Filter(must_not=[_to_condition(c) for c in conditions])
        case _:
            return models.Filter(must=[_to_condition(condition)])


def _to_condition(condition: Condition) -> models.Condition:
    match condition:
        case Match(key, any_of):
            return _to_match(key, any_of)
        case Range(key, gt, gte, lt, lte):
            return models.FieldCondition(
                key=key, range=models.Range(gt=gt, gte=gte, lt=lt, lte=lte)
            )
        case DatetimeRange(key, gt, gte, lt, lte):
            bounds = {"gt": gt, "gte": gte, "lt": lt, "lte": lte}
            return models.FieldCondition(key=key, range=models.DatetimeRange.model_validate(bounds))
        case Missing(key):
            return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
        case HasId(ids):
            return models.HasIdCondition(has_id=list(ids))
        case AllOf() | AnyOf() | NoneOf():
            return to_filter(condition)


def _to_match(key: str, any_of: Sequence[str | int | bool]) -> models.Condition:
    strings = [v for v in any_of if isinstance(v, str)]
    booleans = {v for v in any_of if isinstance(v, bool)}
    integers = [v for v in any_of if isinstance(v, int) and not isinstance(v, bool)]
    matches: list[models.Match] = []
    if strings:
        matches.append(models.MatchAny(any=strings))
    if integers:
        matches.append(models.MatchAny(any=integers))
    matches += [models.MatchValue(value=value) for value in booleans]
    conditions: list[models.Condition] = [
        models.FieldCondition(key=key, match=match) for match in matches
    ]
    if len(conditions) == 1:
        return conditions[0]
    return models.Filter(should=conditions) if conditions else models.HasIdCondition(has_id=[])


def to_point(point: Point) -> models.PointStruct:
    """A checked point for REST and local mode."""
    vectors: dict[str, Any] = {}
    if point.dense is not None:
        vectors[DENSE] = list(point.dense)
    if point.sparse is not None:
        vectors[SPARSE] = to_sparse(point.sparse)
    return models.PointStruct(id=point.id, vector=vectors, payload=dict(point.payload))


def to_message(point: Point) -> pb.PointStruct:
    """A checked point for gRPC, past the client's models: they take longer than the server."""
    vectors: dict[str, pb.Vector] = {}
    if point.dense is not None:
        vectors[DENSE] = pb.Vector(dense=pb.DenseVector(data=point.dense))
    if point.sparse is not None:
        sparse = pb.SparseVector(indices=point.sparse.indices, values=point.sparse.values)
        vectors[SPARSE] = pb.Vector(sparse=sparse)
    return pb.PointStruct(
        id=pb.PointId(num=point.id) if isinstance(point.id, int) else pb.PointId(uuid=point.id),
        vectors=pb.Vectors(vectors=pb.NamedVectors(vectors=vectors)),
        payload=payload_to_grpc(dict(point.payload)),
    )


def to_sparse(sparse: SparseVector) -> models.SparseVector:
    """A checked sparse vector."""
    return models.SparseVector(indices=list(sparse.indices), values=list(sparse.values))


def to_request(query: Query, using: str, limit: int, **options: Any) -> models.QueryRequest:
    """One half of a query: by its dense vector, or by its sparse one."""
    vector: Any = None
    if using == DENSE and query.dense is not None:
        vector = list(query.dense)
    elif using == SPARSE and query.sparse is not None:
        vector = to_sparse(query.sparse)
    return models.QueryRequest(
        query=vector,
        using=using,
        limit=limit,
        filter=None if query.filter is None else to_filter(query.filter),
        params=models.SearchParams(exact=True) if query.exact else None,
        **options,
    )


def from_id(identity: Any) -> PointId:
    """Local mode may give UUID objects."""
    return identity if isinstance(identity, int) else str(identity)


def from_record(record: models.Record) -> Record:
    """A record as the client read it."""
    dense, sparse = _from_vectors(record.vector)
    return Record(from_id(record.id), record.payload or {}, dense, sparse)


def from_json(record: Mapping[str, Any]) -> Record:
    """A record as the server wrote it, past the client's models."""
    dense, sparse = _from_vectors(record.get("vector"))
    return Record(record["id"], record.get("payload") or {}, dense, sparse)


def from_scored(points: Iterable[models.ScoredPoint]) -> list[ScoredRecord]:
    """The hits of a query."""
    return [
        ScoredRecord(from_id(p.id), p.payload or {}, *_from_vectors(p.vector), p.score)
        for p in points
    ]


def _from_vectors(vectors: Any) -> tuple[Sequence[float] | None, SparseVector | None]:
    if not isinstance(vectors, dict) or not vectors:
        return None, None
    dense, sparse = vectors.get(DENSE), vectors.get(SPARSE)
    if dense is not None:
        # The server writes the shortest decimal; as a 32-bit float it is what all engines give.
        dense = array("f", dense).tolist()
    if sparse is not None:
        raw = sparse if isinstance(sparse, dict) else sparse.model_dump()
        sparse = SparseVector(raw["indices"], array("f", raw["values"]).tolist())
    return dense, sparse
