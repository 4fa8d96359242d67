"""Someone who follows a session in a task, so that a test may look at what they have heard."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quire.errors import QuireError
from quire.events.log import Event, EventKind, NewEvent, append_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quire.access.principal import Principal
    from quire.app import Quire
    from quire.store import Database

PATIENCE_SECONDS = 10


@dataclass
class Listener:
    """What came, and what the stream ended with."""

    heard: list[Event] = field(default_factory=list)
    beats: int = 0
    error: QuireError | None = None
    is_over: bool = False
    has_gap: bool = False

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.heard]

    @property
    def numbers(self) -> list[Any]:
        return [event.data["n"] for event in self.heard if "n" in event.data]

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition(self):
                await asyncio.sleep(0.005)


@asynccontextmanager
async def listening(
    quire: Quire, who: Principal, session_id: str, **options: Any
) -> AsyncIterator[Listener]:
    following = await quire.events.follow(who, session_id, **options)
    listener = Listener(has_gap=following.has_gap)

    async def listen() -> None:
        try:
            async for event in following.events():
                if event is None:
                    listener.beats += 1
                else:
                    listener.heard.append(event)
        except QuireError as error:
            listener.error = error
        listener.is_over = True

    task = asyncio.create_task(listen())
    try:
        if options.get("after") is None:
            await joined(following._subscription, quire)
        yield listener
    finally:
        task.cancel()
        await asyncio.wait({task})
        following.close()


async def joined(subscription: Any, quire: Quire) -> None:
    """Wait until the hub puts on it what comes."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not any(subscription in it.subscriptions for it in quire.hub._watches.values()):
            await asyncio.sleep(0.001)


async def tell(database: Database, session_id: str, *numbers: int, pause: float = 0) -> None:
    """One transaction that tells these numbers, and takes its time to commit."""
    async with database.write() as connection:
        happened = [NewEvent(session_id, EventKind.DATA_CHANGED, {"n": n}) for n in numbers]
        await append_events(connection, happened)
        await asyncio.sleep(pause)
