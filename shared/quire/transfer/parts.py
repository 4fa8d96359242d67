"""The parts of a split: which sessions it makes, and what each of them gets.

A point is in the first part that selects it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quire.content.repository import DocumentRepository
from quire.errors import InvalidInput
from quire.points.facets import counted_values
from quire.points.visibility import visible
from quire.sessions.models import Session
from quire.settings import Settings
from quire.transfer.selection import (
    ByDocuments,
    ByIds,
    ByShare,
    ByValue,
    Except,
    Selection,
    both,
    chosen_ids,
    selection_from,
)
from quire.transfer.split_request import (
    ByField,
    Findings,
    Fraction,
    Named,
    SplitRequest,
    too_many,
)
from quire.transfer.targets import NewTarget
from quire.vectors.port import AnyOf, Condition, Match, NoneOf, PointId, VectorEngine


@dataclass(frozen=True, slots=True)
class Part:
    """A session to be, and which points are asked for it."""

    target: NewTarget
    asked: Selection


@dataclass(frozen=True, slots=True)
class Parts:
    """What is asked for every part, in their order; of ids each is in one of them only."""

    asked: Sequence[Selection]
    repeated: Named = field(default_factory=Named)
    """Ids that were named in two."""

    @classmethod
    def of(cls, asked: Sequence[Selection]) -> Parts:
        """The same with every id left to the first part that names it."""
        seen: set[PointId] = set()
        repeated = Named()
        parts: list[Selection] = []
        for selection in asked:
            if isinstance(selection, ByIds):
                repeated += [identity for identity in selection.ids if identity in seen]
                selection = ByIds([i for i in selection.ids if i not in seen])
                seen.update(selection.ids)
            parts.append(selection)
        return cls(parts, repeated)

    def selection(self, number: int) -> Selection:
        """What the part with this number gets."""
        mine = self.asked[number]
        others = [
            other
            for other in self.asked[:number]
            if not (isinstance(other, ByShare | ByIds) and type(other) is type(mine))
        ]  # shares do not meet, and ids do not any more
        return Except(mine, others) if others else mine

    def as_json(self) -> dict[str, Any]:
        return {
            "asked": [selection.as_json() for selection in self.asked],
            "repeated": self.repeated.as_json(),
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Parts:
        asked = [selection_from(selection) for selection in told["asked"]]
        return cls(asked, Named.from_json(told["repeated"]))


class PartFinder:
    """Finds out what the parts of a split are, and what is in them."""

    def __init__(self, engine: VectorEngine, rows: DocumentRepository, settings: Settings) -> None:
        self._engine = engine
        self._rows = rows
        self._settings = settings

    async def parts(self, session: Session, request: SplitRequest) -> Sequence[Part]:
        """What a checked request comes to; the session is awake."""
        if request.by is not None:
            return await self._by_value(session, request.by)
        if request.fractions is not None:
            return _shares(request.fractions, request.seed)
        return [
            Part(
                NewTarget(
                    name=part.name,
                    description=part.description,
                    tags=part.tags,
                    metadata=part.metadata,
                ),
                part.selection(f"parts[{n}]"),
            )
            for n, part in enumerate(request.parts or ())
        ]

    async def _by_value(self, session: Session, by: ByField) -> Sequence[Part]:
        limits = self._settings.transfer
        most = limits.parts if by.max_parts is None else by.max_parts
        found = await counted_values(self._engine, session, by.field, None, most + 1)
        if not found:
            raise InvalidInput(
                f"No point of session {session.id} has a value in {by.field!r}", field="by.field"
            )
        if by.max_parts is None and len(found) > most:
            raise too_many(len(found), limits, "by")
        longest = self._settings.limits.name_chars
        return [
            Part(
                NewTarget(
                    name=by.name(
                        session.name,
                        one.value,
                        longest,
                        called=await self._called(session, by.field, one.value),
                    ),
                    metadata={"split_by": {"field": by.field, "value": one.value}},
                ),
                ByValue(by.field, one.value),
            )
            for one in found[:most]
        ]

    async def _called(self, session: Session, key: str, value: str | int | bool) -> str | None:
        """The name of a value, where points have one beside it: `cluster_name` of `cluster`."""
        condition = visible(session, Match(key, [value]))
        page = await self._engine.scroll(session.collection, filter=condition, limit=1)
        for record in page.records:
            name = record.payload.get(f"{key}_name")
            if isinstance(name, str) and name.strip():
                return name
        return None

    async def look(self, session: Session, parts: Parts, *, counting: bool) -> Findings:
        """What is named that is not there or is there twice; and, counting, what is in each part.

        Counting reads what moving is going to read again.
        """
        counts: list[int] = []
        unknown, repeated, unknown_documents = Named(), parts.repeated, Named()
        for number, asked in enumerate(parts.asked):
            if counting:
                counts.append(await self._count(session, parts.selection(number)))
            repeated = await self._repeated(session, parts.asked[:number], asked, repeated)
            if isinstance(asked, ByIds):
                unknown = await self._unknown(session, asked.ids, unknown)
            elif isinstance(asked, ByDocuments):
                known = await self._rows.current(session.id, asked.ids)
                unknown_documents += set(asked.ids) - {document.id for document in known}
        points = await self._engine.count(session.collection, visible(session))
        return Findings(points, counts, unknown, repeated, unknown_documents)

    async def _count(self, session: Session, selection: Selection) -> int:
        shown, count = visible(session), 0
        if not isinstance(selection, ByIds | ByShare | Except):
            condition = both(selection.condition(), shown)
            return await self._engine.count(session.collection, condition)
        async for ids in chosen_ids(self._engine, session.collection, selection, shown=shown):
            count += len(ids)
        return count

    async def _unknown(self, session: Session, ids: Sequence[PointId], found: Named) -> Named:
        for start in range(0, len(ids), AT_ONCE):
            batch = ids[start : start + AT_ONCE]
            there: set[PointId] = set()
            async for some in chosen_ids(
                self._engine, session.collection, ByIds(batch), shown=visible(session)
            ):
                there.update(some)
            found += [identity for identity in batch if identity not in there]
        return found

    async def _repeated(
        self, session: Session, earlier: Sequence[Selection], asked: Selection, found: Named
    ) -> Named:
        """With the points that this part asks for and an earlier one too, but for ids in both."""
        if isinstance(asked, ByShare):
            return found
        conditions = [one.condition() for one in earlier if not isinstance(one, ByIds)]
        taken = [condition for condition in conditions if condition is not None]
        met: list[tuple[Selection, Condition | None]] = []
        if taken:
            met.append((asked, AnyOf(taken)))
        ids = [identity for one in earlier if isinstance(one, ByIds) for identity in one.ids]
        if ids and not isinstance(asked, ByIds):
            rest = NoneOf(taken) if taken else None  # those are counted already
            met.append((ByIds(ids), both(asked.condition(), rest)))
        for selection, condition in met:
            shown = both(condition, visible(session))
            async for some in chosen_ids(self._engine, session.collection, selection, shown=shown):
                found += some
        return found


AT_ONCE = 5_000


def _shares(fractions: Sequence[Fraction], seed: int) -> Sequence[Part]:
    ends = list(itertools.accumulate(part.fraction for part in fractions))
    if abs(ends[-1] - 1) < 1e-9:
        ends[-1] = 1.0  # or rounding would leave a point nobody's
    starts = [0.0, *ends[:-1]]
    return [
        Part(NewTarget(name=part.name), ByShare(seed, start, end))
        for part, start, end in zip(fractions, starts, ends, strict=True)
    ]
