"""One who listens: what has happened and was not taken yet, up to a bound."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection
from contextlib import suppress

from quire.errors import Unavailable
from quire.events.log import Event, EventKind

# Whatever was asked for: these tell whether one may go on listening.
ALWAYS = frozenset({EventKind.SESSION_SHARED, EventKind.SESSION_EXPIRED, EventKind.SESSION_DELETED})


class FellBehind(Unavailable):
    """More happened than was taken from the stream."""

    code = "fell_behind"
    recovery = "Connect again with the last id as `Last-Event-ID`: nothing is lost."


class Subscription:
    """Filled by the hub, emptied by whoever follows the session."""

    def __init__(self, session_id: str, size: int, kinds: Collection[EventKind] | None) -> None:
        self.session_id = session_id
        # Up to here it has read by itself.
        self.position = 0
        self._size = size
        self._kinds = None if kinds is None else frozenset(kinds) | ALWAYS
        self._waiting: deque[Event] = deque()
        self._ready = asyncio.Event()
        self._is_behind = False
        self._is_over = False

    @property
    def is_behind(self) -> bool:
        return self._is_behind

    @property
    def is_crowded(self) -> bool:
        """Another page of events might be too much for it."""
        return len(self._waiting) > self._size // 2

    def put(self, event: Event) -> None:
        if self._is_behind or event.seq <= self.position or not self._wants(event):
            return
        if len(self._waiting) < self._size:
            self._waiting.append(event)
        else:
            self._waiting.clear()
            self._is_behind = True
        self._ready.set()

    def _wants(self, event: Event) -> bool:
        return self._kinds is None or event.kind in self._kinds

    def end(self) -> None:
        """Nothing comes any more: the process stops."""
        self._is_over = True
        self._ready.set()

    @property
    def is_over(self) -> bool:
        return self._is_over

    async def take(self, seconds: float) -> Event | None:
        """The next event; None when there is none for so long, or never again."""
        if not (self._waiting or self._is_behind or self._is_over):
            self._ready.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._ready.wait()
        if self._is_behind:
            raise FellBehind(
                f"More than {self._size} events of session {self.session_id} were not taken in time"
            )
        return self._waiting.popleft() if self._waiting and not self._is_over else None
