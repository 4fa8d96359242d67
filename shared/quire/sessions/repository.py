"""Where sessions are kept: reading, changing under a version, finding."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.errors import PreconditionFailed
from quire.events.log import append_events, forget_session
from quire.sessions.cache import CHANNEL, SessionCache
from quire.sessions.happenings import events_of_change, events_of_creation
from quire.sessions.lifecycle import State
from quire.sessions.models import Session
from quire.sessions.rows import SELECT_SESSIONS, from_row, to_row
from quire.store.database import Database
from quire.store.feed import say
from quire.store.tables import session_collaborators, session_tags, sessions

WALK_BATCH = 500
WHEREABOUTS = ("collection", "residency", "pack", "woke_at")


class SessionRepository:
    """Sessions in the metadata store; point reads come from memory where that is surely right."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache = SessionCache(database)
        self._changed: dict[AsyncConnection, set[str]] = {}

    def open(self) -> None:
        self._cache.open()

    async def close(self) -> None:
        await self._cache.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """`Database.write`, after which nobody sees what was there before."""
        changed: set[str] = set()
        try:
            async with self._database.write() as connection:
                self._changed[connection] = changed
                try:
                    yield connection
                finally:
                    del self._changed[connection]
                if changed and not self._database.is_sqlite:
                    await say(connection, CHANNEL, changed)
        finally:
            self._cache.changed(changed)  # only now is it committed

    async def get(self, session_id: str) -> Session | None:
        if (kept := self._cache.get(session_id)) is not None:
            return kept
        generation = self._cache.generation
        async with self._database.read() as connection:
            session = await self._select(connection, session_id)
        if session is not None:
            self._cache.keep(session, generation)
        return session

    async def latest(self, session_id: str) -> Session | None:
        """`get` past what is kept in memory: as it is in the store at this moment."""
        async with self._database.read() as connection:
            return await self._select(connection, session_id)

    async def lock(self, connection: AsyncConnection, session_id: str) -> Session | None:
        """The session as it is, and it stays so until the transaction ends."""
        return await self._select(connection, session_id, for_update=True)

    async def insert(self, connection: AsyncConnection, session: Session) -> None:
        await connection.execute(sa.insert(sessions).values(to_row(session)))
        await self._write_index_rows(connection, None, session)
        await forget_session(connection, session.id)
        await append_events(connection, events_of_creation(session))
        self._note_change(connection, session.id)

    async def save(self, connection: AsyncConnection, old: Session, new: Session) -> Session:
        """Write a change of a session that `lock` returned; only the version that was read."""
        saved = replace(new, version=old.version + 1)
        before, after = to_row(old), to_row(saved)
        changed = {key: value for key, value in after.items() if before[key] != value}
        result = await connection.execute(
            sa.update(sessions)
            .where(sessions.c.id == old.id, sessions.c.version == old.version)
            .values(changed)
        )
        if result.rowcount != 1:
            raise PreconditionFailed(f"Session {old.id} was changed at the same moment")
        await self._write_index_rows(connection, old, saved)
        await append_events(connection, events_of_change(old, saved))
        self._note_change(connection, old.id)
        return saved

    async def relocate(self, connection: AsyncConnection, session: Session) -> None:
        """Write where a locked session's points are now, and nothing else of it.

        No version changes: they are the same points, and who knew the session knows it still.
        """
        row = to_row(session)
        await connection.execute(
            sa.update(sessions)
            .where(sessions.c.id == session.id)
            .values({name: row[name] for name in WHEREABOUTS})
        )
        self._note_change(connection, session.id)

    async def touch(self, session: Session, at: datetime, expires_at: datetime | None) -> Session:
        """Note a use. No version changes: being read is not being changed."""
        async with self.transaction() as connection:
            result = await connection.execute(
                sa.update(sessions)
                .where(sessions.c.id == session.id, sessions.c.version == session.version)
                .values(last_activity_at=at, expires_at=expires_at)
            )
            self._note_change(connection, session.id)
        if result.rowcount != 1:
            return await self.get(session.id) or session
        return replace(session, last_activity_at=at, expires_at=expires_at)

    async def remove(self, connection: AsyncConnection, session_id: str) -> None:
        await connection.execute(sa.delete(sessions).where(sessions.c.id == session_id))
        self._note_change(connection, session_id)

    async def select(self, query: sa.Select[Any]) -> Sequence[Session]:
        """The sessions that a narrowed `SELECT_SESSIONS` finds."""
        async with self._database.read() as connection:
            return [from_row(row) for row in await connection.execute(query)]

    async def walk(self, *conditions: sa.ColumnElement[bool]) -> AsyncIterator[Session]:
        """All sessions that meet the conditions, in the order of their ids, some at a time."""
        last = ""
        while True:
            query = SELECT_SESSIONS.where(*conditions, sessions.c.id > last)
            async with self._database.read() as connection:
                rows = await connection.execute(query.order_by(sessions.c.id).limit(WALK_BATCH))
                page = [from_row(row) for row in rows]
            for session in page:
                yield session
            if len(page) < WALK_BATCH:
                return
            last = page[-1].id

    async def count(self) -> int:
        """How many sessions there are to be seen, by anyone."""
        query = sa.select(sa.func.count()).select_from(sessions)
        visible = sessions.c.state.in_([state.value for state in State if state.is_visible])
        async with self._database.read() as connection:
            return (await connection.execute(query.where(visible))).scalar_one()

    async def census(self) -> dict[tuple[str, str], int]:
        """How many sessions there are in each state and residency."""
        query = sa.select(sessions.c.state, sessions.c.residency, sa.func.count()).group_by(
            sessions.c.state, sessions.c.residency
        )
        async with self._database.read() as connection:
            rows = await connection.execute(query)
            return {(state, residency): count for state, residency, count in rows}

    async def _select(
        self, connection: AsyncConnection, session_id: str, *, for_update: bool = False
    ) -> Session | None:
        query = SELECT_SESSIONS.where(sessions.c.id == session_id)
        if for_update:
            query = query.with_for_update()
        row = (await connection.execute(query)).one_or_none()
        return None if row is None else from_row(row)

    async def _write_index_rows(
        self, connection: AsyncConnection, old: Session | None, new: Session
    ) -> None:
        """The side tables by which sessions are found."""
        if old is None or old.tags != new.tags:
            if old is not None and old.tags:
                await connection.execute(
                    sa.delete(session_tags).where(session_tags.c.session_id == new.id)
                )
            if new.tags:
                await connection.execute(
                    sa.insert(session_tags), [{"tag": t, "session_id": new.id} for t in new.tags]
                )
        if old is None or old.collaborators != new.collaborators:
            if old is not None and old.collaborators:
                await connection.execute(
                    sa.delete(session_collaborators).where(
                        session_collaborators.c.session_id == new.id
                    )
                )
            if new.collaborators:
                await connection.execute(
                    sa.insert(session_collaborators),
                    [
                        {"user_id": c.user_id, "session_id": new.id, "role": c.role.value}
                        for c in new.collaborators
                    ],
                )

    def _note_change(self, connection: AsyncConnection, session_id: str) -> None:
        changed = self._changed[connection]
        if session_id not in changed:
            changed.add(session_id)
            self._cache.changing(session_id)
