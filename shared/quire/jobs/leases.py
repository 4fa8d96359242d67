"""Which executors are alive: each holds a lock that the system lets go when its process dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import psycopg
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from quire.errors import Conflict, Unavailable
from quire.store.columns import now
from quire.store.database import Database
from quire.store.tables import executors

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: one process is the operator's promise there
    fcntl = None  # type: ignore[assignment]

log = structlog.get_logger(__name__)

# A lost server is noticed after at most this many lease periods without an answer.
HEARTBEATS = 3
# Where a process that releases a job tells the others, as its transaction commits.
CHANNEL = "quire_jobs"


class Lease(Protocol):
    executor_id: str

    async def acquire(
        self, *, taken_over: Callable[[], Awaitable[None]], released: Callable[[], None]
    ) -> None:
        """Become alive.

        `taken_over` is called when others took our jobs for a dead one's, `released` when any
        process released a job.
        """
        ...

    @property
    def is_held(self) -> bool:
        """False while others may take this executor for dead."""
        ...

    async def others(self) -> set[str]:
        """The executors on record besides this one."""
        ...

    def try_lock(self, name: str) -> contextlib.AbstractAsyncContextManager[bool]:
        """Hold a lock for the block if nobody does; an executor's is free when it is dead."""
        ...

    async def forget(self, executor_id: str) -> None: ...

    async def release(self) -> None: ...


def lease_for(database: Database, seconds: float) -> Lease:
    if database.path is not None:
        return FileLease(database.path)
    return PostgresLease(database, seconds)


class FileLease:
    """SQLite: one executor, which the lock on a file beside the database keeps the only one."""

    executor_id = "local"

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".jobs-lock")
        self._file: int | None = None

    async def acquire(
        self, *, taken_over: Callable[[], Awaitable[None]], released: Callable[[], None]
    ) -> None:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            raise Conflict(
                "Another process already runs the jobs of this database",
                recovery="Stop it first, or use PostgreSQL (QUIRE_DATABASE_URL) for many workers.",
            ) from error
        self._file = file

    @property
    def is_held(self) -> bool:
        return self._file is not None

    async def others(self) -> set[str]:
        return set()

    @asynccontextmanager
    async def try_lock(self, name: str) -> AsyncIterator[bool]:
        # We hold the file, so there is nobody else.
        yield name != self.executor_id

    async def forget(self, executor_id: str) -> None:
        return None

    async def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class PostgresLease:
    """PostgreSQL: an advisory lock on a connection of its own, and a row that names the holder."""

    def __init__(self, database: Database, seconds: float) -> None:
        self.executor_id = uuid4().hex
        self._database = database
        self._seconds = seconds
        self._engine: AsyncEngine = create_async_engine(
            database.url,
            poolclass=sa.NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"connect_timeout": max(2, round(seconds))},
        )
        self._connection: AsyncConnection | None = None
        self.is_held = False
        self._keeper: asyncio.Task[None] | None = None

    async def acquire(
        self, *, taken_over: Callable[[], Awaitable[None]], released: Callable[[], None]
    ) -> None:
        try:
            await self._connect()
        except (sa.exc.DBAPIError, OSError) as error:
            raise Unavailable("The database does not answer") from error
        await self._enrol()
        self.is_held = True
        self._keeper = asyncio.create_task(
            self._keep(taken_over, released), name="quire-jobs-lease"
        )

    async def others(self) -> set[str]:
        async with self._database.read() as connection:
            known = await connection.execute(sa.select(executors.c.id))
            return set(known.scalars()) - {self.executor_id}

    @asynccontextmanager
    async def try_lock(self, name: str) -> AsyncIterator[bool]:
        try:
            # The lock goes with the connection, so nothing here can leak it.
            async with self._engine.connect() as connection:
                yield await _lock(connection, name)
        except (sa.exc.DBAPIError, OSError) as error:
            raise Unavailable("The database does not answer") from error

    async def forget(self, executor_id: str) -> None:
        async with self._database.write() as connection:
            await connection.execute(sa.delete(executors).where(executors.c.id == executor_id))

    async def release(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
            self._keeper = None
        await self._disconnect()
        await self._engine.dispose()

    async def _connect(self) -> None:
        connection = await self._engine.connect()
        self._connection = connection
        # So that the server, too, soon notices a machine that is gone without a word.
        idle = max(1, round(self._seconds / HEARTBEATS))
        for setting, value in (
            ("tcp_keepalives_idle", idle),
            ("tcp_keepalives_interval", idle),
            ("tcp_keepalives_count", HEARTBEATS),
        ):
            await connection.execute(
                sa.text("SELECT set_config(:setting, :value, false)"),
                {"setting": setting, "value": str(value)},
            )
        if not await _lock(connection, self.executor_id):
            await self._disconnect()
            raise Unavailable("The executor's lease is still held elsewhere")
        await connection.execute(sa.text(f"LISTEN {CHANNEL}"))

    async def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with contextlib.suppress(sa.exc.DBAPIError, OSError):
                await connection.invalidate()
            with contextlib.suppress(sa.exc.DBAPIError, OSError):
                await connection.close()

    async def _enrol(self) -> bool:
        """Put the executor on record; False when it still is."""
        async with self._database.write() as connection:
            known = await connection.execute(
                sa.select(executors.c.id).where(executors.c.id == self.executor_id)
            )
            if known.first() is not None:
                return False
            await connection.execute(
                sa.insert(executors).values(id=self.executor_id, started_at=now())
            )
            return True

    async def _keep(
        self, taken_over: Callable[[], Awaitable[None]], released: Callable[[], None]
    ) -> None:
        while True:
            try:
                await self._listen(released)
                await self._beat(taken_over)
            except (Unavailable, sa.exc.DBAPIError, psycopg.Error, OSError, TimeoutError) as error:
                if self.is_held:
                    log.warning("jobs.lease_lost", executor=self.executor_id, reason=str(error))
                self.is_held = False
                await self._disconnect()

    async def _listen(self, released: Callable[[], None]) -> None:
        """Spend the time between two heartbeats."""
        seconds = self._seconds / HEARTBEATS
        if self._connection is None:
            await asyncio.sleep(seconds)
            return
        raw = await self._connection.get_raw_connection()
        connection: Any = raw.driver_connection
        async for _ in connection.notifies(timeout=seconds):
            released()

    async def _beat(self, taken_over: Callable[[], Awaitable[None]]) -> None:
        if self._connection is not None:
            async with asyncio.timeout(self._seconds):
                await self._connection.execute(sa.text("SELECT 1"))
            return
        await self._connect()
        # A reaper removes the row when it has given our jobs away, and not before.
        if await self._enrol():
            log.warning("jobs.taken_over", executor=self.executor_id)
            await taken_over()
        self.is_held = True
        log.info("jobs.lease_regained", executor=self.executor_id)


async def announce(connection: AsyncConnection) -> None:
    """Tell every worker, when this PostgreSQL transaction commits, that there is work."""
    await connection.execute(sa.text(f"NOTIFY {CHANNEL}"))


async def _lock(connection: AsyncConnection, name: str) -> bool:
    got = await connection.execute(
        sa.text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))"),
        {"name": f"quire-jobs {name}"},
    )
    return bool(got.scalar_one())
