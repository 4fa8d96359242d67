"""Fans events out: each is read once in a process, however many listen to its session there."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress

import structlog

from quire.errors import QuireError, Unavailable
from quire.events.log import CHANNEL, Event, EventKind, read_events
from quire.events.subscription import Subscription
from quire.settings import EventSettings
from quire.store.database import Database

log = structlog.get_logger(__name__)

# How often is looked while word may not come: the connection that it comes on is lost.
LOOK_SECONDS = 1.0
PAGE = 100
# So long those who listen may take for a page of events before the next is put on it.
PACE_SECONDS = 0.25
PACE_STEP_SECONDS = 0.01
BUSY_SECONDS = 5.0


class Watch:
    """A session that somebody listens to, and how far it was read for them."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.subscriptions: set[Subscription] = set()


class Hub:
    """The subscriptions of this process, and the one task that reads for them."""

    def __init__(self, database: Database, settings: EventSettings) -> None:
        self._database = database
        self._settings = settings
        self._page = min(PAGE, max(1, settings.queue // 2))
        self._feed = database.feed(CHANNEL, self._heard)
        self._subscriptions: set[Subscription] = set()
        self._watches: dict[str, Watch] = {}
        self._due: set[str] = set()
        self._wake = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def subscribers(self) -> int:
        """How many streams are open."""
        return len(self._subscriptions)

    def subscribe(self, session_id: str, kinds: Collection[EventKind] | None) -> Subscription:
        """A place for one more; it hears nothing before it joins. `leave` gives it back."""
        most = self._settings.subscribers
        if self._is_closed:
            raise Unavailable("This process stops", recovery="Connect again.")
        if len(self._subscriptions) >= most:
            raise Unavailable(
                f"{most} event streams are open in this process, as many as it keeps",
                recovery="Wait and connect again, or have the operator raise "
                "QUIRE_EVENTS_SUBSCRIBERS.",
                retry_after=BUSY_SECONDS,
            )
        subscription = Subscription(session_id, self._settings.queue, kinds)
        self._subscriptions.add(subscription)
        return subscription

    def join(self, subscription: Subscription, position: int) -> int:
        """Have it hear what comes; it has read up to `position`.

        Answers up to where it must still read by itself, if that is further.
        """
        if self._reading is None:
            self._feed.open()
            self._reading = asyncio.create_task(self._read_on(), name="events")
        session_id = subscription.session_id
        watch = self._watches.get(session_id)
        if watch is None:
            watch = self._watches[session_id] = Watch(position)
        subscription.position = max(position, watch.position)
        watch.subscriptions.add(subscription)
        # Between its own last look and this moment nobody would have heard of anything.
        self._heard(session_id)
        return watch.position

    def leave(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)
        watch = self._watches.get(subscription.session_id)
        if watch is not None:
            watch.subscriptions.discard(subscription)
            if not watch.subscriptions:
                del self._watches[subscription.session_id]

    def end_streams(self) -> None:
        """Let every stream come to its end, and take no more: a server waits for them to stop."""
        self._is_closed = True
        for subscription in self._subscriptions:
            subscription.end()

    async def close(self) -> None:
        self.end_streams()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
            self._reading = None
        await self._feed.close()

    def _heard(self, session_id: str | None) -> None:
        if session_id is None:
            self._due.update(self._watches)
        elif session_id in self._watches:
            self._due.add(session_id)
        if self._due:
            self._wake.set()

    async def _read_on(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            if not self._feed.is_sure:
                self._due.update(self._watches)
            try:
                while self._due:
                    await self._read(next(iter(self._due)))
            except QuireError as error:
                log.warning("events.wait", reason=error.message)
                await asyncio.sleep(LOOK_SECONDS)
            except Exception:  # a boundary: without this task all streams would fall silent
                log.exception("events.reading_failed")
                await asyncio.sleep(LOOK_SECONDS)

    async def _read(self, session_id: str) -> None:
        """Hand a session's news out; what cannot be read stays due."""
        self._due.discard(session_id)
        while (watch := self._watches.get(session_id)) is not None:
            try:
                page = await self._look(session_id, watch.position)
            except BaseException:
                self._due.add(session_id)
                raise
            self._hand_out(watch, page)
            if len(page) < self._page:
                return
            await self._pace(watch)

    async def _look(self, session_id: str, after: int) -> list[Event]:
        async with self._database.read() as connection:
            return await read_events(connection, session_id, after=after, limit=self._page)

    def _hand_out(self, watch: Watch, page: list[Event]) -> None:
        for event in page:
            watch.position = event.seq
            for subscription in watch.subscriptions:
                subscription.put(event)
        for subscription in [each for each in watch.subscriptions if each.is_behind]:
            # Its place is free at once, whenever its client notices.
            self.leave(subscription)

    async def _pace(self, watch: Watch) -> None:
        """Give whoever keeps up the time to; who does not is not waited for long."""
        for _ in range(round(PACE_SECONDS / PACE_STEP_SECONDS)):
            if not any(subscription.is_crowded for subscription in watch.subscriptions):
                return
            await asyncio.sleep(PACE_STEP_SECONDS)
