"""Jobs, as a tool sees them: waited for, with word of how far they are."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastmcp.server.dependencies import get_context
from pydantic import Field
from typing_extensions import TypedDict

from quire.app import Quire
from quire.errors import Conflict
from quire.jobs.failures import revive
from quire.jobs.port import Job, JobStatus

# Between two looks at how far a job is.
LOOK_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 300.0

Wait = Annotated[
    float,
    Field(
        description="Seconds to wait for it to be done; after that the answer has the job's id.",
        ge=0,
        le=LONGEST_WAIT_SECONDS,
        examples=[30],
    ),
]


class JobAnswer(TypedDict):
    """A job as it stands."""

    job_id: str
    kind: str
    session_id: str | None
    status: str
    done: int
    total: int | None
    unit: str
    error: dict[str, Any] | None
    next: str


async def followed(quire: Quire, job_id: str, seconds: float) -> Job:
    """The job when it is done, or as it stands after so long; its progress is told meanwhile.

    Raises what it failed with.
    """
    context = get_context()
    until = time.monotonic() + seconds
    told = -1
    while True:
        left = until - time.monotonic()
        job = await quire.jobs.wait(job_id, max(0.0, min(LOOK_SECONDS, left)))
        if job.progress.done > told:  # what the protocol is told must grow
            told = job.progress.done
            text = f"{job.kind}: {told} {job.progress.unit}"
            await context.report_progress(told, job.progress.total, text)
        if job.status.is_final or left <= 0:
            break
    if job.status is JobStatus.FAILED and job.error is not None:
        raise revive(job.error)
    if job.status is JobStatus.CANCELLED:
        raise Conflict(f"Job {job.id} was cancelled", recovery="Call the tool again.")
    return job


def job_answer(job: Job) -> JobAnswer:
    """The job, and what to do about it."""
    match job.status:
        case JobStatus.SUCCEEDED:
            following = "It is done: get_session_info tells how its session is now."
        case JobStatus.FAILED | JobStatus.CANCELLED:
            following = "It changed nothing; the error says what to do."
        case _:
            following = f'Call get_job(job_id="{job.id}") in a while; it goes on by itself.'
    return {
        "job_id": job.id,
        "kind": job.kind,
        "session_id": job.session_id,
        "status": job.status.value,
        "done": job.progress.done,
        "total": job.progress.total,
        "unit": job.progress.unit,
        "error": None if job.error is None else {**job.error},
        "next": following,
    }
