"""Messages in the metadata store: rows to values and back, read in their order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.activity.message_models import Message, MessageFilter, MessageRole
from quire.store.database import Database
from quire.store.tables import conversations, messages

# Read at once; a message may be as large as the setting allows.
BATCH = 100
# What one page may hold: it ends sooner where messages are large.
PAGE_BYTES = 16 * 1024 * 1024

SHOWN = (
    messages.c.id,
    messages.c.session_id,
    messages.c.ordinal,
    messages.c.role,
    messages.c.content,
    messages.c.tool,
    messages.c.invocation_id,
    messages.c.tokens_in,
    messages.c.tokens_out,
    messages.c.cost,
    messages.c.metadata,
    messages.c.author,
    messages.c.created_at,
)
SELECT_MESSAGES: sa.Select[Any] = sa.select(*SHOWN)


def from_row(row: sa.Row[Any]) -> Message:
    return Message(
        id=row.id,
        session_id=row.session_id,
        ordinal=row.ordinal,
        role=MessageRole(row.role),
        content=orjson.loads(row.content),
        tool=row.tool,
        invocation_id=row.invocation_id,
        tokens_in=row.tokens_in,
        tokens_out=row.tokens_out,
        cost=row.cost,
        metadata=row.metadata,
        author=row.author,
        created_at=row.created_at,
    )


def to_row(message: Message, content: bytes, words: str, fingerprint: str) -> dict[str, Any]:
    return {
        "id": message.id,
        "session_id": message.session_id,
        "ordinal": message.ordinal,
        "role": message.role.value,
        "content": content,
        "words": words,
        "fingerprint": fingerprint,
        "tool": message.tool,
        "invocation_id": message.invocation_id,
        "tokens_in": message.tokens_in,
        "tokens_out": message.tokens_out,
        "cost": message.cost,
        "metadata": dict(message.metadata),
        "author": message.author,
        "created_at": message.created_at,
    }


class MessageRows:
    """Reads messages; who may is the caller's to know."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, session_id: str, message_id: str) -> Message | None:
        query = SELECT_MESSAGES.where(
            messages.c.session_id == session_id, messages.c.id == message_id
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else from_row(row)

    async def page(
        self,
        session_id: str,
        wanted: MessageFilter,
        *,
        limit: int,
        after: int | None = None,
        newest_first: bool = False,
    ) -> tuple[list[Message], bool]:
        """So many messages after (or, newest first, before) an ordinal; and whether more follow.

        At least one, if there is one; but no more than a page can hold.
        """
        found: list[Message] = []
        size = 0
        while True:
            step = min(BATCH, limit + 1 - len(found))
            query = _ordered(session_id, wanted, after, newest_first).limit(step)
            async with self._database.read() as connection:
                rows = (await connection.execute(query)).all()
            for row in rows:
                size += len(row.content)
                if len(found) == limit or (found and size > PAGE_BYTES):
                    return found, True
                found.append(from_row(row))
            if len(rows) < step:
                return found, False
            after = found[-1].ordinal

    async def stream(self, session_id: str, *, until: int) -> AsyncIterator[Message]:
        """All messages before an ordinal, a page at a time in memory."""
        after: int | None = None
        while True:
            page, more = await self.page(session_id, MessageFilter(), limit=BATCH, after=after)
            for message in page:
                if message.ordinal >= until:
                    return
                yield message
            if not more:
                return
            after = page[-1].ordinal

    async def by_seq(self, seqs: Sequence[int]) -> Mapping[int, Message]:
        """The messages of these rows, as far as they are still there."""
        query = SELECT_MESSAGES.add_columns(messages.c.seq).where(messages.c.seq.in_(seqs))
        async with self._database.read() as connection:
            return {row.seq: from_row(row) for row in await connection.execute(query)}

    async def count(self, session_id: str) -> int:
        query = sa.select(sa.func.count()).where(messages.c.session_id == session_id)
        async with self._database.read() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def next_ordinal(self, session_id: str) -> int:
        """The ordinal that the next message gets."""
        query = sa.select(conversations.c.next_ordinal).where(
            conversations.c.session_id == session_id
        )
        async with self._database.read() as connection:
            return (await connection.execute(query)).scalar_one_or_none() or 0

    async def is_semantic(self, session_id: str) -> bool:
        """Whether the session's messages are to be found by meaning."""
        query = sa.select(conversations.c.is_semantic).where(
            conversations.c.session_id == session_id
        )
        async with self._database.read() as connection:
            return bool((await connection.execute(query)).scalar_one_or_none())


async def known_messages(
    connection: AsyncConnection, session_id: str, ids: Sequence[str]
) -> dict[str, tuple[Message, str]]:
    """Those of these ids that there are, with their fingerprints."""
    if not ids:
        return {}
    query = SELECT_MESSAGES.add_columns(messages.c.fingerprint).where(
        messages.c.session_id == session_id, messages.c.id.in_(ids)
    )
    rows = await connection.execute(query)
    return {row.id: (from_row(row), row.fingerprint) for row in rows}


def _ordered(
    session_id: str, wanted: MessageFilter, after: int | None, newest_first: bool
) -> sa.Select[Any]:
    ordinal = messages.c.ordinal
    query = SELECT_MESSAGES.where(messages.c.session_id == session_id)
    if after is not None:
        query = query.where(ordinal < after if newest_first else ordinal > after)
    if wanted.role is not None:
        query = query.where(messages.c.role == wanted.role.value)
    if wanted.tool is not None:
        query = query.where(messages.c.tool == wanted.tool)
    if wanted.invocation_id is not None:
        query = query.where(messages.c.invocation_id == wanted.invocation_id)
    return query.order_by(ordinal.desc() if newest_first else ordinal)
