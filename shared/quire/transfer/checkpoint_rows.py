"""Checkpoints as values, and where they are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.errors import CheckpointNotFound
from quire.sessions.models import Embedding
from quire.store.database import Database
from quire.store.tables import checkpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a session held at one moment, under a name."""

    id: str
    session_id: str
    name: str
    job_id: str
    created_at: datetime
    points_sha256: str | None = None
    documents_sha256: str | None = None
    size_bytes: int = 0
    points_count: int = 0
    documents_count: int = 0
    digest: str | None = None
    state: Mapping[str, Any]
    """The session's `embedding`, `chunks`, `next_seq` and further payload `indexes` then."""

    @property
    def is_complete(self) -> bool:
        """Until then nobody but its job knows it; only its name is taken."""
        return self.points_sha256 is not None

    @property
    def embedding(self) -> Embedding:
        return Embedding(**self.state["embedding"])

    @property
    def holder(self) -> str:
        """What refers to its blobs."""
        return f"checkpoint/{self.id}"


NAMES = [field.name for field in fields(Checkpoint)]
SELECT = sa.select(*(checkpoints.c[name] for name in NAMES))
COMPLETE = checkpoints.c.points_sha256.is_not(None)


class CheckpointRecords:
    """Checkpoints in the metadata store; they go with their session."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(self, connection: AsyncConnection, checkpoint: Checkpoint) -> None:
        await connection.execute(sa.insert(checkpoints).values(asdict(checkpoint)))

    async def save(self, connection: AsyncConnection, checkpoint: Checkpoint) -> None:
        await connection.execute(
            sa.update(checkpoints)
            .where(checkpoints.c.id == checkpoint.id)
            .values(asdict(checkpoint))
        )

    async def remove(self, connection: AsyncConnection, checkpoint_id: str) -> None:
        await connection.execute(sa.delete(checkpoints).where(checkpoints.c.id == checkpoint_id))

    async def get(
        self, checkpoint_id: str, connection: AsyncConnection | None = None
    ) -> Checkpoint | None:
        return await self._one(checkpoints.c.id == checkpoint_id, connection)

    async def named(
        self, session_id: str, name: str, connection: AsyncConnection | None = None
    ) -> Checkpoint | None:
        """Complete or not."""
        is_it = sa.and_(checkpoints.c.session_id == session_id, checkpoints.c.name == name)
        return await self._one(is_it, connection)

    async def required(
        self, session_id: str, name: str, connection: AsyncConnection | None = None
    ) -> Checkpoint:
        """The complete one of that name; `CheckpointNotFound` if there is none."""
        found = await self.named(session_id, name, connection)
        if found is None or not found.is_complete:
            raise CheckpointNotFound(f"Session {session_id} has no checkpoint {name}")
        return found

    async def count(self, connection: AsyncConnection, session_id: str) -> int:
        """How many there are of a session, with those that are being made."""
        query = sa.select(sa.func.count()).where(checkpoints.c.session_id == session_id)
        return int(await connection.scalar(query) or 0)

    async def page(
        self, session_id: str, *, before: str | None, limit: int
    ) -> Sequence[Checkpoint]:
        """The complete ones, newest first; `before` is the name of the last one before."""
        query = SELECT.where(checkpoints.c.session_id == session_id, COMPLETE)
        if before is not None:
            last = await self.required(session_id, before)
            is_earlier = checkpoints.c.created_at < last.created_at
            is_same = checkpoints.c.created_at == last.created_at
            is_before = sa.or_(is_earlier, sa.and_(is_same, checkpoints.c.id < last.id))
            query = query.where(is_before)
        query = query.order_by(checkpoints.c.created_at.desc(), checkpoints.c.id.desc())
        async with self._database.read() as connection:
            return [_from_row(row) for row in await connection.execute(query.limit(limit))]

    async def _one(
        self, condition: sa.ColumnElement[bool], connection: AsyncConnection | None
    ) -> Checkpoint | None:
        if connection is None:
            async with self._database.read() as reading:
                return await self._one(condition, reading)
        row = (await connection.execute(SELECT.where(condition))).one_or_none()
        return None if row is None else _from_row(row)


def _from_row(row: sa.Row[Any]) -> Checkpoint:
    return Checkpoint(**dict(zip(NAMES, row, strict=True)))
