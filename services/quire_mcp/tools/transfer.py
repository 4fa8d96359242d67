"""Sessions taken apart and put together, and carried away as files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from quire.access.principal import Principal
from quire.app import Quire
from quire.jobs.port import Job
from quire.transfer.feeds import Dedupe, OnConflict
from quire.transfer.merge_request import MergeRequest
from quire.transfer.split_request import (
    ByField,
    Fraction,
    PartRequest,
    SeqRange,
    SplitRequest,
)
from quire.transfer.targets import NewTarget
from quire_mcp.arguments import SessionId
from quire_mcp.callers import caller
from quire_mcp.shapes import SessionBrief, call, session_brief
from quire_mcp.toolbox import Toolbox
from quire_mcp.waiting import JobAnswer, Wait, followed, job_answer

UNDO = "It can be undone over REST for a while: POST /jobs/{job_id}/undo."


class PartArgument(BaseModel):
    """One session to be: say in exactly one way which points it gets."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(examples=["Binding"])
    point_ids: list[int | str] | None = Field(None, examples=[[7, 8]])
    filter: dict[str, Any] | None = Field(None, examples=[{"cluster": 3}])
    document_ids: list[str] | None = None
    first_chunk: int | None = Field(None, description="With last_chunk: a range, both included.")
    last_chunk: int | None = None
    description: str | None = None
    tags: list[str] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)

    def part(self) -> PartRequest:
        seq = None
        if self.first_chunk is not None or self.last_chunk is not None:
            last = -1 if self.last_chunk is None else self.last_chunk
            seq = SeqRange(self.first_chunk or 0, last + 1)
        return PartRequest(
            name=self.name,
            point_ids=self.point_ids,
            filter=self.filter,
            document_ids=self.document_ids,
            seq=seq,
            description=self.description,
            tags=self.tags,
            metadata=self.metadata,
        )


class FractionArgument(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    fraction: float = Field(gt=0, le=1)


class Transferred(TypedDict):
    """What became of a transfer, or the job that is still at it."""

    status: Annotated[str, Field(description="success, or running while the job is at it.")]
    job_id: str
    sessions: Annotated[list[SessionBrief], Field(description="Those that it made or changed.")]
    total_sessions: int
    next: str


class Exported(TypedDict):
    session_id: str
    format: str
    url: Annotated[str, Field(description="GET it with your token: the file, as a stream.")]
    points_count: int
    next: str


def offer(toolbox: Toolbox) -> None:
    """The tools of this module."""
    quire = toolbox.quire

    @toolbox.writes("Merge sessions", destructive=True)
    async def merge_sessions(
        source_session_ids: Annotated[
            list[str], Field(description="Two or more.", examples=[["spring", "summer"]])
        ],
        target_name: Annotated[
            str | None, Field(description="Of the new session.", examples=["Archive"])
        ] = None,
        target_session_id: Annotated[
            str | None,
            Field(description="In place of target_name: one that is there.", examples=["the-year"]),
        ] = None,
        target_description: Annotated[
            str | None,
            Field(description="Of the new session.", examples=["All letters of the year"]),
        ] = None,
        tags: Annotated[
            list[str] | None,
            Field(description="Of the new session.", examples=[["2026", "letters"]]),
        ] = None,
        archive_sources: Annotated[
            bool, Field(description="Whether the sources are archived afterwards.")
        ] = True,
        on_conflict: Annotated[
            OnConflict, Field(description="Equal ids: the first stays, the last, or both.")
        ] = OnConflict.FAIL,
        dedupe: Annotated[
            Dedupe, Field(description="content: what says the same is left out.")
        ] = Dedupe.NONE,
        reembed: Annotated[
            bool, Field(description="Embed anew what another model embedded.")
        ] = False,
        wait_seconds: Wait = 30,
    ) -> Transferred:
        """Put sessions together, with their documents, chunks and conversations."""
        request = MergeRequest(
            source_session_ids=source_session_ids,
            target_name=target_name,
            target_session_id=target_session_id,
            target_description=target_description,
            tags=tags or (),
            archive_sources=archive_sources,
            on_conflict=on_conflict,
            dedupe=dedupe,
            reembed=reembed,
        )
        who = caller().principal
        job_id = await quire.transfers.merge.begin(who, request)
        job = await followed(quire, job_id, wait_seconds)
        made = [] if job.result is None else [str(job.result["session_id"])]
        return await _transferred(toolbox, who, job, made, UNDO)

    @toolbox.writes("Split a session", destructive=True)
    async def split_session(
        session_id: SessionId,
        parts: Annotated[
            list[PartArgument] | None,
            Field(
                description="The sessions to be, one by one.",
                examples=[[{"name": "The good ones", "point_ids": [1, 7]}]],
            ),
        ] = None,
        by_field: Annotated[
            str | None,
            Field(description="Instead: one session for each value.", examples=["cluster_name"]),
        ] = None,
        names: Annotated[
            str | None,
            Field(description="With by_field: what they are called.", examples=["News: {value}"]),
        ] = None,
        max_parts: Annotated[
            int | None,
            Field(description="With by_field: only the largest so many.", ge=1, examples=[10]),
        ] = None,
        fractions: Annotated[
            list[FractionArgument] | None,
            Field(
                description="Instead: shares that add up to 1.",
                examples=[[{"name": "train", "fraction": 0.8}, {"name": "test", "fraction": 0.2}]],
            ),
        ] = None,
        remove_points: Annotated[
            bool, Field(description="False: the points stay in this session too.")
        ] = True,
        archive_original: Annotated[
            bool, Field(description="Whether this session is archived afterwards.")
        ] = False,
        wait_seconds: Wait = 30,
    ) -> Transferred:
        """Move points of a session into new ones, or copy them there."""
        by = None
        if by_field is not None:
            by = ByField(field=by_field, max_parts=max_parts, names=names)
        shares = None
        if fractions is not None:
            shares = [Fraction(share.name, share.fraction) for share in fractions]
        request = SplitRequest(
            parts=None if parts is None else [part.part() for part in parts],
            by=by,
            fractions=shares,
            archive_original=archive_original,
            remove_points=remove_points,
        )
        who = caller().principal
        job_id = await quire.transfers.split.begin(who, session_id, request)
        job = await followed(quire, job_id, wait_seconds)
        made = [] if job.result is None else [str(it) for it in job.result["new_session_ids"]]
        return await _transferred(toolbox, who, job, made, UNDO)

    @toolbox.writes("Fork a session")
    async def fork_session(
        session_id: SessionId,
        name: Annotated[
            str | None, Field(description="Unset: the other's name, and (fork).")
        ] = None,
        description: Annotated[str | None, Field(description="Unset: the other's.")] = None,
        tags: Annotated[list[str] | None, Field(description="Unset: the other's.")] = None,
        wait_seconds: Wait = 30,
    ) -> Transferred:
        """Make a session that has all that this one has; from then on they go their own ways."""
        who = caller().principal
        source = await quire.sessions.get(who, session_id)
        target = NewTarget(
            name=f"{source.name} (fork)" if name is None else name,
            description=source.description if description is None else description,
            tags=source.tags if tags is None else tags,
            metadata=source.metadata,
        )
        job_id, new_id = await quire.transfers.fork.begin(who, session_id, target)
        job = await followed(quire, job_id, wait_seconds)
        made = [] if job.result is None else [new_id]
        return await _transferred(toolbox, who, job, made, "The original is as it was.")

    @toolbox.reads("Export a session")
    async def export_session(
        session_id: SessionId,
        format: Annotated[
            Literal["bundle", "parquet", "jsonl", "csv"],
            Field(description="bundle has everything, and can be imported elsewhere."),
        ] = "bundle",
        vectors: Annotated[bool, Field(description="False: without the vectors.")] = True,
    ) -> Exported:
        """Where to get a session as one file; a file is never put into an answer."""
        who = caller()
        session = await quire.sessions.get(who.principal, session_id)
        kept = "include" if vectors else "omit"
        path = f"/sessions/{quote(session.id, safe='')}/export?format={format}&vectors={kept}"
        return {
            "session_id": session.id,
            "format": format,
            "url": who.url + path,
            "points_count": session.points_count,
            "next": "GET the url with the same bearer token while `quire serve` runs, and save "
            "what it streams; POST /sessions/import takes it in again.",
        }

    @toolbox.reads("Look at a job")
    async def get_job(
        job_id: Annotated[
            str,
            Field(
                description="From the answer that began it.",
                examples=["0f8fad5b-d9cb-469f-a165-70867728950e"],
            ),
        ],
        wait_seconds: Wait = 0,
    ) -> JobAnswer:
        """How far long work is, and what came of it."""
        await quire.work.get(caller().principal, job_id)  # whether they may see it
        await quire.jobs.wait(job_id, wait_seconds)
        return job_answer(await quire.work.get(caller().principal, job_id))


async def _transferred(
    toolbox: Toolbox, principal: Principal, job: Job, made: list[str], done: str
) -> Transferred:
    quire: Quire = toolbox.quire
    briefs = [session_brief(await quire.sessions.peek(principal, it)) for it in made]
    following = (
        f"Look at one: {call('get_session_info', session_id=made[0])}. {done}" if made else ""
    )
    if job.result is None:
        following = f"It goes on by itself: {call('get_job', job_id=job.id)}"

    def built(shown: Sequence[SessionBrief]) -> Transferred:
        return {
            "status": "running" if job.result is None else "success",
            "job_id": job.id,
            "sessions": list(shown),
            "total_sessions": len(briefs),
            "next": following,
        }

    return toolbox.budget.fit_items(briefs, built)
