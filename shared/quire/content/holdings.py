"""What a session's documents come to."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from quire.access.principal import Principal
from quire.sessions.sessions import Sessions
from quire.store.database import Database
from quire.store.tables import documents


@dataclass(frozen=True, slots=True)
class Held:
    """How many documents there are, how large they were as they came, and where from.

    Without a `source_url` they came from nowhere, or from several places.
    """

    documents: int
    bytes: int
    characters: int
    source_url: str | None


class Holdings:
    """Adds up the documents of a session, on behalf of a caller."""

    def __init__(self, sessions: Sessions, database: Database) -> None:
        self._sessions = sessions
        self._database = database

    async def of(self, principal: Principal, session_id: str) -> Held:
        session = await self._sessions.peek(principal, session_id)
        size = sa.func.coalesce(sa.func.sum(documents.c.raw_end - documents.c.raw_start), 0)
        characters = sa.func.coalesce(sa.func.sum(documents.c.characters), 0)
        url = documents.c.source_url
        query = sa.select(sa.func.count(), size, characters, sa.func.min(url), sa.func.max(url))
        query = query.where(documents.c.session_id == session.id, documents.c.is_current)
        async with self._database.read() as connection:
            count, total, length, first, last = (await connection.execute(query)).one()
        return Held(count, int(total), int(length), first if first == last else None)
