"""Which points are there to be seen.

An ingest writes chunks in its own stage, marks the ones that they replace with another, and then
shows the first and hides the second in one transaction on the session's row. So a reader sees what
was before or what comes after, whatever has been written by then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from quire.errors import CollectionNotFound, Conflict
from quire.sessions.models import Session
from quire.sessions.sessions import Sessions, require_not_deleted
from quire.vectors.port import STAGE, AllOf, Condition, Match, Missing, NoneOf

T = TypeVar("T")

ATTEMPTS = 10


def incoming(job_id: str) -> str:
    """The stage of what a job writes."""
    return f"in:{job_id}"


def outgoing(job_id: str) -> str:
    """The stage of what a job replaces."""
    return f"out:{job_id}"


def visible(session: Session, condition: Condition | None = None) -> Condition | None:
    """The condition, for the points of the session that are to be seen."""
    if not session.hidden_stages:
        return condition
    shown = NoneOf([Match(STAGE, list(session.hidden_stages))])
    return shown if condition is None else AllOf([condition, shown])


def visible_chunks(session: Session, condition: Condition | None = None) -> Condition:
    """The same for chunks alone, leaving out what pipelines wrote of their own."""
    hidden: list[Condition] = [Missing(STAGE)]
    if session.hidden_stages:
        hidden.append(Match(STAGE, list(session.hidden_stages)))
    chunks = NoneOf(hidden)
    return chunks if condition is None else AllOf([condition, chunks])


async def consistent(
    sessions: Sessions, session: Session, read: Callable[[Session], Awaitable[T]]
) -> T:
    """What `read` finds, all of it before or all of it after any change of what is to be seen.

    It is read again when the session was switched over, fell asleep or woke meanwhile.
    """
    for _ in range(ATTEMPTS):
        try:
            found = await read(session)
        except CollectionNotFound:
            latest = await sessions.found_again(session)
            if latest is None or latest.collection == session.collection:
                raise
        else:
            latest = await sessions.current(session)
            if latest is None or _same_view(latest, session):
                return found
            latest = await sessions.awake(latest)
        session = latest
    return await read(session)


def _same_view(one: Session, other: Session) -> bool:
    if one.version == other.version:
        return True  # at most its points have moved, and they are the same

    def view(session: Session) -> tuple[object, ...]:
        # The counters tell of a change that came and went between two looks.
        return session.hidden_stages, session.collection, session.removals, session.next_seq

    return view(one) == view(other)


def require_writable(session: Session) -> None:
    """Raise if points cannot be written now: the session is deleted, or a job has it for itself."""
    require_not_deleted(session)
    if session.busy_job is not None:
        raise Conflict(
            f"Session {session.id} is taken up by job {session.busy_job}",
            recovery="Wait until that job is done, or cancel it.",
            job_id=session.busy_job,
        )
    if session.successor is not None:
        raise Conflict(
            f"Session {session.id} is being re-embedded (job {session.successor.job_id})",
            recovery="Wait until that job is done, or cancel it.",
            job_id=session.successor.job_id,
        )
