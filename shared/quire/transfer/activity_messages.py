"""Messages on their way from conversation to conversation, with the vectors that fit there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.activity.appending import hold_conversation
from quire.activity.message_content import text_of
from quire.activity.message_vectors import mark_of
from quire.activity.message_words import MessageWords
from quire.embedding.port import Identity
from quire.sessions.identity import identity_of
from quire.sessions.models import Embedding
from quire.store.database import Database
from quire.store.tables import conversations, messages, sessions
from quire.transfer.activity_copying import brought, placed
from quire.transfer.activity_names import Naming
from quire.transfer.activity_plan import Bringing, Kind, in_order, place, placings, renamed


class MessageCopies:
    """Brings conversations together.

    Searching by meaning is not begun in a session that is there and whose users did not ask for it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._words = MessageWords(database)

    async def bring(self, connection: AsyncConnection, bringing: Bringing, naming: Naming) -> int:
        """Append what the sources said to what was said here; answers how many messages that is."""
        theirs = sa.select(conversations.c.is_semantic).where(
            conversations.c.session_id.in_(bringing.sources)
        )
        are_semantic = (await connection.execute(theirs)).scalars().all()
        if not are_semantic:
            return 0
        places = await place(connection, Kind.MESSAGES, bringing)
        mine = await hold_conversation(self._database, connection, bringing.target)
        mark = mark_of(await _identity(connection, bringing.target))
        fits = messages.c.vector_identity == mark
        said, is_said = renamed(Kind.MESSAGES, messages.c.session_id, messages.c.id)
        called, is_called = renamed(
            Kind.INVOCATIONS, messages.c.session_id, messages.c.invocation_id
        )
        values = {
            "session_id": sa.literal(bringing.target),
            "ordinal": mine.next_ordinal + placings.c.place,
            "id": sa.func.coalesce(said.c.other, messages.c.id),
            "invocation_id": sa.func.coalesce(called.c.other, messages.c.invocation_id),
            "vector": sa.case((fits, messages.c.vector)),
            "vector_identity": sa.case((fits, messages.c.vector_identity)),
            "job_id": sa.literal(bringing.job_id),
        }
        source = in_order(Kind.MESSAGES).outerjoin(said, is_said).outerjoin(called, is_called)
        count = await placed(connection, Kind.MESSAGES, source, values, places)
        change: dict[str, Any] = {"next_ordinal": mine.next_ordinal + places}
        if not bringing.joined:
            change["is_semantic"] = any(are_semantic)
        await connection.execute(
            sa.update(conversations)
            .where(conversations.c.session_id == bringing.target)
            .values(change)
        )
        for session_id, names in naming.attachments.items():
            if names:
                await self._rename_in_messages(connection, bringing, session_id, names)
        return count

    async def _rename_in_messages(
        self,
        connection: AsyncConnection,
        bringing: Bringing,
        session_id: str,
        names: Mapping[str, str],
    ) -> None:
        """Have what was said name attachments as they are called now."""
        async for row in brought(connection, Kind.MESSAGES, session_id, messages.c.content):
            content = orjson.loads(row.content)
            if isinstance(content, str):
                continue
            told = [
                {**part, "attachment": names[part["attachment"]]}
                if part.get("attachment") in names
                else part
                for part in content
            ]
            if told != content:
                await connection.execute(
                    sa.update(messages)
                    .where(messages.c.session_id == bringing.target, messages.c.id == row.called)
                    .values(content=orjson.dumps(told), words=self._words.of(text_of(told)))
                )


async def _identity(connection: AsyncConnection, session_id: str) -> Identity:
    """What the session's vectors are made with."""
    query = sa.select(sessions.c.embedding).where(sessions.c.id == session_id)
    return identity_of(Embedding(**(await connection.execute(query)).scalar_one()))
