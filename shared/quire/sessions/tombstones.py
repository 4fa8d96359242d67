"""Ids of sessions that are gone: for a while it is known that they expired, or were ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.sessions.models import Collaborator, Session
from quire.sessions.rows import collaborators_from
from quire.store.columns import now
from quire.store.tables import tombstones


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Enough of a session to tell who may know that it was there."""

    id: str
    owner_id: str | None
    group: str | None
    collaborators: tuple[Collaborator, ...]
    has_ended: bool
    """Removed by ending it: it did not expire, and there is no such session any more."""
    buried_at: datetime


async def bury(connection: AsyncConnection, session: Session, *, has_ended: bool = False) -> None:
    await unearth(connection, session.id)
    await connection.execute(
        sa.insert(tombstones).values(
            id=session.id,
            owner_id=session.owner_id,
            group_name=session.group,
            collaborators=[
                {"user_id": c.user_id, "role": c.role.value} for c in session.collaborators
            ],
            has_ended=has_ended,
            buried_at=now(),
        )
    )


async def unearth(connection: AsyncConnection, session_id: str) -> None:
    """The id is taken again."""
    await connection.execute(sa.delete(tombstones).where(tombstones.c.id == session_id))


async def find_tombstone(connection: AsyncConnection, session_id: str) -> Tombstone | None:
    query = sa.select(tombstones).where(tombstones.c.id == session_id)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    return Tombstone(
        row.id,
        row.owner_id,
        row.group_name,
        collaborators_from(row.collaborators),
        row.has_ended,
        row.buried_at,
    )


async def forget_tombstones(connection: AsyncConnection, before: datetime) -> int:
    result = await connection.execute(sa.delete(tombstones).where(tombstones.c.buried_at < before))
    return result.rowcount
