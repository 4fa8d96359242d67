"""Word of changes between the processes on one PostgreSQL.

Who changes something says so within the transaction; every process hears of it when that commits,
a millisecond later. So a process may keep what it read, for as long as it is sure to hear.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import psycopg
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

log = structlog.get_logger(__name__)

CHANNEL = "quire_changes"
BEAT_SECONDS = 0.5
# Silence for longer than this may be a dead connection, on which nothing is heard.
SURE_SECONDS = 2.0
RECONNECT_SECONDS = 1.0
CLOSE_SECONDS = 0.5


class ChangeFeed:
    """Listens for as long as it is open; `is_sure` while nothing can have been missed."""

    def __init__(self, conninfo: str, heard: Callable[[str | None], None]) -> None:
        self._conninfo = conninfo
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
            await connection.execute(f"LISTEN {CHANNEL}")
            self._heard(None)  # whatever was said while nobody listened
            while True:
                beat = time.monotonic()
                async with asyncio.timeout(SURE_SECONDS / 2):
                    await connection.execute("SELECT 1")
                self._last_beat = beat
                async for notice in connection.notifies(timeout=BEAT_SECONDS):
                    self._heard(notice.payload)


async def say_changed(connection: AsyncConnection, names: set[str]) -> None:
    """Tell every process, when this transaction commits."""
    for name in sorted(names):
        await connection.execute(
            sa.text("SELECT pg_notify(:channel, :name)"), {"channel": CHANNEL, "name": name}
        )
