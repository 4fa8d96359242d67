"""The durable engine that jobs run on: DBOS. Nothing else in Quire imports it.

It remembers the steps of each run, brings runs back after a crash and hands them out to workers.
Which job may run, and how it stands, is not its business: our own tables say that.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import Any, TypeVar

import dbos
import sqlalchemy as sa
from dbos._context import assert_current_dbos_context
from dbos._serialization import DefaultSerializer
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.errors import ConfigurationError, Unavailable
from quire.jobs.failures import JobChanged, Parked
from quire.jobs.leases import announce
from quire.jobs.nudge import Nudge
from quire.settings import JobSettings
from quire.store.database import Database
from quire.store.ending import ending_of

APPLICATION = "quire"
QUEUE = "quire-jobs"
WORKFLOW = "quire.run_job"
# DBOS resumes only what its own version began. Jobs must survive every upgrade of Quire, and a
# run that an upgrade has changed is found out by its steps' names, so this never changes.
VERSION = "quire-jobs-1"
# The steps of undoing are numbered from here, however far the job had come.
UNDO_FROM = 1_000_000
HIGHEST_PRIORITY = 2**31 - 1
REPEAT_SECONDS = 10.0

T = TypeVar("T")
Run = Callable[[str], Awaitable[None]]


class PlainJson(dbos.Serializer):
    """Keeps everything as JSON."""

    def serialize(self, data: Any) -> str:
        return json.dumps(data, default=repr)

    def deserialize(self, serialized_data: str) -> Any:
        return json.loads(serialized_data)

    def name(self) -> str:
        return "quire_json"


def _refuse_pickle(self: DefaultSerializer, serialized_data: str) -> Any:
    raise TypeError("Quire unpickles nothing from its database")


# DBOS lets each row say how it is to be read, whatever serializer it was given.
DefaultSerializer.deserialize = _refuse_pickle  # type: ignore[method-assign, assignment]


# DBOS is one for the whole process.
_running: Engine | None = None
_registered = False


def require_idle() -> None:
    """Raise when this process runs jobs already."""
    if _running is not None:
        raise RuntimeError("This process runs jobs already; stop those first")


class Engine:
    """DBOS over the database of the jobs; one in a process may run jobs at a time."""

    def __init__(self, database: Database, settings: JobSettings) -> None:
        self._settings = settings
        self._closed = False
        self.run: Run | None = None
        self.nudge = Nudge(f"queue-worker-{QUEUE}")
        self._is_sqlite = database.is_sqlite
        if database.path is not None:
            _require_sqlite()
            url = sa.URL.create("sqlite", database=str(database.path))
            arguments: dict[str, Any] = {"timeout": 30.0}
        else:
            url = database.url
            arguments = {"connect_timeout": 10}
        self._sql = sa.create_engine(
            url,
            # DBOS writes from threads: one for each running job, and a few of its own.
            pool_size=min(settings.concurrency, 16) + 4,
            max_overflow=0,
            pool_pre_ping=not self._is_sqlite,
            connect_args=arguments,
        )
        if self._is_sqlite:
            _prepare_sqlite(self._sql)
        event.listen(self._sql, "checkin", self._close_stragglers)
        _quieten()
        self._client = dbos.DBOSClient(
            system_database_engine=self._sql,
            serializer=PlainJson(),
            application_name=APPLICATION,
            lazy=True,
            retry_connection_errors=False,
        )
        self._system = self._client._sys_db  # noqa: SLF001 - recovery has no public name

    @property
    def is_running(self) -> bool:
        return _running is self

    @property
    def version(self) -> str:
        return metadata.version("dbos")

    async def migrate(self) -> None:
        """Bring DBOS's own tables to its version."""
        await self._call(self._system.run_migrations)

    async def verify(self) -> None:
        """Raise unless DBOS's tables are there."""
        await self._call(self._verify)

    def _verify(self) -> None:
        try:
            self._system.verify_migrations()
        except dbos.error.DBOSInitializationError as error:
            raise ConfigurationError(
                "The database lacks the tables that jobs need", recovery="Run `quire db upgrade`."
            ) from error

    async def launch(self, executor_id: str, run: Run) -> None:
        """Take up work: first what this executor left behind, then the queue."""
        global _running
        require_idle()
        _running = self
        try:
            self.run = run
            # Before the launch: its queue thread looks for queues only once a second.
            await self._call(
                lambda: self._client.register_queue(
                    QUEUE,
                    worker_concurrency=self._settings.concurrency,
                    polling_interval_sec=self._settings.poll_seconds,
                )
            )
            instance = dbos.DBOS(
                config={
                    "name": APPLICATION,
                    "system_database_engine": self._sql,
                    "application_version": VERSION,
                    "executor_id": executor_id,
                    "serializer": PlainJson(),
                    "run_migrations": False,
                    "use_listen_notify": False,
                    # Nothing here waits for notifications; stop() waits for this thread.
                    "notification_listener_polling_interval_sec": 0.1,
                    "log_level": "WARNING",
                }
            )
            _register()
            # Runs belong on this loop, but the launch itself writes to the database: on the loop
            # it would wait for a SQLite transaction that only the loop can end.
            instance._background_event_loop.set_main_loop()  # noqa: SLF001
            await self._call(dbos.DBOS.launch)
            self._stops = instance.background_thread_stop_events
            self.nudge.shorten(self._stops)
        except BaseException:
            await self._destroy()
            raise

    def take_no_more(self) -> None:
        """Stop taking runs from the queue."""
        for stop in self._stops:
            stop.set()
        self.nudge()

    async def halt(self) -> None:
        """Stop running; unfinished runs stay as their last finished step left them."""
        if self.is_running:
            await self._destroy()

    async def _destroy(self) -> None:
        global _running
        loop = asyncio.get_running_loop()
        # DBOS made its own pool this loop's default, and is about to shut it down.
        loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
        # In a thread: the queue's thread may be waiting for this loop to take a run.
        await asyncio.to_thread(dbos.DBOS.destroy)
        _running = None

    async def close(self) -> None:
        self._closed = True
        self._client.destroy()
        await asyncio.to_thread(self._sql.dispose)

    async def enqueue(self, connection: AsyncConnection, job_id: str, seq: int) -> None:
        """Hand a job over, in the transaction that released it."""
        options: dbos.EnqueueOptions = {
            "workflow_name": WORKFLOW,
            "queue_name": QUEUE,
            "workflow_id": job_id,
            "app_version": VERSION,
            "priority": (seq - 1) % HIGHEST_PRIORITY + 1,
        }
        await connection.run_sync(
            lambda sync: self._client.enqueue_in_transaction(sync, options, job_id)
        )
        if not self._is_sqlite:
            await announce(connection)
        elif self.is_running:
            ending_of(connection).afterwards(self.nudge)

    async def step(self, name: str, body: Callable[[], Awaitable[Any]]) -> Any:
        """Run the body and remember its answer, or answer what is remembered."""

        async def step() -> Any:
            return await body()

        try:
            return await dbos.DBOS.run_step_async({"name": name}, step)
        except dbos.error.DBOSUnexpectedStepError as error:
            raise JobChanged from error
        except dbos.error.DBOSBaseException as error:
            raise Parked("the run was taken away") from error
        except sa.exc.SQLAlchemyError as error:
            # Not the body's, which keeps its own: DBOS could not remember it, for all its retries.
            raise Parked("the step could not be kept") from error

    def begin_undoing(self) -> None:
        """Number the steps from a place of their own: how far the job came may differ by a step."""
        context = assert_current_dbos_context()
        context.function_id = max(context.function_id, UNDO_FROM)

    async def statuses(self, job_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """How the engine has these runs: (status, executor); what it does not know is left out."""

        def look() -> dict[str, tuple[str, str]]:
            found = self._client.list_workflows(
                workflow_ids=list(job_ids), load_input=False, load_output=False
            )
            return {it.workflow_id: (it.status, it.executor_id or "") for it in found}

        return await self._call(look)

    async def put_back(self, job_id: str, executor_id: str) -> bool:
        """Put a run that its executor does not run back into the queue; False if it moved on."""
        return await self._call(
            lambda: self._system.reenqueue_for_recovery(job_id, [executor_id], QUEUE)
        )

    async def recover(self, executor_id: str) -> int:
        """Put back into the queue what a dead executor was running; answers how much."""

        def put_back() -> int:
            left = self._system.get_pending_workflows(executor_id, VERSION)
            return sum(
                self._system.reenqueue_for_recovery(it.workflow_id, [executor_id], QUEUE)
                for it in left
            )

        return await self._call(put_back)

    async def forget(self, job_ids: Sequence[str]) -> None:
        """Remove runs with everything remembered about them."""
        await self._call(lambda: self._client.delete_workflows(list(job_ids)))

    async def _call(self, function: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(function)
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
            raise Unavailable("The database does not answer") from error

    def _close_stragglers(self, connection: Any, record: Any) -> None:
        # A thread that outlives close() must not leave its connection to the garbage collector.
        if self._closed:
            record.invalidate()


async def _run_job(job_id: str) -> None:
    if _running is None or _running.run is None:
        raise Parked("nothing runs jobs in this process")
    await _running.run(job_id)


def _register() -> None:
    global _registered
    if not _registered:
        # Quire counts the attempts itself: a job that kills its process is undone, not abandoned.
        dbos.DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)(_run_job)
        _registered = True


def _require_sqlite() -> None:
    if sys.version_info >= (3, 12) and sqlite3.sqlite_version_info < (3, 42):
        raise ConfigurationError(
            f"Python {sys.version_info.major}.{sys.version_info.minor} here comes with SQLite "
            f"{sqlite3.sqlite_version}; jobs need 3.42 or newer with it",
            recovery="Use Python 3.11, a Python built with a newer SQLite, or PostgreSQL "
            "(QUIRE_DATABASE_URL).",
        )


def _prepare_sqlite(engine: sa.Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        # The driver then begins before the first change and at once takes the lock; a
        # transaction that only reads, as DBOS's polling does, never asks for it.
        connection.isolation_level = "IMMEDIATE"
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "temp_store=MEMORY",
            "cache_size=-2000",
        ):
            connection.execute(f"PRAGMA {pragma}").close()


class _Quiet(logging.Filter):
    """Lets a complaint through once in a while; in an outage DBOS repeats it at every look."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        # Parking a job at shutdown cancels its task, which is no news.
        if str(record.msg).startswith("Asyncio task cancelled"):
            return False
        place, now = (record.pathname, record.lineno), time.monotonic()
        if now - self._told.get(place, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return False
        self._told[place] = now
        return True


def _quieten() -> None:
    logger = logging.getLogger("dbos")
    if not any(isinstance(it, _Quiet) for it in logger.filters):
        # With a handler in place DBOS adds no console of its own; the root's handlers do it.
        logger.addHandler(logging.NullHandler())
        logger.addFilter(_Quiet())
    logger.setLevel(logging.WARNING)
    logger.propagate = True
