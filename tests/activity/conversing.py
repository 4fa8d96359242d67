"""Quires that keep conversations, over either database."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from quire.activity.message_models import MessageRole, NewMessage
from quire.settings import DatabaseSettings, EmbeddingSettings
from tests.sessions.house import ADA, quire_in
from tests.store.template import prepare_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

    from quire.activity.message_models import Message
    from quire.app import Quire

FAKE = EmbeddingSettings(provider="fake", models="other")


@asynccontextmanager
async def conversing(directory: Path, **more: Any) -> AsyncIterator[Quire]:
    """A running Quire that embeds with the fake."""
    async with quire_in(directory, **{"embedding": FAKE, **more}) as quire:
        while quire.hindrance is not None:
            await asyncio.sleep(0.02)
        yield quire


@asynccontextmanager
async def over(
    database: str, directory: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Quire]:
    """The same over SQLite, or over an empty PostgreSQL."""
    if database == "sqlite":
        async with conversing(directory) as quire:
            yield quire
        return
    url = request.getfixturevalue("postgres_server").create_database()
    await prepare_postgres(url)
    async with conversing(directory, database=DatabaseSettings(url=url)) as quire:
        yield quire


def user(text: str, **more: Any) -> NewMessage:
    return NewMessage(role=MessageRole.USER, content=text, **more)


def assistant(text: str, **more: Any) -> NewMessage:
    return NewMessage(role=MessageRole.ASSISTANT, content=text, **more)


async def say(quire: Quire, session_id: str, *texts: str) -> list[Message]:
    """What a user says, text after text."""
    return await quire.activity.messages.append(ADA, session_id, [user(text) for text in texts])


async def said(quire: Quire, session_id: str) -> list[Message]:
    """The whole conversation, page by page."""
    found: list[Message] = []
    cursor = None
    while True:
        page = await quire.activity.messages.page(ADA, session_id, cursor=cursor, limit=70)
        found += page.messages
        cursor = page.next_cursor
        if cursor is None:
            return found
