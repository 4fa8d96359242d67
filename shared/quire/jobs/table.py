"""The jobs' rows: SQL on our own tables, each function inside the caller's transaction.

A job *claims* each of its sessions (`job_sessions`) until it is final. It may run when it has the
lowest claim on all of them; `released` says that it was handed to the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.errors import InvalidInput, JobNotFound
from quire.events.log import append_events
from quire.jobs.happenings import events_of_job
from quire.jobs.port import Job, JobFilter, JobRequest, JobStatus, Progress
from quire.store.columns import now
from quire.store.tables import job_sessions, jobs

UNFINISHED = (JobStatus.QUEUED, JobStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One executor's turn at a job; every write of the turn is refused once it is over."""

    seq: int
    id: str
    kind: str
    sessions: tuple[str, ...]
    parameters: Mapping[str, Any]
    progress: Progress
    # Set once the job is to be undone; what it was doing is then not taken up again.
    error: Mapping[str, Any] | None
    number: int
    executor_id: str


@dataclass(frozen=True, slots=True)
class Released:
    seq: int
    id: str


async def insert(connection: AsyncConnection, job_id: str, request: JobRequest) -> int:
    """Write a queued job and its claims; answers its place in the order."""
    sessions = list(dict.fromkeys(request.sessions))
    shown_at = request.shown_at or (sessions[0] if sessions else None)
    seq: int = (
        await connection.execute(
            sa.insert(jobs)
            .values(
                id=job_id,
                kind=request.kind,
                session_id=shown_at,
                owner_id=request.owner_id,
                status=JobStatus.QUEUED,
                parameters=dict(request.parameters),
                progress_done=0,
                progress_unit=Progress().unit,
                cancel_requested=False,
                released=False,
                attempt=0,
                created_at=now(),
            )
            .returning(jobs.c.seq)
        )
    ).scalar_one()
    if sessions:
        await connection.execute(
            sa.insert(job_sessions),
            [{"session_id": session, "job_seq": seq} for session in sessions],
        )
    queued = JobStatus.QUEUED, Progress()
    await append_events(
        connection, events_of_job(job_id, request.kind, [shown_at, *sessions], *queued)
    )
    return seq


async def exists(connection: AsyncConnection, job_id: str) -> bool:
    found = await connection.execute(sa.select(jobs.c.seq).where(jobs.c.id == job_id))
    return found.first() is not None


async def release(connection: AsyncConnection, seqs: Sequence[int]) -> list[Released]:
    """Mark those as released that may run; the caller hands them to the engine."""
    if not seqs:
        return []
    # Two jobs that end at once may each free a part of what a third waits for. Its row's lock
    # makes the second wait for the first, and so see, in the next statement, what that one freed.
    await connection.execute(
        sa.select(jobs.c.seq).where(jobs.c.seq.in_(seqs)).order_by(jobs.c.seq).with_for_update()
    )
    mine, earlier = job_sessions.alias("mine"), job_sessions.alias("earlier")
    waits = sa.exists().where(
        mine.c.job_seq == jobs.c.seq,
        earlier.c.session_id == mine.c.session_id,
        earlier.c.job_seq < mine.c.job_seq,
    )
    rows = await connection.execute(
        sa.update(jobs)
        .where(jobs.c.seq.in_(seqs), jobs.c.status == JobStatus.QUEUED, ~jobs.c.released, ~waits)
        .values(released=True)
        .returning(jobs.c.seq, jobs.c.id)
    )
    return sorted((Released(row.seq, row.id) for row in rows), key=lambda it: it.seq)


async def sessions_of(connection: AsyncConnection, job_id: str) -> list[str]:
    """The sessions that an unfinished job claims."""
    rows = await connection.execute(
        sa.select(job_sessions.c.session_id)
        .join(jobs, jobs.c.seq == job_sessions.c.job_seq)
        .where(jobs.c.id == job_id)
        .order_by(job_sessions.c.session_id)
    )
    return list(rows.scalars())


async def begin(connection: AsyncConnection, job_id: str, executor_id: str) -> Attempt | None:
    """Open a new attempt, which ends every earlier one; None when the job is final or gone."""
    row = (
        await connection.execute(
            sa.update(jobs)
            .where(jobs.c.id == job_id, jobs.c.status.in_(UNFINISHED))
            .values(
                status=JobStatus.RUNNING,
                executor_id=executor_id,
                attempt=jobs.c.attempt + 1,
                started_at=sa.func.coalesce(
                    jobs.c.started_at, sa.bindparam("at", now(), jobs.c.started_at.type)
                ),
            )
            .returning(*jobs.c)
        )
    ).one_or_none()
    if row is None:
        return None
    claimed = await sessions_of(connection, job_id)
    first = [] if row.session_id is None else [row.session_id]
    attempt = Attempt(
        seq=row.seq,
        id=row.id,
        kind=row.kind,
        sessions=tuple(dict.fromkeys(first + claimed)),
        parameters=row.parameters,
        progress=_progress(row),
        error=row.error,
        number=row.attempt,
        executor_id=executor_id,
    )
    await _tell(connection, attempt, JobStatus.RUNNING, attempt.progress)
    return attempt


def _is_current(attempt: Attempt) -> sa.ColumnElement[bool]:
    return sa.and_(
        jobs.c.seq == attempt.seq,
        jobs.c.attempt == attempt.number,
        jobs.c.executor_id == attempt.executor_id,
        jobs.c.status == JobStatus.RUNNING,
    )


async def standing(connection: AsyncConnection, attempt: Attempt) -> bool | None:
    """Whether the job is to be cancelled; None when the attempt is over."""
    row = (
        await connection.execute(sa.select(jobs.c.cancel_requested).where(_is_current(attempt)))
    ).first()
    return None if row is None else bool(row.cancel_requested)


async def report(
    connection: AsyncConnection, attempt: Attempt, progress: Progress, *, aloud: bool
) -> None:
    """Write how far it is; `aloud`, whoever follows its sessions hears of it."""
    done = await connection.execute(
        sa.update(jobs).where(_is_current(attempt)).values(**_progress_values(progress))
    )
    if aloud and done.rowcount:
        await _tell(connection, attempt, JobStatus.RUNNING, progress)


async def decide(connection: AsyncConnection, attempt: Attempt, error: Mapping[str, Any]) -> bool:
    """Keep that the job is to be undone and why; False when the attempt is over."""
    done = await connection.execute(
        sa.update(jobs).where(_is_current(attempt)).values(error=dict(error))
    )
    return bool(done.rowcount)


async def finish(
    connection: AsyncConnection,
    attempt: Attempt,
    status: JobStatus,
    *,
    result: Mapping[str, Any] | None,
    error: Mapping[str, Any] | None,
    progress: Progress,
) -> bool:
    """Write the end of a running job; False when the attempt is over."""
    done = await connection.execute(
        sa.update(jobs)
        .where(_is_current(attempt))
        .values(
            status=status,
            result=sa.null() if result is None else dict(result),
            error=sa.null() if error is None else dict(error),
            finished_at=now(),
            **_progress_values(progress),
        )
    )
    if done.rowcount:
        await _tell(connection, attempt, status, progress, error)
    return bool(done.rowcount)


async def give_up_claims(
    connection: AsyncConnection, seq: int, sessions: Sequence[str]
) -> list[int]:
    """Let go of a finished job's sessions; answers who may have waited for it alone."""
    if not sessions:
        return []
    await connection.execute(sa.delete(job_sessions).where(job_sessions.c.job_seq == seq))
    lowest = sa.func.min(job_sessions.c.job_seq)
    rows = await connection.execute(
        sa.select(lowest)
        .where(job_sessions.c.session_id.in_(sessions))
        .group_by(job_sessions.c.session_id)
        # Whoever comes before it never waited for it; locking upwards only cannot deadlock.
        .having(lowest > seq)
    )
    return sorted(set(rows.scalars()))


async def cancel_queued(connection: AsyncConnection, job_id: str) -> int | None:
    """End a job that has not begun; answers its place, or None when it has."""
    done = await connection.execute(
        sa.update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status == JobStatus.QUEUED)
        .values(status=JobStatus.CANCELLED, cancel_requested=True, finished_at=now())
        .returning(jobs.c.seq, jobs.c.kind, jobs.c.session_id)
    )
    row = done.one_or_none()
    if row is None:
        return None
    sessions = [row.session_id, *await sessions_of(connection, job_id)]
    cancelled = JobStatus.CANCELLED, Progress()
    await append_events(connection, events_of_job(job_id, row.kind, sessions, *cancelled))
    seq: int = row.seq
    return seq


async def request_cancel(connection: AsyncConnection, job_id: str) -> None:
    await connection.execute(
        sa.update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status == JobStatus.RUNNING)
        .values(cancel_requested=True)
    )


async def get(connection: AsyncConnection, job_id: str) -> Job:
    row = (await connection.execute(sa.select(jobs).where(jobs.c.id == job_id))).one_or_none()
    if row is None:
        raise JobNotFound(f"There is no job {job_id!r}, or you may not see it")
    return _job(row)


async def find(
    connection: AsyncConnection, filter: JobFilter, limit: int, before: str | None
) -> list[Job]:
    query = sa.select(jobs).order_by(jobs.c.seq.desc()).limit(limit)
    for column in ("session_id", "kind", "status", "owner_id"):
        if (wanted := getattr(filter, column)) is not None:
            query = query.where(jobs.c[column] == wanted)
    if before is not None:
        last = (
            await connection.execute(sa.select(jobs.c.seq).where(jobs.c.id == before))
        ).scalar_one_or_none()
        if last is None:
            raise InvalidInput(
                "cursor is not one that this list gave out; take it from the Link header",
                field="cursor",
            )
        query = query.where(jobs.c.seq < last)
    return [_job(row) for row in await connection.execute(query)]


async def counts(connection: AsyncConnection) -> dict[tuple[str, JobStatus], int]:
    rows = await connection.execute(
        sa.select(jobs.c.kind, jobs.c.status, sa.func.count()).group_by(jobs.c.kind, jobs.c.status)
    )
    return {(kind, JobStatus(status)): number for kind, status, number in rows}


async def finished_before(connection: AsyncConnection, before: datetime, limit: int) -> list[str]:
    final = [status for status in JobStatus if status.is_final]
    rows = await connection.execute(
        sa.select(jobs.c.id)
        .where(jobs.c.status.in_(final), jobs.c.finished_at < before)
        .limit(limit)
    )
    return list(rows.scalars())


async def delete(connection: AsyncConnection, job_ids: Sequence[str]) -> int:
    done = await connection.execute(sa.delete(jobs).where(jobs.c.id.in_(job_ids)))
    return done.rowcount


async def unreleased(connection: AsyncConnection, after: int, limit: int) -> list[int]:
    """Queued jobs, in order, that no transaction has released."""
    rows = await connection.execute(
        sa.select(jobs.c.seq)
        .where(jobs.c.status == JobStatus.QUEUED, ~jobs.c.released, jobs.c.seq > after)
        .order_by(jobs.c.seq)
        .limit(limit)
    )
    return list(rows.scalars())


async def in_flight(connection: AsyncConnection, after: int, limit: int) -> list[Released]:
    """Jobs, in order, that the engine must know."""
    rows = await connection.execute(
        sa.select(jobs.c.seq, jobs.c.id)
        .where(jobs.c.status.in_(UNFINISHED), jobs.c.released, jobs.c.seq > after)
        .order_by(jobs.c.seq)
        .limit(limit)
    )
    return [Released(row.seq, row.id) for row in rows]


async def unfinished(connection: AsyncConnection, seqs: Sequence[int]) -> list[Released]:
    rows = await connection.execute(
        sa.select(jobs.c.seq, jobs.c.id)
        .where(jobs.c.seq.in_(seqs), jobs.c.status.in_(UNFINISHED))
        .order_by(jobs.c.seq)
    )
    return [Released(row.seq, row.id) for row in rows]


async def _tell(
    connection: AsyncConnection,
    attempt: Attempt,
    status: JobStatus,
    progress: Progress,
    error: Mapping[str, Any] | None = None,
) -> None:
    of_job = attempt.id, attempt.kind, attempt.sessions
    await append_events(connection, events_of_job(*of_job, status, progress, error))


def _progress(row: Any) -> Progress:
    details = row.progress_details or {}
    return Progress(row.progress_done, row.progress_total, row.progress_unit, details)


def _progress_values(progress: Progress) -> dict[str, Any]:
    return {
        "progress_done": progress.done,
        "progress_total": progress.total,
        "progress_unit": progress.unit,
        "progress_details": dict(progress.details),
    }


def _job(row: Any) -> Job:
    status = JobStatus(row.status)
    return Job(
        id=row.id,
        kind=row.kind,
        session_id=row.session_id,
        owner_id=row.owner_id,
        status=status,
        progress=_progress(row),
        result=row.result,
        # While a job is being undone its row already says why; nobody is told before the end.
        error=row.error if status is JobStatus.FAILED else None,
        cancel_requested=row.cancel_requested,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
