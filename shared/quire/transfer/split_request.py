"""What callers ask of a split, and what they are told before it is done."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from quire.errors import InvalidInput, LimitExceeded
from quire.points.filters import parse_filter
from quire.points.requests import address, placed
from quire.settings import TransferSettings
from quire.transfer.selection import ByDocuments, ByFilter, ByIds, BySeq, Selection
from quire.vectors.port import MAX_IDS, PointId
from quire.vectors.validation import point_id

VALUE = "{value}"
SHOWN = 100
"""Ids that an answer lists at most; it counts them all."""


@dataclass(frozen=True, slots=True)
class SeqRange:
    """The chunks from `start` up to, not including, `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRequest:
    """One session to be, and exactly one way to say which points it gets."""

    name: str
    point_ids: Sequence[PointId] | None = None
    filter: Mapping[str, Any] | None = None
    document_ids: Sequence[str] | None = None
    seq: SeqRange | None = None
    description: str | None = None
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def selection(self, at: str) -> Selection:
        """Which points; digits are the integers that they are of, UUIDs come in any form."""
        ways = {
            "point_ids": self.point_ids,
            "filter": self.filter,
            "document_ids": self.document_ids,
            "seq": self.seq,
        }
        given = [name for name, value in ways.items() if value is not None]
        if len(given) != 1:
            told = " and ".join(given) or "none of them"
            raise InvalidInput(
                f"{at} has exactly one of {', '.join(ways)}; this one has {told}", field=at
            )
        if self.point_ids is not None:
            return ByIds(_ids(self.point_ids, f"{at}.point_ids"))
        if self.filter is not None:
            if parse_filter(self.filter, f"{at}.filter") is None:
                raise InvalidInput(f"{at}.filter has no condition", field=f"{at}.filter")
            return ByFilter(self.filter)
        if self.document_ids is not None:
            if len(self.document_ids) > MAX_IDS:
                raise LimitExceeded(
                    f"{at}.document_ids names {len(self.document_ids)} documents; the most in one "
                    f"part is {MAX_IDS}",
                    field=f"{at}.document_ids",
                )
            return ByDocuments(list(dict.fromkeys(self.document_ids)))
        seq = self.seq or SeqRange(0, 0)
        if not 0 <= seq.start <= seq.end:
            raise InvalidInput(f"{at}.seq begins before it ends, at 0 or later", field=f"{at}.seq")
        return BySeq(seq.start, seq.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class ByField:
    """One session for each value of a payload field; points without one stay where they are."""

    field: str
    max_parts: int | None = None
    """Only the most frequent so many; None: all of them."""
    names: str | None = None
    """What they are called, with {value} for the value."""

    def name(
        self, source_name: str, value: object, longest: int, *, called: str | None = None
    ) -> str:
        """What a part is to be called; `called` is the name that its value has in the points."""
        told = str(value).lower() if isinstance(value, bool) else str(value)
        if self.names is not None:
            return self.names.replace(VALUE, told)[:longest].strip()
        return f"{source_name}: {called or told}"[:longest].strip()


class SplitActivity(StrEnum):
    """What becomes of conversation, invocations, data and attachments."""

    STAY = "stay"  # they are of the session that is split, and of no part
    COPY = "copy"  # every part gets all of them too


@dataclass(frozen=True, slots=True)
class Fraction:
    name: str
    fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRequest:
    """One session into several; exactly one of `parts`, `by` and `fractions` says how."""

    parts: Sequence[PartRequest] | None = None
    by: ByField | None = None
    fractions: Sequence[Fraction] | None = None
    seed: int = 0
    archive_original: bool = False
    remove_points: bool = True
    strict: bool = False
    activity: SplitActivity = SplitActivity.STAY

    def checked(self, limits: TransferSettings) -> SplitRequest:
        """The same, or an error that names the field that cannot be."""
        ways = {"parts": self.parts, "by": self.by, "fractions": self.fractions}
        given = [name for name, value in ways.items() if value is not None]
        if len(given) != 1:
            told = " and ".join(given) or "none of them"
            raise InvalidInput(
                f"A split has exactly one of {', '.join(ways)}; this one has {told}",
                field=given[1] if given else "parts",
            )
        asked = self.parts if self.parts is not None else self.fractions
        wanted = None if asked is None else len(asked)
        if self.by is not None:
            wanted = self.by.max_parts
        if wanted is not None and wanted < 1:
            raise InvalidInput(f"{given[0]} makes no part; name at least one", field=given[0])
        if wanted is not None and wanted > limits.parts:
            raise too_many(wanted, limits, given[0])
        if self.fractions is not None:
            _check_fractions(self.fractions)
        if self.by is not None and self.by.names is not None and VALUE not in self.by.names:
            raise InvalidInput(f"by.names needs {VALUE} in it", field="by.names")
        return self


@dataclass(frozen=True, slots=True)
class Named:
    """Ids: how many there are, and the first of them."""

    count: int = 0
    first: Sequence[PointId] = ()

    def __add__(self, others: Iterable[PointId]) -> Named:
        more = list(others)
        room = max(0, SHOWN - len(self.first))
        return replace(self, count=self.count + len(more), first=[*self.first, *more[:room]])

    def as_json(self) -> dict[str, Any]:
        return {"count": self.count, "first": list(self.first)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Named:
        return cls(told["count"], told["first"])


@dataclass(frozen=True, slots=True)
class Findings:
    """What a split meets in the session."""

    points: int
    """Of the session."""
    counts: Sequence[int]
    """Of each part, where they were counted."""
    unknown: Named = Named()
    repeated: Named = Named()
    unknown_documents: Named = Named()

    def as_json(self) -> dict[str, Any]:
        return {
            "points": self.points,
            "counts": list(self.counts),
            "unknown": self.unknown.as_json(),
            "repeated": self.repeated.as_json(),
            "unknown_documents": self.unknown_documents.as_json(),
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Findings:
        named = ("unknown", "repeated", "unknown_documents")
        return cls(
            told["points"],
            told["counts"],
            **{name: Named.from_json(told[name]) for name in named},
        )

    def answer(self, names: Sequence[str]) -> dict[str, Any]:
        """The same in the words of the answer; `names` are the parts'."""
        empty = [name for name, count in zip(names, self.counts, strict=True) if not count]
        return {
            "unknown_ids": list(self.unknown.first),
            "unknown_ids_count": self.unknown.count,
            "repeated_ids": list(self.repeated.first),
            "repeated_ids_count": self.repeated.count,
            "unknown_document_ids": list(self.unknown_documents.first),
            "empty_parts": empty,
        }

    def objection(self, names: Sequence[str]) -> InvalidInput | None:
        """Why a strict split is refused, if it is."""
        answer = self.answer(names)
        told = {
            "are in no part of the session": [
                *answer["unknown_ids"],
                *answer["unknown_document_ids"],
            ],
            "are in more than one part": answer["repeated_ids"],
            "would be empty": answer["empty_parts"],
        }
        wrong = [f"{_listed(some)} {what}" for what, some in told.items() if some]
        if not wrong:
            return None
        return InvalidInput(
            f"Nothing was split: {'; '.join(wrong)}",
            recovery="Correct the parts, or leave strict out: then this is reported and passed "
            "over.",
            **answer,
        )


def too_many(parts: int, limits: TransferSettings, field: str) -> LimitExceeded:
    return LimitExceeded(
        f"{parts} parts; the limit is {limits.parts} (QUIRE_TRANSFER_PARTS)", field=field
    )


def _ids(values: Sequence[PointId], at: str) -> list[PointId]:
    with placed():
        ids = [
            address(value, f"{at}[{n}]")
            if isinstance(value, str)
            else point_id(value, f"{at}[{n}]")
            for n, value in enumerate(values)
        ]
    return list(dict.fromkeys(ids))


def _check_fractions(fractions: Sequence[Fraction]) -> None:
    for n, part in enumerate(fractions):
        if not 0 < part.fraction <= 1:
            at = f"fractions[{n}].fraction"
            raise InvalidInput(f"{at} must be above 0 and at most 1", field=at)
    total = math.fsum(part.fraction for part in fractions)
    if total > 1 + 1e-9:
        raise InvalidInput(f"The fractions add up to {total:g}; the most is 1", field="fractions")


def _listed(names: Sequence[object]) -> str:
    few = ", ".join(str(name) for name in names[:10])
    return f"{few} …" if len(names) > 10 else few
