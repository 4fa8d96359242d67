"""The vector port: what Quire asks of an engine, in Quire's own words.

An engine keeps collections of points. A point has an id (an unsigned 64-bit integer or a UUID),
at most one dense and one sparse vector, and a payload. All engines answer alike: same ids, scores
within tolerance, same errors (`quire.errors`); the contract suite in `tests/contract` says so.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

PointId = int | str
Payload = Mapping[str, Any]

DENSE = "dense"
SPARSE = "text"

MAX_BATCH = 1_000
"""The most points in one `upsert`; callers stream larger sets in batches."""

MAX_PAGE = 1_000
"""The most records in one `scroll` page, and the most results of one `query`."""

MAX_WINDOW = 10_000
"""The furthest that `offset + limit` of a query may reach; scroll to read further."""

MAX_IDS = 10_000
"""The most ids, or values to match, in one call."""


class Distance(StrEnum):
    COSINE = "cosine"
    DOT = "dot"
    EUCLID = "euclid"
    MANHATTAN = "manhattan"


class IndexKind(StrEnum):
    KEYWORD = "keyword"
    INTEGER = "integer"
    FLOAT = "float"
    BOOL = "bool"
    DATETIME = "datetime"
    TEXT = "text"


STAGE = "_stage"
"""The payload field by which points are hidden and shown together; only chunks have it."""

STANDARD_INDEXES: Mapping[str, IndexKind] = {
    "document_id": IndexKind.KEYWORD,
    "seq": IndexKind.INTEGER,
    STAGE: IndexKind.KEYWORD,
}
"""Every collection has these from its first moment; chunks are addressed through them."""


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """How a collection is laid: fixed at creation."""

    dimension: int
    distance: Distance = Distance.COSINE
    indexes: Mapping[str, IndexKind] = field(default_factory=lambda: dict(STANDARD_INDEXES))


@dataclass(frozen=True, slots=True)
class SparseVector:
    indices: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Point:
    """What is written: id, vectors, payload. Writing an id again replaces the point whole."""

    id: PointId
    dense: Sequence[float] | None = None
    sparse: SparseVector | None = None
    payload: Payload = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """What is read back; vectors only when asked for. UUIDs come in their canonical form.

    Vectors are 32-bit floats, here widened; under cosine they come back normalised. What was read
    and is written again, to whichever engine, is the same to the last bit. A vector that
    the point does not have is None, whether asked for or not.
    """

    id: PointId
    payload: Payload
    dense: Sequence[float] | None = None
    sparse: SparseVector | None = None


@dataclass(frozen=True, slots=True)
class ScoredRecord(Record):
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class RecordPage:
    """One page of a scroll, in id order; `next_cursor` is None on the last one."""

    records: Sequence[Record]
    next_cursor: PointId | None


# Filters: a small closed set that every engine understands the same way.


@dataclass(frozen=True, slots=True)
class Match:
    """The payload field equals, or (for a list) contains, one of these values."""

    key: str
    any_of: Sequence[str | int | bool]


@dataclass(frozen=True, slots=True)
class Range:
    """The payload field is a number within these bounds."""

    key: str
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None


@dataclass(frozen=True, slots=True)
class DatetimeRange:
    """The payload field is an RFC 3339 time within these bounds (RFC 3339 too)."""

    key: str
    gt: str | None = None
    gte: str | None = None
    lt: str | None = None
    lte: str | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """The payload field is absent, null or an empty list."""

    key: str


@dataclass(frozen=True, slots=True)
class HasId:
    """The point's id is one of these."""

    ids: Sequence[PointId]


@dataclass(frozen=True, slots=True)
class AllOf:
    conditions: Sequence[Condition]


@dataclass(frozen=True, slots=True)
class AnyOf:
    conditions: Sequence[Condition]


@dataclass(frozen=True, slots=True)
class NoneOf:
    conditions: Sequence[Condition]


Condition = Match | Range | DatetimeRange | Missing | HasId | AllOf | AnyOf | NoneOf


@dataclass(frozen=True, slots=True)
class Query:
    """A search by dense vector, by sparse vector, or by both, fused by reciprocal rank (k = 2)."""

    dense: Sequence[float] | None = None
    sparse: SparseVector | None = None
    filter: Condition | None = None
    limit: int = 10
    offset: int = 0
    score_threshold: float | None = None
    exact: bool = False
    with_payload: bool = True
    with_vectors: bool = False
    dense_weight: float = 1.0
    sparse_weight: float = 1.0


@dataclass(frozen=True, slots=True)
class FacetCount:
    value: str | int | bool
    count: int


class CopyPath(StrEnum):
    """How a collection was copied as a whole."""

    CLONE = "clone"  # file by file, each compared by its sha256
    SNAPSHOT = "snapshot"  # the server's own, which checks its sha256


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    name: str
    points_count: int
    indexed_vectors_count: int
    segments_count: int
    indexes: Mapping[str, IndexKind]
    disk_bytes: int | None = None


class VectorEngine(Protocol):
    """An engine that keeps collections, named with 1 to 200 of `A-Z a-z 0-9 _ -`.

    Every method raises `CollectionNotFound` for an unknown collection, `InvalidInput` for input
    that the engine must not see (nothing of a refused batch is written), and `Unavailable` when
    the engine does not answer. `create` and `drop` are idempotent; `create` is all or nothing, and
    raises `Conflict` when the collection exists with another dimension or distance.
    """

    name: str

    async def create(self, collection: str, spec: CollectionSpec) -> None: ...

    async def drop(self, collection: str) -> None: ...

    async def exists(self, collection: str) -> bool: ...

    def collections(self) -> AsyncIterator[str]:
        """The names of all collections that the engine holds; for the reconciler."""
        ...

    async def info(self, collection: str) -> CollectionInfo: ...

    async def upsert(
        self, collection: str, points: Sequence[Point], *, as_read: bool = False
    ) -> None:
        """Write at most MAX_BATCH points; when it returns they survive a kill of any process.

        With `as_read` an engine gave them, for a collection laid alike: they are not checked again.
        """
        ...

    async def delete(self, collection: str, selector: Sequence[PointId] | Condition) -> None:
        """Remove the selected points; ids that no point has are passed over."""
        ...

    async def set_payload(
        self, collection: str, payload: Payload, selector: Sequence[PointId] | Condition
    ) -> None:
        """Merge these fields into the selected points' payload; unknown ids are passed over.

        A field given as null is removed.
        """
        ...

    async def retrieve(
        self,
        collection: str,
        ids: Sequence[PointId],
        *,
        with_payload: bool = True,
        with_vectors: bool = False,
    ) -> Sequence[Record]:
        """The points with these ids, in the order asked; unknown ids are left out."""
        ...

    async def query(self, collection: str, query: Query) -> Sequence[ScoredRecord]:
        """The best matches, best first; equal scores by id."""
        ...

    async def scroll(
        self,
        collection: str,
        *,
        filter: Condition | None = None,
        cursor: PointId | None = None,
        limit: int = 100,
        with_vectors: bool = False,
    ) -> RecordPage:
        """One page in id order; the cursor stays valid while points are written and removed."""
        ...

    def stream(
        self,
        collection: str,
        *,
        filter: Condition | None = None,
        cursor: PointId | None = None,
    ) -> AsyncGenerator[Sequence[Record], None]:
        """All points from a cursor on, in id order, whole, the quickest way the engine knows.

        In batches of at most 512, some of them read ahead; close it when it is not read to its
        end. What is written or removed meanwhile may or may not be seen.
        """
        ...

    def ids(
        self,
        collection: str,
        *,
        filter: Condition | None = None,
        cursor: PointId | None = None,
    ) -> AsyncGenerator[Sequence[PointId], None]:
        """The ids of all points from a cursor on, in their order, in batches of at most 1,000."""
        ...

    async def copy(self, source: str, target: str) -> CopyPath | None:
        """Make `target` a copy of `source`, indexes and all, verified by checksum.

        None where this engine cannot; then the points are to be streamed, and `target` is as it
        was or, where that was found out late, gone. What `target` was before is replaced; nobody
        may use it meanwhile. A copy that broke off may leave something under `target`, to be
        dropped or copied anew. The source may be read and written; the copy is then one of its
        states in between.
        """
        ...

    async def begin_filling(self, collection: str) -> None:
        """Put off what would slow many writes down (the server's indexing); again is no error."""
        ...

    async def end_filling(self, collection: str) -> None:
        """Catch up on it, in the background; again is no error."""
        ...

    async def count(
        self, collection: str, filter: Condition | None = None, *, exact: bool = True
    ) -> int: ...

    async def facet(
        self, collection: str, key: str, *, filter: Condition | None = None, limit: int = 100
    ) -> Sequence[FacetCount]:
        """How many points have each value of an indexed payload field, most frequent first.

        Only keyword, integer and boolean indexes know their values.
        """
        ...

    async def create_index(self, collection: str, key: str, kind: IndexKind) -> None: ...

    async def flush(self, collection: str) -> None:
        """When it returns, everything written survives a power cut."""
        ...

    async def release(self, collection: str) -> None:
        """Let go of the collection's memory; the next use opens it again."""
        ...

    def hot_collections(self) -> int | None:
        """How many collections are open in this process, where that is a thing to know."""
        ...

    async def ping(self) -> str:
        """The engine's version; raises `Unavailable` when it does not answer."""
        ...

    async def close(self) -> None: ...
