"""One thread for those who wait, and a nicer one for bulk work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from quire.embedding.port import Lane
from quire.embedding.priority import give_way
from quire.errors import Unavailable

Result = TypeVar("Result")


class LaneThreads:
    """Runs a model's blocking calls off the event loop, each lane's in a thread of its own."""

    def __init__(self, name: str) -> None:
        self._threads = {
            Lane.INTERACTIVE: ThreadPoolExecutor(1, f"{name}-interactive"),
            Lane.BULK: ThreadPoolExecutor(1, f"{name}-bulk", initializer=give_way),
        }
        self._closed = False

    async def run(self, lane: Lane, call: Callable[[], Result]) -> Result:
        """The call's result; raises `Unavailable` once closed."""
        if self._closed:
            raise Unavailable("The embedding provider is closed")
        return await asyncio.get_running_loop().run_in_executor(self._threads[lane], call)

    async def close(self) -> None:
        """Let what is under way finish, and end the threads."""
        self._closed = True
        for thread in self._threads.values():
            await asyncio.to_thread(thread.shutdown)
