"""Attachments: files that a session has under names, kept for a while or for as long as it is."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.access import policy
from quire.access.policy import Role
from quire.access.principal import Principal
from quire.activity.attachment_arrival import arriving
from quire.activity.attachment_models import NAME_CHARS, Attachment, AttachmentPage, holder_of
from quire.activity.media_sniffing import media_type_of
from quire.activity.names import path_name
from quire.activity.preconditions import ALWAYS, Precondition
from quire.blobs.ledger import BlobLedger
from quire.blobs.port import BlobStore
from quire.errors import AttachmentExpired, AttachmentNotFound, LimitExceeded
from quire.events.log import EventKind, NewEvent, append_events
from quire.points.visibility import require_writable
from quire.sessions import validation
from quire.sessions.sessions import Sessions
from quire.settings import Settings
from quire.store.columns import now
from quire.store.database import Database
from quire.store.tables import attachments

COLUMNS = (
    "session_id",
    "name",
    "sha256",
    "size",
    "media_type",
    "metadata",
    "author",
    "created_at",
    "updated_at",
    "expires_at",
)
SELECT_ATTACHMENTS = sa.select(*(attachments.c[name] for name in COLUMNS))
SWEEP_BATCH = 200
REMEMBERED = timedelta(days=1)
"""So long an expired attachment is told from one that never was."""


class Attachments:
    """Keeps and gives back attachments on behalf of a caller."""

    def __init__(
        self,
        database: Database,
        sessions: Sessions,
        blobs: BlobStore,
        ledger: BlobLedger,
        settings: Settings,
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._blobs = blobs
        self._ledger = ledger
        self._settings = settings.activity
        self._limits = settings.limits

    async def put(
        self,
        principal: Principal,
        session_id: str,
        name: str,
        content: AsyncIterable[bytes],
        *,
        media_type: str | None = None,
        ttl_seconds: float | None = None,
        ephemeral: bool = False,
        metadata: Mapping[str, Any] | None = None,
        precondition: Precondition = ALWAYS,
    ) -> tuple[Attachment, bool]:
        """Keep a file; answers it and whether the name is new.

        Under a name that is there, it takes the place of what was there; its time begins anew.
        `media_type` is what the sender says; what is kept follows from the bytes too.
        """
        path_name("name", name, NAME_CHARS)
        ttl_seconds = validation.ttl(ttl_seconds)
        if ttl_seconds is None and ephemeral:
            ttl_seconds = self._settings.ephemeral_seconds
        told = validation.json_object("metadata", metadata or {}, self._limits)
        # Before anything is read: whether it may be kept at all.
        session = await self._sessions.get(principal, session_id)
        policy.require(principal, session, Role.WRITE)
        require_writable(session)
        head, whole = await arriving(content, self._settings.attachment_bytes)
        blob = await self._ledger.put(whole)
        async with self._database.write() as connection:
            session = await self._sessions.lock(connection, principal, session_id, Role.WRITE)
            require_writable(session)
            at = now()
            row = await _row(connection, session_id, name)
            old = None if row is None or _is_over(row, at) else _from_row(row)
            precondition.require(f"Attachment {name}", None if old is None else old.etag)
            new = Attachment(
                session_id=session_id,
                name=name,
                sha256=blob.sha256,
                size=blob.size,
                media_type=media_type_of(media_type, head),
                metadata=told,
                author=principal.subject,
                created_at=at if old is None else old.created_at,
                updated_at=at,
                expires_at=None if ttl_seconds is None else at + timedelta(seconds=ttl_seconds),
            )
            await self._require_room(connection, new, at)
            if row is not None:
                await self._forget(connection, session_id, name)
            await self._ledger.refer(connection, session_id, holder_of(name), blob.sha256)
            values = {column: getattr(new, column) for column in COLUMNS}
            await connection.execute(sa.insert(attachments).values(values))
            if old is None or old.etag != new.etag:
                await _tell(connection, session_id, name, "put", media_type=new.media_type)
        return new, old is None

    async def get(self, principal: Principal, session_id: str, name: str) -> Attachment:
        """`AttachmentExpired` where its time is over, `AttachmentNotFound` where it never was."""
        await self._sessions.get(principal, session_id)
        async with self._database.read() as connection:
            row = await _row(connection, session_id, name)
        return _present(row, session_id, name, now())

    def read(self, attachment: Attachment, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes of it, as they were put."""
        return self._blobs.get(attachment.sha256, start=start, end=end)

    async def remove(
        self,
        principal: Principal,
        session_id: str,
        name: str,
        precondition: Precondition = ALWAYS,
    ) -> None:
        await self._sessions.get(principal, session_id)
        async with self._database.write() as connection:
            session = await self._sessions.lock(connection, principal, session_id, Role.WRITE)
            require_writable(session)
            row = await _row(connection, session_id, name)
            old = _present(row, session_id, name, now())
            precondition.require(f"Attachment {name}", old.etag)
            await self._forget(connection, session_id, name)
            await _tell(connection, session_id, name, "deleted")

    async def page(
        self,
        principal: Principal,
        session_id: str,
        *,
        prefix: str = "",
        cursor: str | None = None,
        limit: int = 100,
    ) -> AttachmentPage:
        """What there is, by name; a cursor is the last one's."""
        await self._sessions.get(principal, session_id)
        query = SELECT_ATTACHMENTS.where(*_there(session_id, now()))
        if prefix:
            query = query.where(attachments.c.name.startswith(prefix, autoescape=True))
        if cursor is not None:
            query = query.where(attachments.c.name > cursor)
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(attachments.c.name).limit(limit + 1))
            found = [_from_row(row) for row in rows]
        page = found[:limit]
        return AttachmentPage(page, page[-1].name if len(found) > limit else None)

    async def sweep(self, at: datetime) -> int:
        """Let go of what expired, and forget what expired long ago; answers how many went."""
        swept = 0
        while batch := await self._sweep_some(at):
            swept += batch
        async with self._database.write() as connection:
            forgotten = attachments.c.expires_at < at - REMEMBERED
            await connection.execute(
                sa.delete(attachments).where(attachments.c.sha256.is_(None), forgotten)
            )
        return swept

    async def _sweep_some(self, at: datetime) -> int:
        due = (
            sa.select(attachments.c.session_id, attachments.c.name)
            .where(attachments.c.expires_at <= at, attachments.c.sha256.is_not(None))
            .order_by(attachments.c.session_id, attachments.c.name)
            .limit(SWEEP_BATCH)
            # Who puts or removes one holds its session, and would wait for it here.
            .with_for_update(skip_locked=True)
        )
        async with self._database.write() as connection:
            rows = (await connection.execute(due)).all()
            for session_id, name in rows:
                expired = sa.update(attachments).where(*_at(session_id, name))
                await connection.execute(expired.values(sha256=None))
                await self._ledger.release(connection, session_id, holder_of(name))
                await _tell(connection, session_id, name, "expired")
        return len(rows)

    async def _forget(self, connection: AsyncConnection, session_id: str, name: str) -> None:
        # In this order, as the sweep does it: or the two could wait for each other.
        await connection.execute(sa.delete(attachments).where(*_at(session_id, name)))
        await self._ledger.release(connection, session_id, holder_of(name))

    async def _require_room(
        self, connection: AsyncConnection, new: Attachment, at: datetime
    ) -> None:
        others = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(attachments.c.size), 0))
        others = others.where(*_there(new.session_id, at), attachments.c.name != new.name)
        count, size = (await connection.execute(others)).one()
        recovery = "Delete attachments that are no longer needed, or have the limit raised."
        if count >= self._settings.attachments:
            raise LimitExceeded(
                f"Session {new.session_id} has {count} attachments, which is the limit "
                "(QUIRE_ACTIVITY_ATTACHMENTS)",
                recovery=recovery,
            )
        most = self._settings.attachments_bytes
        if size + new.size > most:
            raise LimitExceeded(
                f"With this one of {new.size} bytes, the attachments of session {new.session_id} "
                f"would be over the limit of {most} bytes (QUIRE_ACTIVITY_ATTACHMENTS_BYTES)",
                recovery=recovery,
            )


async def _row(connection: AsyncConnection, session_id: str, name: str) -> sa.Row[Any] | None:
    return (
        await connection.execute(SELECT_ATTACHMENTS.where(*_at(session_id, name)))
    ).one_or_none()


def _at(session_id: str, name: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return attachments.c.session_id == session_id, attachments.c.name == name


def _there(session_id: str, at: datetime) -> list[sa.ColumnElement[bool]]:
    """All of a session's attachments that have not expired."""
    return [
        attachments.c.session_id == session_id,
        attachments.c.sha256.is_not(None),
        attachments.c.expires_at.is_(None) | (attachments.c.expires_at > at),
    ]


def _is_over(row: sa.Row[Any], at: datetime) -> bool:
    return row.sha256 is None or (row.expires_at is not None and row.expires_at <= at)


def _present(row: sa.Row[Any] | None, session_id: str, name: str, at: datetime) -> Attachment:
    if row is None:
        raise AttachmentNotFound(f"Session {session_id} has no attachment {name[:NAME_CHARS]}")
    if _is_over(row, at):
        when = row.expires_at.isoformat(timespec="seconds")
        raise AttachmentExpired(f"Attachment {name} of session {session_id} expired at {when}")
    return _from_row(row)


def _from_row(row: sa.Row[Any]) -> Attachment:
    return Attachment(**dict(zip(COLUMNS, row, strict=True)))


async def _tell(
    connection: AsyncConnection, session_id: str, name: str, change: str, **more: Any
) -> None:
    data = {"name": name, "change": change, **more}
    await append_events(connection, [NewEvent(session_id, EventKind.ATTACHMENT_CHANGED, data)])
