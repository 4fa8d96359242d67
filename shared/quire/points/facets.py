"""How many points have each value of a payload field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from quire.errors import InvalidInput, LimitExceeded
from quire.points.requests import placed
from quire.points.visibility import visible
from quire.sessions.models import Session
from quire.vectors.port import (
    STAGE,
    Condition,
    FacetCount,
    IndexKind,
    Missing,
    NoneOf,
    Payload,
    VectorEngine,
)
from quire.vectors.validation import payload_key

SAMPLE = 100
"""Points whose values are looked at to tell what a field holds."""

MAX_INDEXES = 64
"""Fields of one session that are indexed: each index costs memory and time at every write."""

KINDS = {str: IndexKind.KEYWORD, int: IndexKind.INTEGER, bool: IndexKind.BOOL}
SEGMENT = re.compile(r'(?:"([^"]+)"|([\w-]+))((?:\[\d*\])*)')
BRACKET = re.compile(r"\[(\d*)\]")


async def counted_values(
    engine: VectorEngine, session: Session, key: str, condition: Condition | None, limit: int
) -> Sequence[FacetCount]:
    """The counts, most frequent first; the index that they need is made when it is first asked for.

    No counts are there when no point has the field.
    """
    with placed():
        payload_key(key, "key")
    if key == STAGE:
        raise InvalidInput(f"key: {STAGE} is Quire's own", field="key")
    shown = visible(session, condition)
    try:
        return await engine.facet(session.collection, key, filter=shown, limit=limit)
    except InvalidInput as error:
        if error.field != "key":
            raise
    if not await _made_index(engine, session, key):
        return []
    return await engine.facet(session.collection, key, filter=shown, limit=limit)


async def _made_index(engine: VectorEngine, session: Session, key: str) -> bool:
    having = visible(session, NoneOf([Missing(key)]))
    page = await engine.scroll(session.collection, filter=having, limit=SAMPLE)
    kinds = {type(value) for record in page.records for value in values_at(record.payload, key)}
    if not kinds:
        return False
    if len(kinds) > 1 or not kinds <= KINDS.keys():
        told = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise InvalidInput(
            f"key: {key} holds {told}; what can be counted is a field of strings, of integers or "
            "of booleans, or of lists of them",
            field="key",
        )
    indexes = (await engine.info(session.collection)).indexes
    if len(indexes) >= MAX_INDEXES and key not in indexes:
        raise LimitExceeded(
            f"key: {key} would be indexed to be counted, and {len(indexes)} fields of the session "
            f"are; the most is {MAX_INDEXES}",
            field="key",
            recovery="Count by one of the fields that are indexed.",
        )
    await engine.create_index(session.collection, key, KINDS[kinds.pop()])
    return True


def values_at(payload: Payload, key: str) -> Iterator[Any]:
    """The values at a path (`a.b`, `a[].b`, `a[0]`), those of a list one by one, without nulls."""
    found: list[Any] = [payload]
    for segment in SEGMENT.finditer(key):
        name = segment[1] or segment[2]
        found = [value[name] for value in found if isinstance(value, dict) and name in value]
        for bracket in BRACKET.finditer(segment[3]):
            lists = [value for value in found if isinstance(value, list)]
            position = slice(int(bracket[1]), int(bracket[1]) + 1) if bracket[1] else slice(None)
            found = [item for values in lists for item in values[position]]
    for value in found:
        items = value if isinstance(value, list) else [value]
        yield from (item for item in items if item is not None)
