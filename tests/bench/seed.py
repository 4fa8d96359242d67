"""Ten thousand sessions to measure with."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import timedelta

import sqlalchemy as sa

from quire.access.principal import Principal, Scope
from quire.app import Part, Quire
from quire.sessions.lifecycle import State
from quire.sessions.models import Residency
from quire.sessions.requests import NewSession
from quire.settings import Settings
from quire.vectors.port import CollectionSpec, Point

OWNERS = 10
TAGS = [f"tag-{n}" for n in range(40)]
POINTS = 100
WRITE_BATCH = 500


async def seed(settings: Settings, sessions: int, filled: int, *, lay_all: bool) -> list[str]:
    """Make sessions, the first `filled` of them with points; answers the ids of those.

    Rows go in by the hundred, not one request each: what is measured comes after. Where not all
    collections are laid, the rows of the others stand alone: a server with as many collections
    would be measured, not Quire.
    """
    chance = random.Random(7)
    async with Quire.open(settings, Part.TOOL) as quire:
        await _database_ready(quire)
        operator = Principal("seed", scope=Scope.ADMIN)
        first, _ = await quire.creation.create(operator, NewSession(name="first"))
        drafts = []
        for number in range(sessions - 1):
            at = first.created_at - timedelta(seconds=number)
            drafts.append(
                replace(
                    first,
                    id=f"session-{number:05}",
                    collection=f"{settings.qdrant.collection_prefix}bench{number:05}",
                    state=State.ACTIVE,
                    name=f"Session {number} about {chance.choice(['birds', 'bridges', 'bread'])}",
                    description="What somebody collected on an afternoon. " * 3,
                    owner_id=f"owner-{number % OWNERS}",
                    group="team" if number % 3 == 0 else None,
                    tags=tuple(chance.sample(TAGS, 3)),
                    metadata={"project": number % 100, "note": "n" * 200},
                    points_count=POINTS if number < filled else 0,
                    # Nobody uses the others, and the sweep is not what is measured.
                    residency=Residency.HOT if number < filled else Residency.COLD,
                    created_at=at,
                    updated_at=at,
                )
            )
        for start in range(0, len(drafts), WRITE_BATCH):
            async with quire.repository.transaction() as connection:
                for session in drafts[start : start + WRITE_BATCH]:
                    await quire.repository.insert(connection, session)
        if not quire.database.is_sqlite:
            # What autovacuum does within a minute, so that the planner knows the table.
            async with quire.database.read() as connection:
                await connection.execute(sa.text("ANALYZE"))
        spec = CollectionSpec(first.embedding.dimension)
        for number, session in enumerate(drafts if lay_all else drafts[:filled]):
            await quire.engine.create(session.collection, spec)
            if number < filled:
                await quire.engine.upsert(session.collection, _points(chance, spec.dimension))
        return [session.id for session in drafts[:filled]]


def _points(chance: random.Random, dimension: int) -> list[Point]:
    return [
        Point(
            number,
            dense=[chance.uniform(-1, 1) for _ in range(dimension)],
            payload={"document_id": f"document-{number % 7}", "seq": number, "text": "t" * 800},
        )
        for number in range(POINTS)
    ]


async def _database_ready(quire: Quire) -> None:
    for _ in range(200):
        if "jobs" in (await quire.ready()).parts:
            return
        await asyncio.sleep(0.05)
    raise RuntimeError(str(await quire.ready()))
