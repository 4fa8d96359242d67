"""Connections to the metadata store, and what its failures are called."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from quire.errors import StorageDamaged, StorageFull, Unavailable
from quire.settings import Settings
from quire.store.ending import Ending, with_ending
from quire.store.feed import Feed, Heard, Listeners, LocalFeed, ServerFeed

# Every connection keeps a few megabytes; embedded, that is most of what the store costs.
SQLITE_READERS = 4


class Database:
    """One metadata store: `read` for looking, `write` for changing.

    On SQLite all writing goes through one connection that takes the write lock at once, so
    writers queue here, in order, and a transaction never fails half way for want of the lock.
    """

    def __init__(
        self,
        readers: AsyncEngine,
        writers: AsyncEngine,
        path: Path | None,
        apart: AsyncEngine | None = None,
    ) -> None:
        self._readers = readers
        self._writers = writers
        self._apart = apart
        self._one_writer = asyncio.Lock() if path is not None else nullcontext()
        self._listeners = Listeners()
        self.path = path
        self.url = writers.url

    @property
    def is_sqlite(self) -> bool:
        return self.path is not None

    @classmethod
    def sqlite(cls, path: Path, *, timeout_seconds: float = 5.0) -> Database:
        """A database in one file, made if need be."""
        path.parent.mkdir(parents=True, exist_ok=True)
        url = sa.URL.create("sqlite+aiosqlite", database=str(path))

        def engine(size: int, begin: str | None) -> AsyncEngine:
            made = create_async_engine(
                url,
                pool_size=size,
                max_overflow=0,
                pool_timeout=timeout_seconds,
                connect_args={"timeout": timeout_seconds},
                json_serializer=_dump_json,
                json_deserializer=_load_json,
            )
            prepare_sqlite(made.sync_engine, begin)
            return made

        return cls(engine(SQLITE_READERS, None), engine(1, "BEGIN IMMEDIATE"), path)

    @classmethod
    def postgres(cls, url: str, *, pool_size: int = 10, timeout_seconds: float = 5.0) -> Database:
        """A database on a server; it need not be up yet."""
        connect_args = {"connect_timeout": max(2, round(timeout_seconds))}
        engine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=timeout_seconds,
            pool_pre_ping=True,
            connect_args=connect_args,
            json_serializer=_dump_json,
            json_deserializer=_load_json,
        )
        apart = create_async_engine(
            url, poolclass=NullPool, connect_args=connect_args, isolation_level="AUTOCOMMIT"
        )
        return cls(engine.execution_options(isolation_level="AUTOCOMMIT"), engine, None, apart)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection on which every statement stands alone."""
        with _naming_failures():
            async with self._readers.connect() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed at the end of the block, rolled back by an exception."""
        ending = Ending()
        try:
            with _naming_failures():
                async with (
                    self._one_writer,
                    self._writers.begin() as connection,
                    with_ending(connection, ending),
                ):
                    yield connection
        finally:
            # However it ended: who is cancelled while it commits cannot know which it was.
            ending.over()
            for channel, names in ending.said.items():
                self._listeners.tell(channel, names)

    def feed(self, channel: str, heard: Heard) -> Feed:
        """Word of what is said on a channel, by any process on this database."""
        if self.is_sqlite:
            return LocalFeed(self._listeners, channel, heard)
        url = self.url.set(drivername="postgresql")
        return ServerFeed(url.render_as_string(hide_password=False), channel, heard)

    @asynccontextmanager
    async def alone(self, name: str) -> AsyncIterator[bool]:
        """Whether this block is the only one of its name in all processes on this database.

        On a connection of its own, so that long blocks take none from others; whatever ends the
        connection ends the hold.
        """
        if self._apart is None:
            yield True  # one process owns a SQLite database
            return
        with _naming_failures():
            async with self._apart.connect() as connection:
                lock = sa.text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")
                yield bool((await connection.execute(lock, {"name": name})).scalar_one())

    async def lock_sessions(self, connection: AsyncConnection, session_ids: list[str]) -> None:
        """Hold these sessions' locks until the transaction ends; sorted, so nobody deadlocks."""
        if self.is_sqlite:
            return  # BEGIN IMMEDIATE already keeps every other writer out
        for session_id in sorted(session_ids):
            await connection.execute(
                sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:id, 0))"),
                {"id": session_id},
            )

    async def ping(self) -> str:
        """The database's version; raises `Unavailable` when it does not answer."""
        query = "SELECT sqlite_version()" if self.is_sqlite else "SHOW server_version"
        async with self.read() as connection:
            return f"{(await connection.execute(sa.text(query))).scalar_one()}"

    async def close(self) -> None:
        await self._readers.dispose()
        await self._writers.dispose()
        if self._apart is not None:
            await self._apart.dispose()


def open_database(settings: Settings) -> Database:
    """The metadata store that the settings name; a server need not be up yet."""
    configured = settings.database
    if configured.url is None:
        path = settings.data_dir / "quire.db"
        return Database.sqlite(path, timeout_seconds=configured.timeout_seconds)
    return Database.postgres(
        configured.url.get_secret_value(),
        pool_size=configured.pool_size,
        timeout_seconds=configured.timeout_seconds,
    )


def prepare_sqlite(engine: sa.Engine, begin: str | None) -> None:
    """WAL, FULL, foreign keys; and transactions that begin as `begin` says (None: autocommit)."""

    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN would come too late
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "temp_store=MEMORY",
            "cache_size=-8000",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    if begin is not None:

        @event.listens_for(engine, "begin")
        def began(connection: sa.Connection) -> None:
            connection.exec_driver_sql(begin)


class _naming_failures:  # noqa: N801 - reads as a statement: `with _naming_failures():`
    """Turns the drivers' failures into Quire's."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, sa.exc.TimeoutError):
            raise Unavailable("The database is too busy to answer in time") from error
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        words = str(cause).lower()
        if isinstance(cause, sqlite3.Error):
            if "full" in words or "disk i/o" in words:
                raise StorageFull("The disk that holds the database is full") from error
            if "not a database" in words or "malformed" in words:
                raise StorageDamaged(f"The database cannot be read: {cause}") from error
            if isinstance(cause, sqlite3.OperationalError) and "locked" in words:
                raise Unavailable("The database is locked by another process") from error
            return
        if not isinstance(error, sa.exc.DBAPIError):
            return
        if error.connection_invalidated or isinstance(error, sa.exc.OperationalError):
            if getattr(cause, "sqlstate", None) == "53100":
                raise StorageFull("The disk that holds the database is full") from error
            raise Unavailable("The database does not answer") from error


def _dump_json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _load_json(text: str | bytes) -> Any:
    return orjson.loads(text)
