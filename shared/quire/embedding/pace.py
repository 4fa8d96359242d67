"""How quickly a server may be asked: how many requests at once, and when none at all."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from quire.embedding.port import Lane
from quire.errors import Unavailable

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 20.0


class Pace:
    """Shared by all requests to one server. Each lane has places of its own: nobody who waits for
    an answer stands behind bulk work.

    A server that asks for less is given half, and one request more after each round that went well.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._running = dict.fromkeys(Lane, 0)
        self._freed = asyncio.Event()
        self._resumes_at = 0.0

    @property
    def limit(self) -> int:
        """How many requests of a lane may be under way at present."""
        return int(self._limit)

    @asynccontextmanager
    async def turn(self, lane: Lane, deadline: float) -> AsyncIterator[None]:
        """A place among the requests under way; raises `Unavailable` if a pause outlasts us."""
        loop = asyncio.get_running_loop()
        while True:
            pause = self._resumes_at - loop.time()
            if loop.time() + pause > deadline:
                raise Unavailable(
                    f"The embedding endpoint asks to be left alone for {pause:.0f} seconds",
                    retry_after=pause,
                )
            if pause > 0:
                await asyncio.sleep(pause)
            elif self._running[lane] < self.limit:
                break
            else:
                self._freed.clear()
                await self._freed.wait()
        self._running[lane] += 1
        try:
            yield
        finally:
            self._running[lane] -= 1
            self._freed.set()

    def went_well(self) -> None:
        """Let the limit recover."""
        self._limit = min(self._most, self._limit + 1 / self._limit)

    def slow_down(self, seconds: float) -> None:
        """Let no request begin for so long, and half as many afterwards."""
        at = asyncio.get_running_loop().time()
        # Requests that were under way together are told together, and mean it once.
        if self._resumes_at <= at:
            self._limit = max(1.0, self._limit / 2)
        self._resumes_at = max(self._resumes_at, at + seconds)


def pause_before(attempt: int) -> float:
    """Seconds to wait after this many failures: doubling, and never the same for two callers."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempt - 1, 16))
    return random.uniform(longest / 2, longest)


def seconds_asked(retry_after: str | None) -> float | None:
    """What a Retry-After header asks for: seconds, or a date."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            at = parsedate_to_datetime(retry_after)
        except ValueError:
            return None
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
