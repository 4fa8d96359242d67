"""Work that is due again and again: retention, blob sweeps, history.

Each chore is decided from the store's state, so one that was cut off is simply due again. Of the
processes on one PostgreSQL, one does a chore at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from quire.errors import QuireError
from quire.store.database import Database

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Chore:
    name: str
    every_seconds: float
    run: Callable[[], Awaitable[object]]


class Housekeeping:
    """Does its chores until it is stopped; a chore that fails is logged and tried again."""

    def __init__(self, database: Database, chores: Sequence[Chore]) -> None:
        self._database = database
        self._chores = chores
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._repeat(chore), name=f"chore {chore.name}")
            for chore in self._chores
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _repeat(self, chore: Chore) -> None:
        while True:
            try:
                async with self._database.alone(f"chore {chore.name}") as is_ours:
                    if is_ours:
                        await chore.run()
            except QuireError as error:
                log.warning("chore put off", chore=chore.name, reason=error.message)
            except Exception:  # a boundary: one broken chore must not end the others
                log.exception("chore failed", chore=chore.name)
            await asyncio.sleep(chore.every_seconds)
