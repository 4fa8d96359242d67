"""What callers ask of points: its shape and sense, checked before anything is written.

A request may hold a thousand vectors, so they are looked at here by hand and by numpy: models of
each point would take longer than the engine does.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from quire.errors import InvalidInput, LimitExceeded
from quire.settings import LimitSettings
from quire.vectors.port import (
    MAX_IDS,
    STAGE,
    Condition,
    HasId,
    Payload,
    PointId,
    SparseVector,
)
from quire.vectors.validation import checked_payload, point_id, point_ids

POINT_FIELDS = frozenset({"id", "vector", "text", "sparse", "payload"})
ASSIGNMENT_FIELDS = frozenset({"ids", "payload"})
SPARSE_FIELDS = frozenset({"indices", "values"})

TEXT = "text"
"""The payload field whose words a point is found by."""

OF_CHUNKS = frozenset(
    {"document_id", "index", "seq", "start", "end", "tokens", "context", "metadata"}
)
"""Payload fields that a chunk has from its document; on chunks nobody else writes them."""


@dataclass(frozen=True, slots=True)
class NewPoint:
    """A point to be written: with a vector of the caller's, or a text to make it from."""

    id: PointId
    vector: Sequence[float] | None
    text: str | None
    sparse: SparseVector | None
    payload: Payload


@dataclass(frozen=True, slots=True)
class Assignment:
    """The same payload fields for some points."""

    ids: Sequence[PointId]
    payload: Payload


@dataclass(frozen=True, slots=True)
class Selection:
    """Which points: by ids, by a filter, or, when it is said in so many words, all of them.

    `filter` is what was made of the caller's; `filtered` says whether they gave one, for an empty
    one is no condition at all.
    """

    ids: Sequence[PointId] | None = None
    filter: Condition | None = None
    filtered: bool = False
    everything: bool = False

    def condition(self) -> Condition | None:
        """The condition that it stands for; None selects every point."""
        by_filter = self.filtered or self.filter is not None
        if self.ids is not None and (by_filter or self.everything):
            raise InvalidInput("Select points by ids or by a filter, not both", field="ids")
        if self.ids is not None:
            return HasId(point_ids(self.ids))
        if self.filter is not None:
            if self.everything:
                raise InvalidInput("Give all or a filter with conditions, not both", field="all")
            return self.filter
        if self.everything:
            return None
        if by_filter:
            raise InvalidInput(
                "The filter has no condition, so it would select every point",
                field="filter",
                recovery="Send `all: true` if every point is meant; else name a condition.",
            )
        raise InvalidInput("Select points: by ids, by a filter, or with all: true", field="ids")


@dataclass(frozen=True, slots=True)
class PointQuery:
    """What to rank points by, exactly one of the first four; and which of them, and how."""

    vector: Sequence[float] | None = None
    text: str | None = None
    like: PointId | None = None
    sparse: SparseVector | None = None
    filter: Condition | None = None
    limit: int = 10
    offset: int = 0
    score_threshold: float | None = None
    exact: bool = False
    with_payload: bool = True
    with_vectors: bool = False

    def checked(self, limits: LimitSettings) -> PointQuery:
        """The query, if it says clearly what is looked for."""
        ways = {
            "vector": self.vector,
            "text": self.text,
            "id": self.like,
            "sparse": self.sparse,
        }
        given = [name for name, value in ways.items() if value is not None]
        if len(given) != 1:
            told = " and ".join(given) or "none of them"
            raise InvalidInput(
                f"A query has exactly one of vector, text, id and sparse; this one has {told}",
                field=given[1] if given else "vector",
            )
        if self.text is not None:
            checked_text(self.text, "text")
            if len(self.text) > limits.query_chars:
                raise LimitExceeded(
                    f"text is {len(self.text)} characters long; the most is {limits.query_chars} "
                    "(QUIRE_LIMITS_QUERY_CHARS)",
                    field="text",
                )
        return self


def new_points(values: Sequence[Any], limits: LimitSettings) -> list[NewPoint]:
    """The points of a request; each without an id is given one."""
    _bounded(values, "points", limits)
    with placed():
        return [_new_point(value, f"points[{n}]") for n, value in enumerate(values)]


def new_assignments(values: Sequence[Any], limits: LimitSettings) -> list[Assignment]:
    """The assignments of a request, those of equal payloads made into one."""
    _bounded(values, "assignments", limits)
    owners: dict[PointId, int] = {}
    merged: dict[bytes, Assignment] = {}
    for n, value in enumerate(values):
        place = f"assignments[{n}]"
        fields = _object(value, place, ASSIGNMENT_FIELDS)
        payload = written_fields(fields.get("payload"), f"{place}.payload")
        ids = fields.get("ids")
        if not isinstance(ids, list) or not ids:
            raise InvalidInput(f"{place}.ids must be a list of point ids", field=f"{place}.ids")
        with placed():
            checked = point_ids(ids, f"{place}.ids")
        for identity in checked:
            if owners.setdefault(identity, n) != n:
                raise InvalidInput(
                    f"{place}.ids: {identity} is in assignments[{owners[identity]}] too",
                    field=f"{place}.ids",
                )
        key = orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)
        before = merged.get(key)
        merged[key] = Assignment([*(before.ids if before else ()), *checked], payload)
    if len(owners) > MAX_IDS:
        raise LimitExceeded(
            f"assignments name {len(owners)} points; the most in one request is {MAX_IDS}",
            field="assignments",
        )
    return list(merged.values())


def written_fields(payload: Any, place: str = "payload") -> Payload:
    """Payload fields to be merged into points, null for those to be removed."""
    with placed():
        checked_payload(payload, place)
    if not payload:
        raise InvalidInput(f"{place} names no field to write", field=place)
    _require_unreserved(payload, place)
    if TEXT in payload:
        raise InvalidInput(
            f"{place}.text: by its words a point is found, so they change with its vectors only",
            field=f"{place}.text",
            recovery="Write the point anew (PUT /sessions/{id}/points), or use another field.",
        )
    return dict(payload)


def checked_text(text: Any, place: str) -> str:
    """A text that can be embedded: it has something in it, and is Unicode throughout."""
    if not isinstance(text, str):
        raise InvalidInput(f"{place} must be a string", field=place)
    if not text.strip():
        raise InvalidInput(f"{place} is blank; there is nothing to embed", field=place)
    if (position := text.find("\x00")) >= 0:
        raise InvalidInput(f"{place} holds NUL at character {position}", field=place)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"{place} holds half a surrogate pair at character {error.start}, "
                "which is not valid Unicode",
                field=place,
            ) from None
    return text


def address(text: str, place: str) -> PointId:
    """The id that a URL names: digits are an integer, all else must be a UUID."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= 20
    with placed():
        return point_id(int(text) if is_number else text, place)


def sparse_from(value: Any, place: str) -> SparseVector:
    """A sparse vector of a request; its numbers are checked with all the others."""
    fields = _object(value, place, SPARSE_FIELDS)
    return SparseVector(fields.get("indices", []), fields.get("values", []))


@contextmanager
def placed() -> Iterator[None]:
    """Have refusals of the ports' checks say in words, too, what they are about."""
    try:
        yield
    except InvalidInput as error:
        if error.field is None or error.field in error.message:
            raise
        told = f"{error.field}: {error.message}"
        raise type(error)(told, recovery=error.recovery, **error.details) from error


def _new_point(value: Any, place: str) -> NewPoint:
    fields = _object(value, place, POINT_FIELDS)
    given = fields.get("id")
    identity = str(uuid.uuid4()) if given is None else point_id(given, f"{place}.id")
    vector, text = fields.get("vector"), fields.get(TEXT)
    if (vector is None) == (text is None):
        told = "neither" if text is None else "both"
        raise InvalidInput(
            f"{place}.vector: a point needs a vector, or a text to make it from; this has {told}",
            field=f"{place}.vector",
        )
    payload = fields.get("payload")
    payload = {} if payload is None else payload
    if not isinstance(payload, dict):
        raise InvalidInput(f"{place}.payload must be an object", field=f"{place}.payload")
    _require_unreserved(payload, f"{place}.payload")
    if text is not None:
        checked_text(text, f"{place}.text")
        if payload.setdefault(TEXT, text) != text:
            raise InvalidInput(
                f"{place}.payload.text is kept for the text itself, and differs from it",
                field=f"{place}.payload.text",
            )
    given = fields.get("sparse")
    sparse = None if given is None else sparse_from(given, f"{place}.sparse")
    return NewPoint(identity, vector, text, sparse, payload)


def _require_unreserved(payload: Mapping[str, Any], place: str) -> None:
    if STAGE in payload:
        raise InvalidInput(
            f"{place}.{STAGE} is Quire's own; choose another name", field=f"{place}.{STAGE}"
        )


def _object(value: Any, place: str, known: frozenset[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{place} must be an object", field=place)
    if value.keys() <= known:
        return value
    unknown = ascii(next(name for name in value if name not in known))[1:-1][:80]
    raise InvalidInput(
        f"{place}.{unknown}: there is no such field; there are {', '.join(sorted(known))}",
        field=f"{place}.{unknown}",
    )


def _bounded(values: Sequence[Any], name: str, limits: LimitSettings) -> None:
    if not values:
        raise InvalidInput(f"{name} is empty; send at least one", field=name)
    if len(values) > limits.points:
        raise LimitExceeded(
            f"{len(values)} {name} in one request; the most is {limits.points} "
            "(QUIRE_LIMITS_POINTS)",
            field=name,
            recovery="Send them in several requests; each may be repeated without harm.",
        )
