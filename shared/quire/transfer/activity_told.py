"""What a bundle tells of a session's activity: each row as JSON, always in the same order.

Nothing of it is about this server: no numbers that it counts, no jobs, no vectors.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any

import orjson
import sqlalchemy as sa

from quire.blobs.port import BlobStore
from quire.bundle.contents import AttachmentEntry, Body
from quire.store.database import Database
from quire.store.tables import attachments, conversations, invocations, messages, session_data
from quire.transfer.activity_names import is_live
from quire.transfer.activity_plan import Kind

PAGE = 50
"""Rows read at once; a message, or a value, may be as large as the settings allow."""

CONVERSATION = "conversation"
"""The row of a bundle's settings that is about the conversation."""

COLUMNS: Mapping[Kind, tuple[str, ...]] = {
    Kind.ATTACHMENTS: (
        "name", "sha256", "media_type", "metadata", "author", "created_at", "updated_at",
        "expires_at",
    ),
    Kind.DATA: ("key", "value", "created_at", "updated_at"),
    Kind.INVOCATIONS: (
        "id", "tool", "status", "started_at", "finished_at", "duration_ms", "input_sha256",
        "output_sha256", "attachments", "tokens_in", "tokens_out", "cost", "error", "metadata",
        "author", "created_at",
    ),
    Kind.MESSAGES: (
        "id", "role", "content", "tool", "invocation_id", "tokens_in", "tokens_out", "cost",
        "metadata", "author", "created_at",
    ),
}  # fmt: skip
"""What is told of each; messages and invocations stand in their order."""


class ActivityReader:
    """Reads the activity of sessions for those who write files of them."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs
        # As bytes: the same order on every database.
        self._collation = "BINARY" if database.is_sqlite else "C"

    def tables(self, session_id: str) -> dict[str, AsyncIterator[Mapping[str, Any]]]:
        """The tables of a bundle, but for attachments."""
        return {
            Kind.DATA.value: self._data(session_id),
            Kind.INVOCATIONS.value: self._invocations(session_id),
            Kind.MESSAGES.value: self._messages(session_id),
            "settings": self._settings(session_id),
        }

    async def attachments(self, session_id: str) -> AsyncIterator[AttachmentEntry]:
        """What is there still, with its bytes."""
        name = attachments.c.name.collate(self._collation)
        query = _select(Kind.ATTACHMENTS, attachments.c.size).where(
            attachments.c.session_id == session_id, is_live(attachments)
        )
        after = ""
        while page := await self._rows(query.where(name > after).order_by(name)):
            for row in page:
                sha256 = row["sha256"]
                body = Body(row["size"], sha256, partial(self._blobs.get, sha256))
                yield AttachmentEntry(_told(Kind.ATTACHMENTS, row), body)
            after = page[-1]["name"]

    async def _data(self, session_id: str) -> AsyncIterator[Mapping[str, Any]]:
        key = session_data.c.key.collate(self._collation)
        query = _select(Kind.DATA).where(session_data.c.session_id == session_id)
        after = ""
        while page := await self._rows(query.where(key > after).order_by(key)):
            for row in page:
                # As text: it is given back byte for byte.
                yield {**_told(Kind.DATA, row), "value": bytes(row["value"]).decode()}
            after = page[-1]["key"]

    async def _invocations(self, session_id: str) -> AsyncIterator[Mapping[str, Any]]:
        query = _select(Kind.INVOCATIONS, invocations.c.seq)
        query = query.where(invocations.c.session_id == session_id).order_by(invocations.c.seq)
        after = 0
        while page := await self._rows(query.where(invocations.c.seq > after)):
            for row in page:
                yield _told(Kind.INVOCATIONS, row)
            after = page[-1]["seq"]

    async def _messages(self, session_id: str) -> AsyncIterator[Mapping[str, Any]]:
        query = _select(Kind.MESSAGES, messages.c.ordinal)
        query = query.where(messages.c.session_id == session_id).order_by(messages.c.ordinal)
        after = -1
        while page := await self._rows(query.where(messages.c.ordinal > after)):
            for row in page:
                # With the fields of its parts in the order that they have.
                yield {
                    **_told(Kind.MESSAGES, row),
                    "content": orjson.Fragment(bytes(row["content"])),
                }
            after = page[-1]["ordinal"]

    async def _settings(self, session_id: str) -> AsyncIterator[Mapping[str, Any]]:
        """What is not so unless somebody said so; the rest is in the session's own row."""
        query = sa.select(conversations.c.is_semantic).where(
            conversations.c.session_id == session_id, conversations.c.is_semantic
        )
        if await self._rows(query):
            yield {"name": CONVERSATION, "semantic": True}

    async def _rows(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        async with self._database.read() as connection:
            found = await connection.execute(query.limit(PAGE))
            return [dict(row) for row in found.mappings()]


def _select(kind: Kind, *more: sa.ColumnElement[Any]) -> sa.Select[Any]:
    return sa.select(*(kind.table.c[name] for name in COLUMNS[kind]), *more)


def _told(kind: Kind, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON."""
    told = {name: row[name] for name in COLUMNS[kind]}
    return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in told.items()}
