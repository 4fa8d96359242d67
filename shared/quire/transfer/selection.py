"""Which of a session's points flow: all, or those of some ids, documents, values, seqs, a share.

A selection is kept in a job's parameters, so it can be written as JSON and read back. It is a
condition for the engine, or a test of ids, or both.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from quire.errors import InvalidInput
from quire.points.filters import parse_filter
from quire.vectors.port import (
    AllOf,
    Condition,
    HasId,
    Match,
    NoneOf,
    PointId,
    Range,
    Record,
    VectorEngine,
)

IDS_AT_ONCE = 500
HASH_BITS = 53
"""As many as a fraction has."""


class Selection(Protocol):
    """Some of a session's points."""

    def condition(self) -> Condition | None:
        """What the engine is asked; None for everything."""
        ...

    def admits(self, identity: PointId) -> bool:
        """Whether a point that the engine found belongs to it."""
        ...

    def as_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Everything:
    def condition(self) -> Condition | None:
        return None

    def admits(self, identity: PointId) -> bool:
        return True

    def as_json(self) -> dict[str, Any]:
        return {"kind": "all"}


@dataclass(frozen=True, slots=True)
class ByIds:
    """The points of these ids, in the order of ids."""

    ids: Sequence[PointId]

    def condition(self) -> Condition | None:
        return HasId(self.ids)

    def admits(self, identity: PointId) -> bool:
        return True

    def as_json(self) -> dict[str, Any]:
        return {"kind": "ids", "ids": list(self.ids)}


@dataclass(frozen=True, slots=True)
class ByFilter:
    """The points that match a filter, written in the language of `quire.points.filters`."""

    filter: Mapping[str, Any]

    def condition(self) -> Condition | None:
        return parse_filter(self.filter, "filter")

    def admits(self, identity: PointId) -> bool:
        return True

    def as_json(self) -> dict[str, Any]:
        return {"kind": "filter", "filter": dict(self.filter)}


@dataclass(frozen=True, slots=True)
class ByDocuments:
    """The chunks of these documents."""

    ids: Sequence[str]

    def condition(self) -> Condition | None:
        return Match("document_id", list(self.ids))

    def admits(self, identity: PointId) -> bool:
        return True

    def as_json(self) -> dict[str, Any]:
        return {"kind": "documents", "ids": list(self.ids)}


@dataclass(frozen=True, slots=True)
class ByValue:
    """The points whose payload field has a value: a cluster's, for one."""

    key: str
    value: str | int | bool

    def condition(self) -> Condition | None:
        return Match(self.key, [self.value])

    def admits(self, identity: PointId) -> bool:
        return True

    def as_json(self) -> dict[str, Any]:
        return {"kind": "value", "key": self.key, "value": self.value}


@dataclass(frozen=True, slots=True)
class BySeq:
    """The chunks from one seq up to, not including, another."""

    start: int
    end: int

    def condition(self) -> Condition | None:
        return Range("seq", gte=self.start, lt=self.end)

    def admits(self, identity: PointId) -> bool:
        return True

    def as_json(self) -> dict[str, Any]:
        return {"kind": "seq", "start": self.start, "end": self.end}


@dataclass(frozen=True, slots=True)
class ByShare:
    """A share of all points that looks random and is always the same for a seed.

    A point's id decides alone, so a session that grows keeps its points in their shares.
    """

    seed: int
    start: float
    end: float

    def condition(self) -> Condition | None:
        return None

    def admits(self, identity: PointId) -> bool:
        hashed = hashlib.blake2b(f"{self.seed}\n{identity}".encode(), digest_size=8).digest()
        place = (int.from_bytes(hashed, "big") >> (64 - HASH_BITS)) / (1 << HASH_BITS)
        return self.start <= place < self.end

    def as_json(self) -> dict[str, Any]:
        return {"kind": "share", "seed": self.seed, "start": self.start, "end": self.end}


@dataclass(frozen=True, slots=True)
class Except:
    """A selection without what others take."""

    chosen: Selection
    others: Sequence[Selection] = field(default_factory=tuple)
    _ids: frozenset[PointId] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ids = (identity for o in self.others if isinstance(o, ByIds) for identity in o.ids)
        object.__setattr__(self, "_ids", frozenset(ids))

    def condition(self) -> Condition | None:
        return both(self.chosen.condition(), self.rest())

    def rest(self) -> Condition | None:
        """What the engine knows of being left over."""
        values: dict[str, list[str | int | bool]] = {}
        taken: list[Condition] = []
        for other in self.others:
            if isinstance(other, ByValue):  # of one field there may be hundreds
                values.setdefault(other.key, []).append(other.value)
            elif not isinstance(other, ByIds) and (condition := other.condition()) is not None:
                taken.append(condition)
        taken += [Match(key, some) for key, some in values.items()]
        return NoneOf(taken) if taken else None

    def admits(self, identity: PointId) -> bool:
        if identity in self._ids or not self.chosen.admits(identity):
            return False
        shares = (other for other in self.others if isinstance(other, ByShare))
        return not any(share.admits(identity) for share in shares)

    def as_json(self) -> dict[str, Any]:
        others = [other.as_json() for other in self.others]
        return {"kind": "except", "chosen": self.chosen.as_json(), "others": others}


def selection_from(told: Mapping[str, Any]) -> Selection:
    """What `as_json` wrote."""
    match told["kind"]:
        case "all":
            return Everything()
        case "ids":
            return ByIds(told["ids"])
        case "filter":
            return ByFilter(told["filter"])
        case "documents":
            return ByDocuments(told["ids"])
        case "value":
            return ByValue(told["key"], told["value"])
        case "seq":
            return BySeq(told["start"], told["end"])
        case "share":
            return ByShare(told["seed"], told["start"], told["end"])
        case "except":
            others = [selection_from(other) for other in told["others"]]
            return Except(selection_from(told["chosen"]), others)
        case kind:
            raise InvalidInput(f"There is no selection of kind {kind}")


def order_of(identity: PointId) -> tuple[int, int, str]:
    """Sorts ids as every engine does: numbers first, then UUIDs."""
    return (0, identity, "") if isinstance(identity, int) else (1, 0, identity)


async def selected(
    engine: VectorEngine,
    collection: str,
    selection: Selection,
    *,
    shown: Condition | None,
    after: PointId | None,
) -> AsyncGenerator[Sequence[Record], None]:
    """The selected points that come after an id, whole, in the order of ids, some at a time.

    `shown` is what there is to be seen at all.
    """
    if (ids := _named(selection)) is not None:
        left = both(shown, _rest(selection))
        async for records in _of_ids(engine, collection, ids, left, after):
            if records:
                yield records
        return
    if isinstance(selection, ByShare):
        # Few may be wanted: their ids are found first.
        async for ids in chosen_ids(engine, collection, selection, shown=shown, after=after):
            for start in range(0, len(ids), IDS_AT_ONCE):
                batch = ids[start : start + IDS_AT_ONCE]
                yield await engine.retrieve(collection, batch, with_vectors=True)
        return
    stream = engine.stream(collection, filter=both(selection.condition(), shown), cursor=after)
    try:
        async for records in stream:
            fresh = [r for r in records if r.id != after and selection.admits(r.id)]
            if fresh:
                yield fresh
    finally:
        await stream.aclose()


async def chosen_ids(
    engine: VectorEngine,
    collection: str,
    selection: Selection,
    *,
    shown: Condition | None,
    after: PointId | None = None,
) -> AsyncGenerator[Sequence[PointId], None]:
    """The ids of the selected points that come after an id, in their order."""
    if (named := _named(selection)) is not None:
        left = both(shown, _rest(selection))
        async for records in _of_ids(engine, collection, named, left, after, whole=False):
            if records:
                yield [record.id for record in records]
        return
    stream = engine.ids(collection, filter=both(selection.condition(), shown), cursor=after)
    try:
        async for ids in stream:
            fresh = [identity for identity in ids if identity != after]
            if chosen := [identity for identity in fresh if selection.admits(identity)]:
                yield chosen
    finally:
        await stream.aclose()


def _named(selection: Selection) -> Sequence[PointId] | None:
    """The ids that it is about, where it is about ids: they may be too many for one condition."""
    if isinstance(selection, ByIds):
        return selection.ids
    if isinstance(selection, Except) and isinstance(selection.chosen, ByIds):
        return [identity for identity in selection.chosen.ids if selection.admits(identity)]
    return None


def _rest(selection: Selection) -> Condition | None:
    return selection.rest() if isinstance(selection, Except) else None


async def _of_ids(
    engine: VectorEngine,
    collection: str,
    ids: Sequence[PointId],
    shown: Condition | None,
    after: PointId | None,
    *,
    whole: bool = True,
) -> AsyncGenerator[Sequence[Record], None]:
    ordered = sorted(set(ids), key=order_of)
    if after is not None:
        ordered = [identity for identity in ordered if order_of(identity) > order_of(after)]
    for start in range(0, len(ordered), IDS_AT_ONCE):
        batch = ordered[start : start + IDS_AT_ONCE]
        if shown is None:
            yield await engine.retrieve(collection, batch, with_payload=whole, with_vectors=whole)
            continue
        filter = AllOf([HasId(batch), shown])
        page = await engine.scroll(collection, filter=filter, limit=len(batch), with_vectors=whole)
        yield page.records


def both(one: Condition | None, other: Condition | None) -> Condition | None:
    """What meets both conditions; None is everything."""
    if one is None or other is None:
        return one or other
    return AllOf([one, other])
