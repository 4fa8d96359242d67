"""What became of what: a row for every session that another one flowed into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.store.columns import now
from quire.store.database import Database
from quire.store.tables import lineage
from quire.store.upsert import insert_into


class Descent(StrEnum):
    """How a session comes from another."""

    MERGED_FROM = "merged_from"
    SPLIT_FROM = "split_from"
    FORKED_FROM = "forked_from"
    IMPORTED_FROM = "imported_from"
    RESTORED_FROM = "restored_from"  # itself, as it was at a checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One session's part in another."""

    child_id: str
    child_name: str
    parent_id: str
    parent_name: str
    kind: Descent
    job_id: str
    points: int
    documents: int
    details: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    undone_at: datetime | None = None


class LineageRecords:
    """Where lines are kept. They outlive the sessions that they are about."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, connection: AsyncConnection, lines: Sequence[Line]) -> None:
        """Within the transaction that shows the child."""
        at = now()
        for line in lines:
            values = {name: getattr(line, name) for name in lineage.c.keys()}  # noqa: SIM118
            values |= {"kind": line.kind.value, "created_at": at, "details": dict(line.details)}
            await connection.execute(
                insert_into(self._database, lineage).values(values).on_conflict_do_nothing()
            )

    async def of_job(self, connection: AsyncConnection, job_id: str) -> Sequence[Line]:
        return await _lines(connection, lineage.c.job_id == job_id)

    async def around(
        self,
        session_ids: Sequence[str],
        *,
        limit: int | None = None,
        connection: AsyncConnection | None = None,
    ) -> Sequence[Line]:
        """The lines that begin or end at one of these sessions, oldest first."""
        near = lineage.c.child_id.in_(session_ids) | lineage.c.parent_id.in_(session_ids)
        if connection is not None:
            return await _lines(connection, near, limit)
        async with self._database.read() as reading:
            return await _lines(reading, near, limit)

    async def note_undone(self, connection: AsyncConnection, job_id: str) -> None:
        await connection.execute(
            sa.update(lineage).where(lineage.c.job_id == job_id).values(undone_at=now())
        )


async def _lines(
    connection: AsyncConnection, condition: sa.ColumnElement[bool], limit: int | None = None
) -> list[Line]:
    order = (lineage.c.created_at, lineage.c.child_id, lineage.c.parent_id)
    query = sa.select(lineage).where(condition).order_by(*order).limit(limit)
    rows = (row._mapping for row in await connection.execute(query))  # noqa: SLF001 - a public name
    return [Line(**{**row, "kind": Descent(row["kind"])}) for row in rows]
