"""What happened to sessions, in order: written with the change itself, read by whoever listens.

One session's events have the order in which they were committed, and so has their `seq`: who has
read up to one has missed none before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.events.insertion import insert_locked, insert_plainly
from quire.store.columns import now
from quire.store.database import Database
from quire.store.ending import ending_of
from quire.store.feed import say
from quire.store.tables import events

CHANNEL = "quire_events"
FORGET_BATCH = 2_000
# What every event has; its data adds to these.
RESERVED = frozenset({"id", "kind", "session_id", "at"})


class EventKind(StrEnum):
    """What can happen to a session."""

    SESSION_CREATED = "session.created"
    SESSION_CHANGED = "session.changed"
    SESSION_SHARED = "session.shared"
    SESSION_EXPIRED = "session.expired"
    SESSION_DELETED = "session.deleted"
    DOCUMENT_READY = "document.ready"
    DOCUMENT_FAILED = "document.failed"
    JOB_PROGRESS = "job.progress"
    MESSAGE_ADDED = "message.added"
    INVOCATION_RECORDED = "invocation.recorded"
    DATA_CHANGED = "data.changed"
    ATTACHMENT_CHANGED = "attachment.changed"


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something that happened. Its data are few and small: ids to look up, rather than contents."""

    session_id: str
    kind: EventKind
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if clashing := RESERVED & self.data.keys():
            raise ValueError(f"An event's own names are not for its data: {sorted(clashing)}")


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """One that was committed."""

    seq: int
    session_id: str
    kind: str
    data: Mapping[str, Any]
    at: datetime


async def append_events(connection: AsyncConnection, happened: Sequence[NewEvent]) -> None:
    """Tell what this transaction does, if it is committed.

    They are written after everything else in it, wherever it is that this is called: whoever
    writes events holds a lock on their sessions, and nobody who holds one waits for another lock.
    """
    ending_of(connection).write_last(_write, happened)


async def _write(connection: AsyncConnection, happened: Sequence[NewEvent]) -> None:
    rows = [
        {"session_id": event.session_id, "kind": event.kind.value, "data": dict(event.data)}
        for event in happened
    ]
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        await insert_locked(connection, CHANNEL, rows, now())
    else:
        await insert_plainly(connection, rows, now())
        await say(connection, CHANNEL, {event.session_id for event in happened})


async def read_events(
    connection: AsyncConnection,
    session_id: str,
    *,
    after: int,
    until: int | None = None,
    limit: int,
) -> list[Event]:
    """The session's events after one, in order."""
    query = sa.select(events).where(events.c.session_id == session_id, events.c.seq > after)
    if until is not None:
        query = query.where(events.c.seq <= until)
    rows = await connection.execute(query.order_by(events.c.seq).limit(limit))
    return [Event(row.seq, row.session_id, row.kind, row.data, row.created_at) for row in rows]


async def last_seq(connection: AsyncConnection, session_id: str) -> int:
    """The session's last event; 0 when none is kept."""
    query = sa.select(sa.func.max(events.c.seq)).where(events.c.session_id == session_id)
    return (await connection.execute(query)).scalar_one() or 0


async def is_kept(connection: AsyncConnection, session_id: str, seq: int) -> bool:
    """Whether the session has this event still: if so, it has all that came after."""
    query = sa.select(events.c.seq).where(events.c.session_id == session_id, events.c.seq == seq)
    return (await connection.execute(query)).first() is not None


async def forget_session(connection: AsyncConnection, session_id: str) -> None:
    """The id is taken again: what its former bearer did is nobody's business any more."""
    await connection.execute(sa.delete(events).where(events.c.session_id == session_id))


async def forget_events(database: Database, before: datetime) -> int:
    """Remove what is too old to be replayed, some at a time; answers how many."""
    old = sa.select(events.c.seq).where(events.c.created_at < before).limit(FORGET_BATCH)
    forgotten = 0
    while True:
        async with database.write() as connection:
            removed = await connection.execute(sa.delete(events).where(events.c.seq.in_(old)))
        forgotten += removed.rowcount
        if removed.rowcount < FORGET_BATCH:
            return forgotten
