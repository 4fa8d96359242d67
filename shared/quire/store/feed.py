"""Word of changes: said within the transaction that makes them, heard when that is committed.

On PostgreSQL every process hears of it, a millisecond later. So a process may keep what it read,
for as long as it is sure to hear. On SQLite there is only this process, which misses nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Protocol

import psycopg
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.store.ending import ending_of

log = structlog.get_logger(__name__)

BEAT_SECONDS = 0.5
# Silence for longer than this may be a dead connection, on which nothing is heard.
SURE_SECONDS = 2.0
RECONNECT_SECONDS = 1.0
CLOSE_SECONDS = 0.5


Heard = Callable[[str | None], None]
"""Told the name of what changed; None when that may be anything."""


class Feed(Protocol):
    """Listens for as long as it is open; `is_sure` while nothing can have been missed."""

    @property
    def is_sure(self) -> bool: ...

    def open(self) -> None: ...

    async def close(self) -> None: ...


class Listeners:
    """Who listens within this process, by channel."""

    def __init__(self) -> None:
        self._of: defaultdict[str, list[Heard]] = defaultdict(list)

    def add(self, channel: str, heard: Heard) -> None:
        self._of[channel].append(heard)

    def remove(self, channel: str, heard: Heard) -> None:
        self._of[channel].remove(heard)

    def tell(self, channel: str, names: Iterable[str]) -> None:
        for heard in tuple(self._of[channel]):
            for name in names:
                heard(name)


class LocalFeed:
    """Word from this process, which is the only one."""

    def __init__(self, listeners: Listeners, channel: str, heard: Heard) -> None:
        self._listeners = listeners
        self._channel = channel
        self._heard = heard
        self.is_sure = False

    def open(self) -> None:
        self._listeners.add(self._channel, self._heard)
        self.is_sure = True

    async def close(self) -> None:
        if self.is_sure:
            self.is_sure = False
            self._listeners.remove(self._channel, self._heard)


class ServerFeed:
    """Word from every process on one PostgreSQL, on a connection of its own."""

    def __init__(self, conninfo: str, channel: str, heard: Heard) -> None:
        self._conninfo = conninfo
        self._channel = channel
        self._heard = heard
        self._last_beat = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def is_sure(self) -> bool:
        return time.monotonic() - self._last_beat < SURE_SECONDS

    def open(self) -> None:
        self._task = asyncio.create_task(self._listen(), name="change feed")

    async def close(self) -> None:
        if self._task is not None:
            while not self._task.done():
                # Said again should the driver have swallowed it.
                self._task.cancel()
                await asyncio.wait({self._task}, timeout=CLOSE_SECONDS)
            self._task = None

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear_until_lost()
            except (psycopg.Error, TimeoutError, OSError) as error:
                log.debug("change feed lost", reason=str(error))
            finally:
                self._last_beat = 0.0
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _hear_until_lost(self) -> None:
        # Not `wait_for`: that may swallow a cancellation, and then nobody ends this any more.
        async with asyncio.timeout(SURE_SECONDS):
            connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        async with connection:
            await connection.execute(f"LISTEN {self._channel}")
            self._heard(None)  # whatever was said while nobody listened
            while True:
                beat = time.monotonic()
                async with asyncio.timeout(SURE_SECONDS / 2):
                    await connection.execute("SELECT 1")
                self._last_beat = beat
                async for notice in connection.notifies(timeout=BEAT_SECONDS):
                    self._heard(notice.payload)


async def say(connection: AsyncConnection, channel: str, names: Iterable[str]) -> None:
    """Tell whoever listens, when this transaction commits."""
    if connection.dialect.name != "postgresql":
        ending_of(connection).say(channel, names)
        return
    await connection.execute(
        sa.text("SELECT pg_notify(:channel, name) FROM unnest(CAST(:names AS text[])) AS name"),
        {"channel": channel, "names": sorted(names)},
    )
