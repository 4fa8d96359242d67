"""A session followed: first what was, then what comes, with nothing between them missed."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from typing import Protocol

from quire.errors import QuireError
from quire.events.hub import Hub
from quire.events.log import Event, EventKind, is_kept, last_seq, read_events
from quire.store.database import Database

PAGE = 100
LAST = (EventKind.SESSION_EXPIRED, EventKind.SESSION_DELETED)


class Reader(Protocol):
    """Who follows: what they may see."""

    async def require(self, version: int = 0) -> None:
        """Raise unless they may read the session, as it is at this version or later."""
        ...

    def gone(self, event: Event) -> QuireError:
        """What to say when that was the last of the session."""
        ...


class Following:
    """An open stream of one session's events; close it, however it ended.

    `position` is the event before its first one. `has_gap` says that some that were asked for may
    be forgotten.
    """

    def __init__(
        self,
        hub: Hub,
        database: Database,
        reader: Reader,
        session_id: str,
        *,
        kinds: Collection[EventKind] | None = None,
        heartbeat_seconds: float,
    ) -> None:
        self._hub = hub
        self._database = database
        self._reader = reader
        self._kinds = None if kinds is None else frozenset(kinds)
        self._heartbeat_seconds = heartbeat_seconds
        self._subscription = hub.subscribe(session_id, kinds)
        self._checked_at = time.monotonic()
        self.session_id = session_id
        self.position = 0
        self.has_gap = False
        self._replays = False

    async def begin(self, after: int | None) -> None:
        """Stand behind an event (0: before all that are kept), or behind the last there is."""
        async with self._database.read() as connection:
            last = await last_seq(connection, self.session_id)
            if after is None:
                self.position = last
                return
            self._replays = True
            self.has_gap = after > 0 and not await is_kept(connection, self.session_id, after)
            # One that is yet to come was given out by another database, before this was restored.
            self.position = min(after, last)

    def close(self) -> None:
        """Give its place back."""
        self._hub.leave(self._subscription)

    async def events(self) -> AsyncGenerator[Event | None, None]:
        """What happens; None when nothing did for a heartbeat's time.

        It ends when the process stops, and raises when its reader fell behind, may not read the
        session any more, or there is no such session any more.
        """
        if self._replays:
            async for event in self._past(None):
                yield event
        until = self._hub.join(self._subscription, self.position)
        if until > self.position:
            async for event in self._past(until):
                yield event
        while True:
            news = await self._subscription.take(self._heartbeat_seconds)
            if self._subscription.is_over:
                return
            if news is None:
                await self._check()
                yield None
            elif await self._passes(news):
                yield news
                self._require_more(news)

    async def _past(self, until: int | None) -> AsyncIterator[Event]:
        """What the store has, up to an event or to the last there is."""
        while not self._subscription.is_over:
            async with self._database.read() as connection:
                page = await read_events(
                    connection, self.session_id, after=self.position, until=until, limit=PAGE
                )
            for event in page:
                self.position = event.seq
                if await self._passes(event):
                    yield event
                    self._require_more(event)
            if len(page) < PAGE:
                return

    async def _passes(self, event: Event) -> bool:
        """Whether it was asked for, once it is sure that it may be seen."""
        if event.kind == EventKind.SESSION_SHARED:
            await self._check(event.data.get("version", 0))
        elif time.monotonic() - self._checked_at > self._heartbeat_seconds:
            await self._check()
        return self._kinds is None or event.kind in self._kinds or event.kind in LAST

    async def _check(self, version: int = 0) -> None:
        await self._reader.require(version)
        self._checked_at = time.monotonic()

    def _require_more(self, event: Event) -> None:
        if event.kind in LAST:
            raise self._reader.gone(event)
