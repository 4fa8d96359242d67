"""Conversations: messages are appended, listed and found, and never changed."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Sequence

import sqlalchemy as sa

from quire.access.policy import Role
from quire.access.principal import Principal
from quire.activity import transcript
from quire.activity.appending import Appender, Draft, hold_conversation
from quire.activity.message_content import checked, text_of
from quire.activity.message_models import (
    ConversationSettings,
    Message,
    MessageFilter,
    MessageHit,
    MessageMode,
    MessagePage,
    MessagesFound,
    NewMessage,
    TranscriptFormat,
)
from quire.activity.message_rows import MessageRows
from quire.activity.message_vectors import MessageVectors
from quire.activity.message_words import MessageWords
from quire.embedding.embedders import Embedders
from quire.errors import Conflict, InvalidInput, LimitExceeded, MessageNotFound
from quire.retrieval.requests import KEYWORD_WEIGHT
from quire.sessions.identity import identity_of
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import Sessions, require_not_deleted
from quire.settings import Settings
from quire.store.database import Database
from quire.store.tables import conversations
from quire.vectors.fusion import MIN_CANDIDATES, rank_fused

# The words of more text than this are cut in a thread.
LONG = 16 * 1024


class Messages:
    """What is said in sessions, on behalf of a caller."""

    def __init__(
        self,
        database: Database,
        repository: SessionRepository,
        sessions: Sessions,
        embedders: Embedders,
        settings: Settings,
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._embedders = embedders
        self._settings = settings
        self._rows = MessageRows(database)
        self._words = MessageWords(database)
        self._vectors = MessageVectors(database, repository, embedders)
        self._appender = Appender(database, sessions, self._vectors.embed_soon)

    async def append(
        self, principal: Principal, session_id: str, messages: Sequence[NewMessage]
    ) -> list[Message]:
        """Append messages, in this order, with nothing between them: all of them or none.

        One whose id the session has already is answered as it is; where that one says something
        else, it is a `Conflict`.
        """
        await self._sessions.get(principal, session_id)
        most = self._settings.activity.messages
        if len(messages) > most:
            raise LimitExceeded(
                f"{len(messages)} messages are over the limit of {most} (QUIRE_ACTIVITY_MESSAGES)",
                field="messages",
            )
        if not messages:
            return []
        contents = [
            checked(message, "" if len(messages) == 1 else f"messages[{at}].", self._settings)
            for at, message in enumerate(messages)
        ]
        if sum(map(len, contents)) > LONG:
            drafts = await asyncio.to_thread(self._drafts, messages, contents)
        else:
            drafts = self._drafts(messages, contents)
        return await self._appender.append(principal, session_id, drafts)

    async def get(self, principal: Principal, session_id: str, message_id: str) -> Message:
        await self._sessions.get(principal, session_id)
        message = await self._rows.get(session_id, message_id)
        if message is None:
            raise MessageNotFound(f"Session {session_id} has no message {message_id}")
        return message

    async def page(
        self,
        principal: Principal,
        session_id: str,
        *,
        cursor: str | None = None,
        limit: int = 50,
        newest_first: bool = False,
        wanted: MessageFilter | None = None,
    ) -> MessagePage:
        """Messages in their order or, newest first, against it; fewer where they are large."""
        after = None if cursor is None else _decoded(cursor, newest_first)
        await self._sessions.get(principal, session_id)
        page, more = await self._rows.page(
            session_id,
            wanted or MessageFilter(),
            limit=limit,
            after=after,
            newest_first=newest_first,
        )
        return MessagePage(page, _encoded(page[-1].ordinal, newest_first) if more else None)

    async def search(
        self,
        principal: Principal,
        session_id: str,
        query: str,
        *,
        mode: MessageMode = MessageMode.KEYWORD,
        limit: int = 10,
    ) -> MessagesFound:
        """The messages that fit the question best; by meaning only where that was asked for."""
        self._check_search(query, limit)
        session = await self._sessions.get(principal, session_id)
        if mode is MessageMode.KEYWORD:
            return MessagesFound(
                await self._hits(await self._words.find(session_id, query, limit)), 0
            )
        if not await self._rows.is_semantic(session_id):
            raise Conflict(
                f"The messages of session {session_id} are not embedded, so they are found by "
                "keyword only",
                recovery="Have them embedded: PUT /sessions/{id}/messages/settings with "
                '{"semantic": true}; or search with mode keyword.',
            )
        pending = await self._vectors.complete(session)
        depth = max(limit, MIN_CANDIDATES) if mode is MessageMode.HYBRID else limit
        found = await self._vectors.find(session, query, depth)
        if mode is MessageMode.HYBRID:
            by_words = await self._words.find(session_id, query, depth)
            fused = rank_fused([(1.0, found), (KEYWORD_WEIGHT, by_words)])
            found = [(int(seq), score) for seq, score in fused[:limit]]
        return MessagesFound(await self._hits(found), pending)

    async def settings(self, principal: Principal, session_id: str) -> ConversationSettings:
        """Whether messages are found by meaning, and how far that has come."""
        session = await self._sessions.get(principal, session_id)
        is_semantic = await self._rows.is_semantic(session_id)
        return ConversationSettings(
            is_semantic,
            await self._rows.count(session_id),
            await self._vectors.pending(session) if is_semantic else 0,
        )

    async def set_semantic(
        self, principal: Principal, session_id: str, on: bool
    ) -> ConversationSettings:
        """Whether the session's messages are to be found by meaning, old ones too."""
        session = await self._sessions.get(principal, session_id)
        if on:
            await self._embedders.of(identity_of(session.embedding))  # or it says why not
        async with self._database.write() as connection:
            session = await self._sessions.lock(connection, principal, session_id, Role.WRITE)
            require_not_deleted(session)
            await hold_conversation(self._database, connection, session_id)
            await connection.execute(
                sa.update(conversations)
                .where(conversations.c.session_id == session_id)
                .values(is_semantic=on)
            )
        if on:
            self._vectors.embed_soon(session_id)
        return await self.settings(principal, session_id)

    async def transcript(
        self, principal: Principal, session_id: str, format: TranscriptFormat
    ) -> AsyncIterator[bytes]:
        """The conversation up to now, whole, some messages at a time."""
        session = await self._sessions.get(principal, session_id)
        until = await self._rows.next_ordinal(session_id)
        return transcript.written(session, self._rows.stream(session_id, until=until), format)

    async def close(self) -> None:
        """Write what is waiting; then stop embedding."""
        await self._appender.close()
        await self._vectors.close()

    def _drafts(self, messages: Sequence[NewMessage], contents: Sequence[bytes]) -> list[Draft]:
        return [
            Draft(message, content, self._words.of(text_of(message.content)))
            for message, content in zip(messages, contents, strict=True)
        ]

    async def _hits(self, found: Sequence[tuple[int, float]]) -> list[MessageHit]:
        shown = await self._rows.by_seq([seq for seq, _ in found])
        return [MessageHit(shown[seq], score) for seq, score in found if seq in shown]

    def _check_search(self, query: str, limit: int) -> None:
        limits = self._settings.limits
        if len(query) > limits.query_chars:
            raise LimitExceeded(
                f"query has {len(query)} characters, over the limit of {limits.query_chars} "
                "(QUIRE_LIMITS_QUERY_CHARS)",
                field="query",
            )
        if not query.strip():
            raise InvalidInput("query is blank", field="query")
        if "\x00" in query or any("\ud800" <= c <= "\udfff" for c in query):
            raise InvalidInput("query must not hold NUL or lone surrogates", field="query")
        if not 1 <= limit <= limits.page_size:
            raise LimitExceeded(
                f"limit is 1 to {limits.page_size} (QUIRE_LIMITS_PAGE_SIZE)", field="limit"
            )


def _encoded(ordinal: int, newest_first: bool) -> str:
    place = f"{'<' if newest_first else '>'}{ordinal}"
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _decoded(cursor: str, newest_first: bool) -> int:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        place = base64.urlsafe_b64decode(padded.encode("ascii")).decode("ascii")
        ordinal = int(place[1:20])
    except (ValueError, binascii.Error):
        place, ordinal = "", -1
    if ordinal < 0 or place[:1] not in ("<", ">"):
        raise InvalidInput(
            "cursor is not one that this list gave out; take it from the Link header",
            field="cursor",
        )
    if (place[0] == "<") != newest_first:
        raise InvalidInput("cursor belongs to a list in the other order", field="cursor")
    return ordinal
