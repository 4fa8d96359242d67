"""The jobs port: durable, ordered, cancellable work.

A job is a row in our own table (`status`, `progress`, `result`, `error`) and a run in a durable
engine that brings it back after any crash. A job names the sessions that it changes; on each of
them jobs run one at a time, in the order of their submission.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")
Json = Mapping[str, Any]


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class Progress:
    done: int = 0
    total: int | None = None
    unit: str = "items"
    details: Json = field(default_factory=dict)
    """Other counts, by their names."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands now."""

    id: str
    kind: str
    session_id: str | None
    owner_id: str | None
    status: JobStatus
    progress: Progress
    result: Json | None
    error: Json | None
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobContext(Protocol):
    """What a running job sees of the machinery."""

    job_id: str
    # The one it is shown at, then the others in the order of their ids.
    sessions: Sequence[str]
    parameters: Json

    async def step(self, name: str, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Run `function` once and remember its answer: after a crash it is not run again.

        A crash inside the step runs it again, so it must be idempotent; the answer must be JSON.
        Between steps the job is cancelled if that was asked for, or parked if the process stops.
        A step that raises `Unavailable` is tried again for some minutes; any other error is
        remembered and raised, a `QuireError` as it is and everything else as `JobFailed`.
        After a crash the job is run again up to where it was, so what it does between its steps
        must depend on their answers and its parameters alone; one step at a time.
        """
        ...

    def finishing(self) -> None:
        """Say that it is too late to cancel: the steps from here on change what others see."""
        ...

    async def progress(
        self, done: int, total: int | None = None, unit: str = "items", **details: int
    ) -> None:
        """Tell how far the job is; written at most twice a second, and at the end."""
        ...


Handler = Callable[[JobContext], Awaitable[Json | None]]
Compensation = Callable[[JobContext], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class JobKind:
    """What a kind of job does, and how it is undone when it fails or is cancelled.

    Both are run again from their last finished step after a crash. The name is stored with every
    job, so it must stay what it is for as long as such jobs may be in flight.
    """

    name: str
    run: Handler
    compensate: Compensation | None = None
    cancellable: bool = True


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job to be submitted. `sessions` are those it changes; it is shown at the first of them,
    or at `shown_at`, which may be one that it does not hold.

    While it runs no other job runs on any of them. Submit at most one job in a transaction, or
    jobs that share no sessions: locks that are taken in two goes may deadlock.
    """

    kind: str
    sessions: Sequence[str] = ()
    parameters: Json = field(default_factory=dict)
    owner_id: str | None = None
    id: str | None = None
    shown_at: str | None = None


@dataclass(frozen=True, slots=True)
class JobFilter:
    session_id: str | None = None
    kind: str | None = None
    status: JobStatus | None = None
    owner_id: str | None = None


class Jobs(Protocol):
    """Submitting, watching and cancelling jobs; and, in a worker, running them."""

    def register(self, kind: JobKind) -> None:
        """Make a kind known; before `start`."""
        ...

    async def migrate(self) -> None:
        """Make or renew what the engine keeps in the database; its own tables come before."""
        ...

    async def start(self, *, run: bool) -> None:
        """Connect; with `run`, take up work (first of all what a dead process left behind)."""
        ...

    async def stop(self, *, grace_seconds: float) -> None:
        """Let running steps finish within the grace, park the jobs, disconnect.

        A parked job stays `running`: it goes on from its last finished step with the next start,
        or at once in another worker.
        """
        ...

    async def submit(self, connection: AsyncConnection, request: JobRequest) -> str:
        """Write the job into the caller's transaction (`Database.write`): both or neither."""
        ...

    async def get(self, job_id: str) -> Job:
        """The job as it stands; `JobNotFound` if there is none."""
        ...

    async def find(
        self, filter: JobFilter, *, limit: int = 100, before: str | None = None
    ) -> Sequence[Job]:
        """Jobs, newest first; `before` is the id of the last one on the page before."""
        ...

    async def wait(self, job_id: str, seconds: float) -> Job:
        """The job when it is final, or as it stands after so many seconds."""
        ...

    async def cancel(self, job_id: str) -> Job:
        """Ask for cancellation: a queued job ends at once, a running one after its step.

        A job that is final stays as it is; a kind that cannot be cancelled raises `Conflict`.
        """
        ...

    async def forget_finished(self, before: datetime) -> int:
        """Remove finished jobs from the history; answers how many."""
        ...

    async def counts(self) -> Mapping[tuple[str, JobStatus], int]:
        """How many jobs there are of each kind in each status."""
        ...

    async def ping(self) -> str:
        """What runs the jobs; raises `Unavailable` when the database does not answer."""
        ...
