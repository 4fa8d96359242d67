"""What callers ask of a merge, and what they are told before it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quire.errors import InvalidInput, LimitExceeded
from quire.settings import TransferSettings
from quire.transfer.feeds import Dedupe, OnConflict


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeRequest:
    """Several sessions into one: a new one, or one that is there."""

    source_session_ids: Sequence[str]
    target_name: str | None = None
    target_session_id: str | None = None
    target_description: str | None = None
    owner_id: str | None = None
    group: str | None = None
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    archive_sources: bool = True
    on_conflict: OnConflict = OnConflict.FAIL
    dedupe: Dedupe = Dedupe.NONE
    reembed: bool = False

    def checked(self, limits: TransferSettings) -> MergeRequest:
        """The same, or an error that names the field that cannot be."""
        sources = self.source_session_ids
        is_joined = self.target_session_id is not None
        if len(set(sources)) != len(sources):
            raise InvalidInput(
                "source_session_ids names a session twice", field="source_session_ids"
            )
        if len(sources) < (1 if is_joined else 2):
            raise InvalidInput(
                "source_session_ids needs at least two sessions, or one and a target_session_id",
                field="source_session_ids",
            )
        if len(sources) > limits.sources:
            raise LimitExceeded(
                f"{len(sources)} sources; the limit is {limits.sources} (QUIRE_TRANSFER_SOURCES)",
                field="source_session_ids",
            )
        if self.target_session_id in sources:
            raise InvalidInput("The target is one of the sources", field="target_session_id")
        if is_joined == (self.target_name is not None):
            raise InvalidInput(
                "Give target_name for a new session, or target_session_id for one that is there",
                field="target_name",
            )
        return self


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What a merge would take from one session."""

    session_id: str
    name: str
    points: int
    documents: int
    bytes: int
    """Of the documents, as they came; vectors come on top."""
    conflicts: int
    """Points whose id a session before this one has too."""
    document_conflicts: int
    incompatibility: str | None = None
    textless: int = 0
    """Points that cannot be embedded anew, where that would have to be."""
    activity: Mapping[str, int] = field(default_factory=dict)
    """Messages, invocations, data and attachments."""


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What a merge would do."""

    sources: Sequence[SourceReport]
    would_succeed: bool
    reason: str | None = None

    @property
    def conflicts(self) -> int:
        return sum(source.conflicts + source.document_conflicts for source in self.sources)
