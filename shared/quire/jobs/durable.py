"""Jobs that survive: our tables say what may run and how it stands, the engine brings it back."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import uuid4

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.errors import Conflict, InvalidInput, Unavailable
from quire.jobs import table
from quire.jobs.engine import Engine, require_idle
from quire.jobs.failures import Parked
from quire.jobs.leases import Lease, lease_for
from quire.jobs.plain import plain
from quire.jobs.port import Job, JobFilter, JobKind, JobRequest, Jobs, JobStatus, Json, Progress
from quire.jobs.reaper import Reaper
from quire.jobs.run import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Run
from quire.settings import JobSettings
from quire.store.database import Database

log = structlog.get_logger(__name__)
T = TypeVar("T")

WAIT_FIRST_SECONDS = 0.05
WAIT_LONGEST_SECONDS = 0.25
FORGET_BATCH = 200
ID_CHARS = 36
# After its grace a job is cancelled where it stands; this is for its `finally` blocks.
CANCEL_SECONDS = 5.0


class DurableJobs(Jobs):
    """The jobs port over SQLite or PostgreSQL."""

    def __init__(self, database: Database, settings: JobSettings) -> None:
        self.database = database
        self._settings = settings
        self._kinds: dict[str, JobKind] = {}
        self._engine: Engine | None = None
        self._lease: Lease | None = None
        self._reaping: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._runs: dict[asyncio.Task[Any], str] = {}
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def register(self, kind: JobKind) -> None:
        if self._engine is not None:
            raise RuntimeError("Register every kind of job before the start")
        if kind.name in self._kinds:
            raise RuntimeError(f"There is a kind of job named {kind.name} already")
        self._kinds[kind.name] = kind

    async def migrate(self) -> None:
        """Make or renew the engine's own tables, as `quire db upgrade` does."""
        engine = Engine(self.database, self._settings)
        try:
            await engine.migrate()
        finally:
            await engine.close()

    async def start(self, *, run: bool) -> None:
        if self._engine is not None:
            raise RuntimeError("These jobs are started already")
        self._stopping.clear()
        self._engine = Engine(self.database, self._settings)
        try:
            if self.database.is_sqlite:
                await self._engine.migrate()
            else:
                await self._engine.verify()
            if run:
                await self._start_running(self._engine)
        except BaseException:
            await self.stop(grace_seconds=0)
            raise

    async def _start_running(self, engine: Engine) -> None:
        require_idle()
        lease = lease_for(self.database, self._settings.lease_seconds)
        await lease.acquire(taken_over=self._taken_over, released=engine.nudge)
        self._lease = lease
        await engine.launch(lease.executor_id, self._run)
        reaper = Reaper(self.database, engine, lease, self._runs.values)
        self._reaping = asyncio.create_task(self._reap(reaper), name="quire-jobs-reaper")

    async def stop(self, *, grace_seconds: float) -> None:
        engine = self._engine
        if engine is None:
            return
        self._stopping.set()
        if self._reaping is not None:
            self._reaping.cancel()
            await asyncio.wait({self._reaping})
            self._reaping = None
        if self._lease is not None:
            await self._stop_running(engine, self._lease, grace_seconds)
            self._lease = None
        await engine.close()
        self._engine = None

    async def _stop_running(self, engine: Engine, lease: Lease, grace_seconds: float) -> None:
        if engine.is_running:
            engine.take_no_more()
            await self._end_runs(grace_seconds)
            await engine.halt()
        try:
            # Parked jobs are at once there for whoever runs jobs next.
            await engine.recover(lease.executor_id)
            await lease.forget(lease.executor_id)
        except Unavailable as error:
            log.warning("jobs.left_behind", reason=error.message)
        await lease.release()

    async def _end_runs(self, grace_seconds: float) -> None:
        if self._runs and grace_seconds > 0:
            await asyncio.wait(self._runs, timeout=grace_seconds)
        for run in self._runs:
            run.cancel()
        if self._runs:
            await asyncio.wait(self._runs, timeout=CANCEL_SECONDS)

    async def submit(self, connection: AsyncConnection, request: JobRequest) -> str:
        if request.kind not in self._kinds:
            known = ", ".join(sorted(self._kinds)) or "none"
            raise InvalidInput(f"There are no jobs of kind {request.kind!r}; known: {known}")
        try:
            request = replace(request, parameters=plain(dict(request.parameters)))
        except ValueError as error:
            raise InvalidInput(f"The job's parameters cannot be kept: {error}") from error
        engine = self._started()
        job_id = request.id or str(uuid4())
        if len(job_id) > ID_CHARS or not job_id.isprintable() or not job_id.strip():
            raise InvalidInput(f"A job's id has 1 to {ID_CHARS} printable characters", field="id")
        await self.database.lock_sessions(connection, list(request.sessions))
        if await table.exists(connection, job_id):
            raise Conflict(f"There is a job {job_id} already")
        try:
            seq = await table.insert(connection, job_id, request)
        except sa.exc.IntegrityError as error:
            raise Conflict(f"There is a job {job_id} already") from error
        await self._release(engine, connection, [seq])
        return job_id

    async def _release(
        self, engine: Engine, connection: AsyncConnection, seqs: Sequence[int]
    ) -> None:
        for job in await table.release(connection, seqs):
            await engine.enqueue(connection, job.id, job.seq)

    async def get(self, job_id: str) -> Job:
        async with self.database.read() as connection:
            return await table.get(connection, job_id)

    async def find(
        self, filter: JobFilter, *, limit: int = 100, before: str | None = None
    ) -> Sequence[Job]:
        async with self.database.read() as connection:
            return await table.find(connection, filter, limit, before)

    async def wait(self, job_id: str, seconds: float) -> Job:
        deadline = time.monotonic() + seconds
        pause = WAIT_FIRST_SECONDS
        ended = asyncio.Event()
        self._waiting.setdefault(job_id, set()).add(ended)
        try:
            while True:
                job = await self.get(job_id)
                left = deadline - time.monotonic()
                if job.status.is_final or left <= 0:
                    return job
                with contextlib.suppress(TimeoutError):
                    # Not `wait_for`: before Python 3.12 that may swallow a cancellation.
                    async with asyncio.timeout(min(pause, left)):
                        await ended.wait()
                ended.clear()
                pause = min(pause * 1.5, WAIT_LONGEST_SECONDS)
        finally:
            self._waiting[job_id].discard(ended)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    async def cancel(self, job_id: str) -> Job:
        job = await self.get(job_id)
        if job.status.is_final:
            return job
        kind = self._kinds.get(job.kind)
        if kind is not None and not kind.cancellable:
            raise Conflict(
                f"Jobs of kind {job.kind} cannot be cancelled", recovery="Wait until it is done."
            )
        engine = self._started()
        async with self.database.write() as connection:
            sessions = await table.sessions_of(connection, job_id)
            await self.database.lock_sessions(connection, sessions)
            seq = await table.cancel_queued(connection, job_id)
            if seq is None:
                await table.request_cancel(connection, job_id)
            else:
                # The engine may hold it already; its run will find the job final and end.
                freed = await table.give_up_claims(connection, seq, sessions)
                await self._release(engine, connection, freed)
        self._tell_ended(job_id)
        return await self.get(job_id)

    async def forget_finished(self, before: datetime) -> int:
        engine = self._started()
        forgotten = 0
        while True:
            async with self.database.read() as connection:
                job_ids = await table.finished_before(connection, before, FORGET_BATCH)
            if not job_ids:
                return forgotten
            # The engine first: a crash between leaves our rows, which the next round takes.
            await engine.forget(job_ids)
            async with self.database.write() as connection:
                forgotten += await table.delete(connection, job_ids)

    async def counts(self) -> Mapping[tuple[str, JobStatus], int]:
        async with self.database.read() as connection:
            return await table.counts(connection)

    async def ping(self) -> str:
        """What runs the jobs; raises `Unavailable` when the database does not answer."""
        engine, version = self._started(), await self.database.ping()
        role = f"runs as {self._lease.executor_id}" if self._lease else "submits"
        return f"dbos {engine.version} on {version}, {role} on {platform.node()}"

    def _started(self) -> Engine:
        if self._engine is None:
            raise Unavailable("Jobs are not taken yet: the database has still to answer")
        return self._engine

    # What a run needs of this process: `quire.jobs.run.House`.

    async def _run(self, job_id: str) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in one
        # The engine's own last write is in this task too, so stop() waits for that as well.
        self._runs[task] = job_id
        task.add_done_callback(self._runs.pop)
        await self.may_go_on()
        executor_id = self._lease.executor_id if self._lease else ""
        attempt = await self.write(lambda it: table.begin(it, job_id, executor_id))
        if attempt is not None:
            await Run(self, attempt).go(self._kinds.get(attempt.kind))

    async def step(self, name: str, body: Callable[[], Awaitable[Any]]) -> Any:
        return await self._started().step(name, body)

    def begin_undoing(self) -> None:
        self._started().begin_undoing()

    async def may_go_on(self) -> None:
        while self._lease is not None and not self._lease.is_held:
            await self.pause(FIRST_PAUSE_SECONDS)
        if self._stopping.is_set():
            raise Parked("the process stops")

    async def pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
            raise Parked("the process stops")

    async def write(self, change: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async with self.database.write() as connection:
                    return await change(connection)
            except Unavailable as error:
                log.warning("jobs.write_waits", reason=error.message)
            await self.pause(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def finish(
        self,
        attempt: table.Attempt,
        status: JobStatus,
        *,
        result: Json | None,
        error: Json | None,
        progress: Progress,
    ) -> None:
        engine = self._started()

        async def end(connection: AsyncConnection) -> None:
            await self.database.lock_sessions(connection, list(attempt.sessions))
            if await table.finish(
                connection, attempt, status, result=result, error=error, progress=progress
            ):
                freed = await table.give_up_claims(connection, attempt.seq, attempt.sessions)
                await self._release(engine, connection, freed)

        await self.write(end)
        self._tell_ended(attempt.id)

    def _tell_ended(self, job_id: str) -> None:
        for waiter in self._waiting.get(job_id, ()):
            waiter.set()

    async def _reap(self, reaper: Reaper) -> None:
        while True:
            try:
                await reaper.reap()
            except Unavailable as error:
                log.warning("jobs.reaper_waits", reason=error.message)
            except Exception:
                # The reaper is the last line: it must outlive whatever one round meets.
                log.exception("jobs.reaper_failed")
            await asyncio.sleep(self._settings.lease_seconds)

    async def _taken_over(self) -> None:
        """Others took this process for dead and have its jobs: drop the runs that are left here."""
        engine, lease = self._started(), self._lease
        if lease is None:
            return
        for run in self._runs:
            run.cancel()
        if self._runs:
            await asyncio.wait(self._runs, timeout=CANCEL_SECONDS)
        await engine.recover(lease.executor_id)
