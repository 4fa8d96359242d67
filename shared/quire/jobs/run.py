"""One run of a job: its steps, its progress, how it ends and how it is undone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.errors import QuireError, Unavailable
from quire.jobs import table
from quire.jobs.failures import (
    CrashedTooOften,
    JobCancelled,
    JobFailed,
    Parked,
    UnknownJobKind,
    describe,
    revive,
)
from quire.jobs.plain import plain
from quire.jobs.port import JobKind, JobStatus, Json, Progress
from quire.store.database import Database

log = structlog.get_logger(__name__)
T = TypeVar("T")

# How long a step is tried again while a part it needs does not answer; then the job fails.
PATIENCE_SECONDS = 300.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
PROGRESS_SECONDS = 0.5
# Whoever follows a session hears of its jobs' progress no more often than this.
ALOUD_SECONDS = 1.0
# A job that keeps killing its process is undone after so many attempts (a restart counts as one),
# and ended without undoing after twice as many.
ATTEMPTS_MAX = 100

CANCELLED: Json = {"code": "cancelled"}


class House(Protocol):
    """What a run needs of the process that it runs in."""

    database: Database

    async def step(self, name: str, body: Callable[[], Awaitable[Any]]) -> Any: ...

    def begin_undoing(self) -> None: ...

    async def may_go_on(self) -> None:
        """Wait while others may take this process for dead; raise `Parked` when it stops."""
        ...

    async def pause(self, seconds: float) -> None:
        """Sleep, but raise `Parked` as soon as the process stops."""
        ...

    async def write(self, change: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """A transaction, repeated until the database takes it."""
        ...

    async def finish(
        self,
        attempt: table.Attempt,
        status: JobStatus,
        *,
        result: Json | None,
        error: Json | None,
        progress: Progress,
    ) -> None:
        """End the job and release whoever waited for it."""
        ...


class Run:
    """A job's context, in one attempt."""

    def __init__(self, house: House, attempt: table.Attempt) -> None:
        self.job_id = attempt.id
        self.sessions: Sequence[str] = attempt.sessions
        self.parameters: Json = attempt.parameters
        self._house = house
        self._attempt = attempt
        self._undoing = False
        self._finishing = False
        # What a first attempt has already told is not told again while its steps are replayed.
        self._replaying = attempt.number > 1
        self._progress = attempt.progress
        self._told_at = -PROGRESS_SECONDS
        self._aloud_at = -ALOUD_SECONDS
        self._teller: asyncio.Task[None] | None = None
        self._log = log.bind(job=attempt.id, kind=attempt.kind, attempt=attempt.number)

    async def go(self, kind: JobKind | None) -> None:
        """Run to an end, or to `Parked`."""
        try:
            status, result, error = await self._run(kind)
        finally:
            if self._teller is not None:
                self._teller.cancel()
                await asyncio.wait({self._teller})
        await self._house.finish(
            self._attempt, status, result=result, error=error, progress=self._progress
        )

    async def _run(self, kind: JobKind | None) -> tuple[JobStatus, Json | None, Json | None]:
        attempt = self._attempt
        if kind is None:
            unknown = UnknownJobKind(f"This version of Quire knows no jobs of kind {attempt.kind}")
            return JobStatus.FAILED, None, describe(unknown)
        error = attempt.error
        if error is None and attempt.number > ATTEMPTS_MAX:
            error = describe(CrashedTooOften())
            await self._decide(error)
        if error is None:
            try:
                answer = await kind.run(self)
                return JobStatus.SUCCEEDED, self._result(answer), None
            except JobCancelled:
                error = CANCELLED
            except QuireError as failure:
                self._log.info("jobs.failed", code=failure.code, reason=failure.message)
                error = describe(failure)
            except Exception:
                self._log.exception("jobs.crashed")
                error = describe(JobFailed())
            # Kept before the first step of undoing, so that a crash does not take the job up again.
            await self._decide(error)
        if kind.compensate is not None and attempt.number <= 2 * ATTEMPTS_MAX:
            error = await self._undo(kind.compensate, error)
        if error == CANCELLED:
            return JobStatus.CANCELLED, None, None
        return JobStatus.FAILED, None, error

    async def _decide(self, error: Json) -> None:
        if not await self._house.write(lambda it: table.decide(it, self._attempt, error)):
            raise Parked("another attempt runs the job")

    async def _undo(self, compensate: Callable[[Run], Awaitable[None]], error: Json) -> Json:
        self._undoing = True
        self._house.begin_undoing()
        try:
            await compensate(self)
        except Exception as failure:
            self._log.exception("jobs.not_undone")
            why = failure if isinstance(failure, QuireError) else JobFailed()
            # What was left undone is the more urgent news, so it is told even of a cancelled job.
            first = describe(JobFailed("The job was cancelled")) if error == CANCELLED else error
            return {**first, "undone": False, "undo_error": describe(why)}
        return error

    def _result(self, answer: Json | None) -> Json | None:
        if answer is not None and not isinstance(answer, Mapping):
            raise TypeError(f"a job answers a JSON object or None, not {type(answer).__name__}")
        result: Json | None = plain(answer)
        return result

    async def step(self, name: str, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        await self._house.may_go_on()

        async def body() -> Json:
            return await self._do(name, function, arguments)

        outcome = await self._house.step(f"undo: {name}" if self._undoing else name, body)
        if "cancelled" in outcome:
            raise JobCancelled
        if "error" in outcome:
            raise revive(outcome["error"])
        answer: T = outcome["answer"]
        return answer

    async def _do(
        self, name: str, function: Callable[..., Awaitable[Any]], arguments: Sequence[Any]
    ) -> Json:
        """The step itself; whichever its end, it is remembered: a replay takes the same way."""
        self._replaying = False
        pause = FIRST_PAUSE_SECONDS
        give_up_at: float | None = None
        while True:
            await self._house.may_go_on()
            try:
                if await self._is_cancelled():
                    return {"cancelled": True}
                return {"answer": plain(await function(*arguments))}
            except Unavailable as failure:
                give_up_at = give_up_at or time.monotonic() + PATIENCE_SECONDS
                if time.monotonic() + pause > give_up_at:
                    return {"error": describe(failure)}
                self._log.warning("jobs.step_waits", step=name, reason=failure.message)
            except QuireError as failure:
                return {"error": describe(failure)}
            except Exception:
                self._log.exception("jobs.step_crashed", step=name)
                return {"error": describe(JobFailed())}
            await self._house.pause(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _is_cancelled(self) -> bool:
        async with self._house.database.read() as connection:
            cancelled = await table.standing(connection, self._attempt)
        if cancelled is None:
            raise Parked("another attempt runs the job")
        return cancelled and not (self._undoing or self._finishing)

    def finishing(self) -> None:
        self._finishing = True

    async def progress(
        self, done: int, total: int | None = None, unit: str = "items", **details: int
    ) -> None:
        self._progress = Progress(done, total, unit, details)
        if self._replaying or self._teller is not None:
            return
        early = self._told_at + PROGRESS_SECONDS - time.monotonic()
        if early > 0:
            self._teller = asyncio.create_task(self._tell_later(early))
        else:
            await self._tell()

    async def _tell_later(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._teller = None
        await self._tell()

    async def _tell(self) -> None:
        progress, self._told_at = self._progress, time.monotonic()
        aloud = self._told_at - self._aloud_at >= ALOUD_SECONDS
        if aloud:
            self._aloud_at = self._told_at
        # A courtesy: what the database does not take now, the next one or the end brings.
        with contextlib.suppress(Unavailable):
            async with self._house.database.write() as connection:
                await table.report(connection, self._attempt, progress, aloud=aloud)
