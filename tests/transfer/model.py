"""Sessions as plain dictionaries, and what transfers do to them."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from quire.transfer.feeds import ORIGIN, OnConflict, other_id
from quire.vectors.port import Point, PointId, Record

Entry = tuple[tuple[float, ...], Mapping[str, Any]]
Points = dict[PointId, Entry]

DIMENSION = 4
LABELS = ("red", "green", "blue")


def made_points(chance: random.Random, number: int) -> Points:
    """So many points; ids are few, so that sessions have some in common."""
    points: Points = {}
    for _ in range(number):
        n = chance.randrange(40)
        identity: PointId = n if n % 2 else str(uuid.UUID(int=n))
        vector = tuple(float(chance.randrange(1, 9)) for _ in range(DIMENSION))
        payload = {"text": f"says {chance.randrange(30)}", "label": chance.choice(LABELS)}
        points[identity] = (vector, payload)
    return points


def as_request(points: Points) -> list[dict[str, Any]]:
    """The same as somebody writes them."""
    return [
        {"id": identity, "vector": list(vector), "payload": dict(payload)}
        for identity, (vector, payload) in points.items()
    ]


def entry_of(found: Point | Record) -> Entry:
    assert found.dense is not None
    return tuple(found.dense), found.payload


def merged(
    sources: Sequence[tuple[str, Points]],
    on_conflict: OnConflict,
    base: Points | None = None,
) -> Points:
    """What a merge comes to; `base` is what the target held before."""
    result = dict(base or {})
    if on_conflict is OnConflict.REPLACE:
        for _, points in sources:
            result |= points
        return result
    everywhere = set(result).union(*(points for _, points in sources))
    taken = set(result)
    for session_id, points in sources:
        for identity, (vector, payload) in points.items():
            if identity not in taken:
                result[identity] = (vector, payload)
            elif on_conflict is OnConflict.KEEP_BOTH:
                other = other_id(session_id, identity)
                while other in everywhere:
                    other = other_id(session_id, other)
                origin = {"session_id": session_id, "id": identity}
                result[other] = (vector, {**payload, ORIGIN: origin})
        taken |= set(points)
    return result


def conflicting(sources: Sequence[Points]) -> bool:
    """Whether an id is in two of them."""
    ids = [identity for points in sources for identity in points]
    return len(ids) != len(set(ids))


def by_label(points: Points) -> dict[str, Points]:
    """The parts that a split by label makes."""
    parts: dict[str, Points] = {}
    for identity, (vector, payload) in points.items():
        parts.setdefault(payload["label"], {})[identity] = (vector, payload)
    return parts


def numbered_points(first: int, number: int) -> Points:
    """So many points, told apart and told again by their numbers alone."""
    return {
        n: ((1.0, float(n % 7), float(n), 2.0), {"text": f"says {n}", "label": LABELS[n % 3]})
        for n in range(first, first + number)
    }
