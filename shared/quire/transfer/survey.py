"""What is in several sessions, and what they have in common: looked at before they are merged."""

from __future__ import annotations

import heapq
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from quire.content.models import DocumentStatus
from quire.points.visibility import visible
from quire.sessions.models import Embedding, Session
from quire.store.database import Database
from quire.store.tables import documents
from quire.transfer.selection import order_of
from quire.vectors.port import Missing, PointId, VectorEngine


@dataclass(frozen=True, slots=True)
class Census:
    """Of one session: how much it holds, and how much of that an earlier one holds too."""

    points: int
    conflicts: int
    documents: int
    bytes: int
    document_conflicts: int
    shared_documents: int
    """The very same ones, of which both may have chunks."""


@dataclass(frozen=True, slots=True)
class Held:
    count: int
    bytes: int


class Survey:
    """Counts. Ids come sorted from every session, so they are compared as they come."""

    def __init__(self, engine: VectorEngine, database: Database) -> None:
        self._engine = engine
        self._database = database

    async def take(self, sessions: Sequence[Session]) -> list[Census]:
        """Of these sessions, each compared with those before it."""
        points, conflicts = await self._points(sessions)
        found: list[Census] = []
        for number, session in enumerate(sessions):
            earlier = [other.id for other in sessions[:number]]
            held = await self.documents(session.id)
            differing, shared = await self._met_documents(session.id, earlier)
            found.append(
                Census(
                    points=points[number],
                    conflicts=conflicts[number],
                    documents=held.count,
                    bytes=held.bytes,
                    document_conflicts=differing,
                    shared_documents=shared,
                )
            )
        return found

    async def _points(self, sessions: Sequence[Session]) -> tuple[list[int], list[int]]:
        points, conflicts = [0] * len(sessions), [0] * len(sessions)
        streams = [
            self._engine.ids(session.collection, filter=visible(session)) for session in sessions
        ]
        try:
            heads: list[tuple[tuple[int, int, str], int]] = []
            readers = [_one_by_one(stream) for stream in streams]
            for number, reader in enumerate(readers):
                await _push(heads, reader, number)
            last: tuple[int, int, str] | None = None
            while heads:
                order, number = heapq.heappop(heads)
                points[number] += 1
                conflicts[number] += order == last
                last = order
                await _push(heads, readers[number], number)
        finally:
            for stream in streams:
                await stream.aclose()
        return points, conflicts

    async def carried(self, session_id: str, job_id: str) -> int:
        """How many documents a job has brought to a session."""
        query = sa.select(sa.func.count()).where(
            documents.c.session_id == session_id, documents.c.job_id == job_id
        )
        async with self._database.read() as connection:
            return int(await connection.scalar(query) or 0)

    async def next_ordinal(self, session_id: str) -> int:
        """Where the next document of a session would stand."""
        query = sa.select(sa.func.max(documents.c.ordinal)).where(
            documents.c.session_id == session_id
        )
        async with self._database.read() as connection:
            last = await connection.scalar(query)
        return 0 if last is None else int(last) + 1

    async def textless(self, session: Session) -> int:
        """How many of its points have no text."""
        without = visible(session, Missing("text"))
        return await self._engine.count(session.collection, without)

    async def documents(self, session_id: str) -> Held:
        """How many documents a session holds, and how large they are as they came."""
        size = sa.func.coalesce(sa.func.sum(documents.c.raw_end - documents.c.raw_start), 0)
        query = sa.select(sa.func.count(), size).where(
            documents.c.session_id == session_id, documents.c.is_current
        )
        async with self._database.read() as connection:
            count, total = (await connection.execute(query)).one()
        return Held(count, int(total))

    async def _met_documents(self, session_id: str, earlier: Sequence[str]) -> tuple[int, int]:
        """How many have an earlier one's id: those that differ from it, and those that do not."""
        if not earlier:
            return 0, 0
        first = documents.alias("first")
        is_ready = documents.c.status == DocumentStatus.READY.value
        is_same = (first.c.content_sha256 == documents.c.content_sha256) & (
            first.c.revision == documents.c.revision
        )
        meets = [
            first.c.session_id.in_(earlier),
            first.c.id == documents.c.id,
            first.c.is_current,
            first.c.status == DocumentStatus.READY.value,
        ]
        differs = sa.exists().where(*meets, ~is_same)
        query = (
            sa.select(
                sa.func.count(), sa.func.coalesce(sa.func.sum(sa.case((differs, 1), else_=0)), 0)
            )
            .select_from(documents)
            .where(
                documents.c.session_id == session_id,
                documents.c.is_current,
                is_ready,
                sa.exists().where(*meets),
            )
        )
        async with self._database.read() as connection:
            met, differing = (await connection.execute(query)).one()
        return int(differing), int(met) - int(differing)


def incompatibility(one: Embedding, other: Embedding) -> str | None:
    """What keeps the vectors of two sessions apart."""
    names = ("provider", "model", "revision", "dimension", "distance", "chunker")
    differing = [name for name in names if getattr(one, name) != getattr(other, name)]
    if not differing:
        return None
    return ", ".join(
        f"{name} {getattr(other, name)}, not {getattr(one, name)}" for name in differing
    )


async def _push(
    heads: list[tuple[tuple[int, int, str], int]],
    reader: AsyncGenerator[PointId, None],
    number: int,
) -> None:
    async for identity in reader:
        heapq.heappush(heads, (order_of(identity), number))
        return


async def _one_by_one(
    batches: AsyncGenerator[Sequence[PointId], None],
) -> AsyncGenerator[PointId, None]:
    async for batch in batches:
        for identity in batch:
            yield identity
