"""Uploads and their parts as rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.blobs.port import Blob
from quire.errors import InvalidInput
from quire.store.columns import EPOCH, Moment
from quire.store.tables import upload_parts, uploads
from quire.uploads.models import Upload

CURSOR = re.compile(r"(\d{1,17})\.([0-9a-f-]{36})")


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of an upload that lie in one blob."""

    start: int
    size: int
    sha256: str


async def find(connection: AsyncConnection, upload_id: str) -> Upload | None:
    return await _one(connection, sa.select(uploads).where(uploads.c.id == upload_id))


async def locked(connection: AsyncConnection, upload_id: str) -> Upload | None:
    """The upload, which nobody else changes until the transaction ends."""
    statement = sa.select(uploads).where(uploads.c.id == upload_id).with_for_update()
    return await _one(connection, statement)


async def page(
    connection: AsyncConnection,
    *,
    owner_id: str | None,
    everyones: bool,
    after: datetime,
    before: tuple[datetime, str] | None,
    limit: int,
) -> list[Upload]:
    """Uploads that expire after a time, newest first, from before a place in that order."""
    statement = sa.select(uploads).where(uploads.c.expires_at > after)
    if not everyones:
        statement = statement.where(uploads.c.owner_id == owner_id)
    if before is not None:
        place = sa.tuple_(uploads.c.created_at, uploads.c.id, types=[Moment(), sa.String()])
        statement = statement.where(place < before)
    statement = statement.order_by(uploads.c.created_at.desc(), uploads.c.id.desc()).limit(limit)
    return [_upload(row) for row in await connection.execute(statement)]


async def expired(connection: AsyncConnection, at: datetime) -> Sequence[str]:
    """The ids of those whose time is over."""
    found = await connection.execute(sa.select(uploads.c.id).where(uploads.c.expires_at <= at))
    return found.scalars().all()


async def insert(connection: AsyncConnection, upload: Upload) -> None:
    await connection.execute(
        sa.insert(uploads).values(
            id=upload.id,
            owner_id=upload.owner_id,
            size=upload.size,
            received=upload.received,
            metadata=upload.metadata,
            created_at=upload.created_at,
            expires_at=upload.expires_at,
        )
    )


async def update(connection: AsyncConnection, upload: Upload) -> None:
    """Write what changes while an upload goes on."""
    await connection.execute(
        sa.update(uploads)
        .where(uploads.c.id == upload.id)
        .values(size=upload.size, received=upload.received, expires_at=upload.expires_at)
    )


async def delete(connection: AsyncConnection, upload_id: str) -> None:
    """Remove the upload; the rows of its parts go with it."""
    await connection.execute(sa.delete(uploads).where(uploads.c.id == upload_id))


async def insert_part(connection: AsyncConnection, upload_id: str, start: int, blob: Blob) -> None:
    await connection.execute(
        sa.insert(upload_parts).values(
            upload_id=upload_id, start=start, size=blob.size, sha256=blob.sha256
        )
    )


async def parts(connection: AsyncConnection, upload_id: str, start: int, end: int) -> list[Part]:
    """Those that hold any of these bytes, in order."""
    found = await connection.execute(
        sa.select(upload_parts)
        .where(
            upload_parts.c.upload_id == upload_id,
            upload_parts.c.start + upload_parts.c.size > start,
            upload_parts.c.start < end,
        )
        .order_by(upload_parts.c.start)
    )
    return [Part(row.start, row.size, row.sha256) for row in found]


def encode_cursor(upload: Upload) -> str:
    return f"{(upload.created_at - EPOCH) // timedelta(microseconds=1)}.{upload.id}"


def decode_cursor(cursor: str) -> tuple[datetime, str]:
    found = CURSOR.fullmatch(cursor)
    if found is None:
        raise InvalidInput(
            "cursor is not one that this list gave out; take it from the Link header",
            field="cursor",
        )
    return EPOCH + timedelta(microseconds=int(found[1])), found[2]


async def _one(connection: AsyncConnection, statement: sa.Select[Any]) -> Upload | None:
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _upload(row)


def _upload(row: sa.Row[Any]) -> Upload:
    return Upload(
        id=row.id,
        owner_id=row.owner_id,
        size=row.size,
        received=row.received,
        metadata=row.metadata,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
