"""The JSON of points, in and out.

Points and their vectors are taken as they come, and checked by the library: models of them would
cost more than writing them does. Their schemas are for the document.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, WithJsonSchema

from quire.points.filters import parse_filter
from quire.points.requests import PointQuery, Selection, sparse_from
from quire.vectors.port import Record, ScoredRecord
from quire_api.shapes import Input

Json = dict[str, Any]

ID_SCHEMA: Json = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": 2**64 - 1},
        {"type": "string", "format": "uuid"},
    ]
}
IDS_SCHEMA: Json = {"type": "array", "items": ID_SCHEMA, "maxItems": 10_000}
VECTOR_SCHEMA: Json = {"type": "array", "items": {"type": "number"}}
SPARSE_SCHEMA: Json = {
    "type": "object",
    "properties": {
        "indices": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "values": VECTOR_SCHEMA,
    },
    "required": ["indices", "values"],
    "additionalProperties": False,
}
POINT_SCHEMA: Json = {
    "type": "object",
    "description": "exactly one of vector and text; text is embedded and kept in the payload",
    "properties": {
        "id": {**ID_SCHEMA, "description": "yours; left out, a UUID is given"},
        "vector": VECTOR_SCHEMA,
        "text": {"type": "string", "minLength": 1},
        "sparse": SPARSE_SCHEMA,
        "payload": {"type": "object"},
    },
    "additionalProperties": False,
}
ASSIGNMENT_SCHEMA: Json = {
    "type": "object",
    "properties": {"ids": {**IDS_SCHEMA, "minItems": 1}, "payload": {"type": "object"}},
    "required": ["ids", "payload"],
    "additionalProperties": False,
}
FILTER_SCHEMA: Json = {"type": "object", "description": "which points, in the filter language"}


def optional(schema: Json) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [schema, {"type": "null"}]})


Filter = Annotated[Any, optional(FILTER_SCHEMA)]
Ids = Annotated[list[Any] | None, optional(IDS_SCHEMA)]


class PutPoints(Input):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "points": [
                    {"id": 7, "vector": [0.1, 0.2, 0.3], "payload": {"url": "https://a.example"}},
                    {"text": "Quires are bound into books.", "payload": {"lang": "en"}},
                ]
            }
        }
    )

    points: Annotated[
        list[Any], WithJsonSchema({"type": "array", "items": POINT_SCHEMA, "minItems": 1})
    ]


class Selecting(Input):
    """Which points: `ids` or `filter`; every one of them only with `all: true`."""

    ids: Ids = None
    filter: Filter = None
    all: StrictBool = False

    def selection(self) -> Selection:
        return Selection(
            ids=self.ids,
            filter=parse_filter(self.filter),
            filtered=self.filter is not None,
            everything=self.all,
        )


class DeletePoints(Selecting):
    model_config = ConfigDict(json_schema_extra={"example": {"filter": {"cluster": -1}}})


class SetPayload(Selecting):
    """One payload for a selection, or `assignments` of several payloads to several lists of ids."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "assignments": [
                    {"ids": [7, 8], "payload": {"cluster": 0}},
                    {"ids": [9], "payload": {"cluster": 1}},
                ]
            }
        }
    )

    payload: Annotated[Any, WithJsonSchema({"type": "object", "minProperties": 1})] = None
    assignments: Annotated[
        list[Any] | None,
        optional({"type": "array", "items": ASSIGNMENT_SCHEMA, "minItems": 1}),
    ] = None


class QueryPoints(Input):
    """Exactly one of vector, text, id ("like this one") and sparse."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"text": "how books are bound", "limit": 5}}
    )

    vector: Annotated[list[Any] | None, optional(VECTOR_SCHEMA)] = None
    text: str | None = None
    id: Annotated[Any, optional(ID_SCHEMA)] = None
    sparse: Annotated[Any, optional(SPARSE_SCHEMA)] = None
    filter: Filter = None
    limit: Annotated[int, Field(ge=1, le=1_000, strict=True)] = 10
    offset: Annotated[int, Field(ge=0, le=10_000, strict=True)] = 0
    score_threshold: Annotated[float, Field(strict=True, allow_inf_nan=False)] | None = None
    exact: StrictBool = False
    with_payload: StrictBool = True
    with_vectors: StrictBool = False

    def query(self) -> PointQuery:
        return PointQuery(
            vector=self.vector,
            text=self.text,
            like=self.id,
            sparse=None if self.sparse is None else sparse_from(self.sparse, "sparse"),
            filter=parse_filter(self.filter),
            limit=self.limit,
            offset=self.offset,
            score_threshold=self.score_threshold,
            exact=self.exact,
            with_payload=self.with_payload,
            with_vectors=self.with_vectors,
        )


class FacetPoints(Input):
    model_config = ConfigDict(json_schema_extra={"example": {"key": "cluster", "limit": 20}})

    key: str
    filter: Filter = None
    limit: Annotated[int, Field(ge=1, le=1_000, strict=True)] = 100


class CountPoints(Input):
    model_config = ConfigDict(json_schema_extra={"example": {"filter": {"cluster": 3}}})

    filter: Filter = None


class UpsertedShape(BaseModel):
    upserted: int
    points_count: int = Field(description="of the session, afterwards")
    ids: Annotated[list[int | str], Field(description="in the order of the request")]


class Updated(BaseModel):
    updated: int


class Deleted(BaseModel):
    deleted: int


class Counted(BaseModel):
    count: int


class FacetShape(BaseModel):
    value: bool | int | str
    count: int


class SparseShape(BaseModel):
    indices: list[int]
    values: list[float]


class PointShape(BaseModel):
    """A point; its vectors only when they were asked for."""

    id: int | str
    payload: Json
    vector: list[float] | None = None
    sparse: SparseShape | None = None


class ScoredPoint(PointShape):
    score: float


def point_shape(record: Record, *, with_vectors: bool) -> Json:
    shape: Json = {"id": record.id, "payload": record.payload}
    if isinstance(record, ScoredRecord):
        shape["score"] = record.score
    if with_vectors:
        sparse = record.sparse
        shape["vector"] = None if record.dense is None else list(record.dense)
        shape["sparse"] = sparse and {
            "indices": list(sparse.indices),
            "values": list(sparse.values),
        }
    return shape
