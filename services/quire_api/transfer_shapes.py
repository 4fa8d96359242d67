"""The JSON of merge, split and fork; the original service's names, with ours on top."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, WithJsonSchema

from quire.transfer.feeds import Dedupe, OnConflict
from quire.transfer.merge_request import MergeRequest
from quire.transfer.split_request import (
    ByField,
    Fraction,
    PartRequest,
    SeqRange,
    SplitActivity,
    SplitRequest,
)
from quire.transfer.targets import NewTarget
from quire_api.point_shapes import ID_SCHEMA, Filter, optional
from quire_api.shapes import Input, Json, SessionShape

PART_IDS_SCHEMA: Json = {
    "type": "array",
    "items": {"anyOf": [*ID_SCHEMA["anyOf"], {"type": "string", "pattern": "^[0-9]{1,20}$"}]},
}


class MergeSessions(Input):
    """Several sessions into a new one (`target_name`) or one that is there (`target_session_id`).

    A session is put together in the order of its sources. Chunks go on counting their `seq`.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "source_session_ids": ["spring-archive", "summer-archive"],
                "target_name": "Archive",
                "archive_sources": True,
            }
        }
    )

    source_session_ids: list[str]
    target_name: str | None = None
    target_session_id: str | None = None
    target_description: str | None = None
    owner_id: str | None = None
    group: str | None = None
    tags: list[str] = Field(default_factory=list)
    metadata: Json = Field(default_factory=dict)
    archive_sources: StrictBool = True
    on_conflict: OnConflict = Field(
        OnConflict.FAIL, description="equal ids: the first stays, the last, or both"
    )
    dedupe: Dedupe = Field(Dedupe.NONE, description="content: what says the same is left out")
    reembed: StrictBool = Field(False, description="embed anew what another model embedded")
    dry_run: StrictBool = Field(False, description="only tell what would happen")

    def request(self) -> MergeRequest:
        return MergeRequest(**self.model_dump(exclude={"dry_run"}))


class ActivityCounts(BaseModel):
    """How much was said and done in a session."""

    messages: int
    invocations: int
    data: int = Field(description="keys")
    attachments: int = Field(description="that have not expired")


class SourceReportShape(BaseModel):
    session_id: str
    name: str
    points: int
    documents: int
    bytes: int
    conflicts: int
    document_conflicts: int
    incompatibility: str | None
    textless: int = Field(description="points that cannot be embedded anew, where that must be")
    activity: ActivityCounts


class MergeReportShape(BaseModel):
    """What a merge would do, per source."""

    dry_run: Literal[True]
    would_succeed: bool
    reason: str | None
    sources: list[SourceReportShape]


class SeqInput(Input):
    """The chunks from `start` up to, not including, `end`."""

    start: Annotated[StrictInt, Field(ge=0)]
    end: Annotated[StrictInt, Field(ge=0)]


class PartInput(Input):
    """One session to be: its points are named in exactly one way."""

    name: str
    point_ids: Annotated[list[Any] | None, optional(PART_IDS_SCHEMA)] = None
    filter: Filter = None
    document_ids: list[str] | None = None
    seq: SeqInput | None = None
    description: str | None = None
    tags: list[str] = Field(default_factory=list)
    metadata: Json = Field(default_factory=dict)

    def part(self) -> PartRequest:
        return PartRequest(
            name=self.name,
            point_ids=self.point_ids,
            filter=self.filter,
            document_ids=self.document_ids,
            seq=None if self.seq is None else SeqRange(self.seq.start, self.seq.end),
            description=self.description,
            tags=self.tags,
            metadata=self.metadata,
        )


class ByInput(Input):
    """One session for each value of a payload field; points without one stay."""

    field: str
    max_parts: Annotated[StrictInt, Field(ge=1)] | None = Field(
        None, description="the most frequent so many"
    )
    names: str | None = Field(None, description="with {value} in it")


class FractionInput(Input):
    name: str
    fraction: Annotated[float, Field(gt=0, le=1)]


class SplitSession(Input):
    """By `parts`, `by` the values of a field, or into `fractions` that follow from the ids.

    A point that several parts ask for goes to the first of them.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "parts": [
                    {"name": "Binding", "point_ids": [7, 8]},
                    {"name": "Paper", "filter": {"cluster": 3}, "tags": ["paper"]},
                ]
            }
        }
    )

    parts: list[PartInput] | None = None
    by: ByInput | None = None
    fractions: list[FractionInput] | None = None
    seed: Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)] = 0
    archive_original: StrictBool = False
    remove_points: StrictBool = Field(True, description="false: the points stay there too")
    strict: StrictBool = Field(
        False, description="refuse unknown ids, ids in two parts, and empty parts"
    )
    activity: SplitActivity = Field(
        SplitActivity.STAY,
        description="copy: every part gets the messages, invocations, data and attachments too",
    )
    dry_run: StrictBool = Field(False, description="only tell what would happen")

    def request(self) -> SplitRequest:
        by, shares = self.by, self.fractions
        return SplitRequest(
            parts=None if self.parts is None else [part.part() for part in self.parts],
            by=None if by is None else ByField(**by.model_dump()),
            fractions=None if shares is None else [Fraction(s.name, s.fraction) for s in shares],
            seed=self.seed,
            archive_original=self.archive_original,
            remove_points=self.remove_points,
            strict=self.strict,
            activity=self.activity,
        )


IdList = Annotated[list[Any], WithJsonSchema({"type": "array", "items": ID_SCHEMA})]


class SplitFindings(BaseModel):
    """What was asked for and is not there, or is there twice; at most the first hundred ids."""

    unknown_ids: IdList
    unknown_ids_count: int
    repeated_ids: IdList
    repeated_ids_count: int
    unknown_document_ids: list[str]
    empty_parts: list[str]


class PartShape(BaseModel):
    session_id: str
    points: int
    path: str = Field(description="streamed, or the way in which a collection is copied whole")
    digest: str


class SplitShape(SplitFindings):
    """The new sessions, one for each part, in their order."""

    new_sessions: list[SessionShape]
    assigned_points: int
    removed_points: int
    parts: list[PartShape]
    activity: ActivityCounts | None = Field(None, description="what every part got a copy of")
    job_id: str


class PartReportShape(BaseModel):
    name: str
    points: int


class SplitReportShape(SplitFindings):
    """What a split would do."""

    dry_run: Literal[True]
    parts: list[PartReportShape]
    assigned_points: int
    remaining_points: int


class ForkSession(Input):
    """All of a session again; what is not given is as it is there."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "Spring, second thoughts"}})

    name: str | None = None
    description: str | None = None
    tags: list[str] | None = None
    metadata: Json | None = None
    owner_id: str | None = None
    group: str | None = None

    def target(self, name: str, description: str | None, tags: Any, metadata: Any) -> NewTarget:
        """What the new session is called, from what the other one has."""
        given = self.model_fields_set
        return NewTarget(
            name=name if self.name is None else self.name,
            description=self.description if "description" in given else description,
            tags=tags if self.tags is None else self.tags,
            metadata=metadata if self.metadata is None else self.metadata,
            owner_id=self.owner_id,
            group=self.group,
        )
