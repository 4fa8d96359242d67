"""What a transfer is made of: the collection to be built, and what flows into it from where."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from quire.transfer.selection import Everything, Selection, selection_from
from quire.vectors.port import PointId

NAMESPACE = uuid.UUID("b0a8a9f4-0e5b-5f0d-8d8e-6f6f9a4f1c55")

EVERYTHING = Everything()

ORIGIN = "_origin"
"""The payload field that tells where a point came from whose id was taken."""


class OnConflict(StrEnum):
    """What is done about points, or documents, that have the same id in two sessions."""

    FAIL = "fail"
    SKIP = "skip"  # the first one stays
    REPLACE = "replace"  # the last one stays
    KEEP_BOTH = "keep_both"  # the later one gets an id of its own, and tells its origin


class Dedupe(StrEnum):
    NONE = "none"
    CONTENT = "content"  # what is the same as something before it is left out


@dataclass(frozen=True, slots=True)
class Feed:
    """Points of one session on their way to another collection."""

    session_id: str
    selection: Selection = EVERYTHING
    seq_offset: int = 0
    ordinal_offset: int = 0
    reembed: bool = False

    @property
    def takes_everything(self) -> bool:
        return isinstance(self.selection, Everything)

    def as_json(self) -> dict[str, Any]:
        return {
            "session_id": self.session_id,
            "selection": self.selection.as_json(),
            "seq_offset": self.seq_offset,
            "ordinal_offset": self.ordinal_offset,
            "reembed": self.reembed,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Feed:
        return cls(**{**told, "selection": selection_from(told["selection"])})


@dataclass(frozen=True, slots=True)
class Build:
    """A collection that is being made for a session.

    `base` is the session whose collection is copied whole before anything flows: the fed session
    itself where points join it. Feeds come in the order in which the earlier wins over the later.
    """

    session_id: str
    collection: str
    feeds: Sequence[Feed]
    base: str | None = None
    on_conflict: OnConflict = OnConflict.FAIL
    dedupe: Dedupe = Dedupe.NONE
    conflicts: bool = False
    """Whether any were found, and so have to be looked for at every point."""

    @property
    def arbitrated(self) -> bool:
        return self.conflicts or self.dedupe is not Dedupe.NONE

    def as_json(self) -> dict[str, Any]:
        return {
            "session_id": self.session_id,
            "collection": self.collection,
            "feeds": [feed.as_json() for feed in self.feeds],
            "base": self.base,
            "on_conflict": self.on_conflict.value,
            "dedupe": self.dedupe.value,
            "conflicts": self.conflicts,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Build:
        return cls(
            told["session_id"],
            told["collection"],
            [Feed.from_json(feed) for feed in told["feeds"]],
            told["base"],
            OnConflict(told["on_conflict"]),
            Dedupe(told["dedupe"]),
            told["conflicts"],
        )


@dataclass(frozen=True, slots=True)
class Flow:
    """How far a build is; what a job remembers of it between two portions."""

    feed: int = 0
    after: PointId | None = None
    written: int = 0
    left_out: int = 0
    renamed: int = 0
    digest: str = "0" * 64

    def as_json(self) -> dict[str, Any]:
        return {
            "feed": self.feed,
            "after": self.after,
            "written": self.written,
            "left_out": self.left_out,
            "renamed": self.renamed,
            "digest": self.digest,
        }


def other_id(session_id: str, identity: PointId) -> str:
    """The id that a point or a document gets which comes second; the same in every run."""
    return str(uuid.uuid5(NAMESPACE, f"{session_id}\n{identity}"))
