"""A process that creates, fills, changes and deletes sessions until somebody kills it.

Run as `python -m tests.crash.child JOURNAL SEED`, with the settings in the environment.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from quire.access.principal import Principal, Scope
from quire.app import Quire
from quire.sessions.requests import NewSession, SessionChange
from quire.vectors.port import Point
from tests.crash.doomed import work_until_killed
from tests.crash.journal import Journal

CALLER = Principal("crash", scope=Scope.WRITE)
WIDTH = 4
POINTS = 20
DIMENSION = 8


@dataclass
class Worker:
    """Works on sessions of its own, so that what it was told is all there is to know of them."""

    quire: Quire
    journal: Journal
    chance: random.Random
    name: str
    made: int = 0
    living: list[str] = field(default_factory=list)

    async def work(self) -> None:
        while True:
            if len(self.living) < 3 or self.chance.random() < 0.3:
                await self.create()
            else:
                session_id = self.chance.choice(self.living)
                await self.chance.choice([self.fill, self.change, self.archive, self.purge])(
                    session_id
                )

    async def create(self) -> None:
        self.made += 1
        session_id = f"{self.name}-{self.made}"
        self.journal.write(session_id, "create", "begin")
        new = NewSession(id=session_id, name=session_id, dimension=DIMENSION, tags=("crash",))
        await self.quire.creation.create(CALLER, new)
        self.journal.write(session_id, "create", "done")
        self.living.append(session_id)

    async def fill(self, session_id: str) -> None:
        session = await self.quire.sessions.get(CALLER, session_id)
        points = [Point(n, dense=[n + 1.0] * DIMENSION, payload={"seq": n}) for n in range(POINTS)]
        self.journal.write(session_id, "fill", "begin")
        await self.quire.engine.upsert(session.collection, points)
        blob = await self.quire.ledger.put(_bytes(session_id))
        async with self.quire.database.write() as connection:
            await self.quire.ledger.refer(connection, session_id, "attachment", blob.sha256)
        self.journal.write(session_id, "fill", "done")

    async def change(self, session_id: str) -> None:
        self.journal.write(session_id, "change", "begin")
        change = SessionChange(description="changed", tags=("crash", "changed"))
        await self.quire.sessions.update(CALLER, session_id, change)
        self.journal.write(session_id, "change", "done")

    async def archive(self, session_id: str) -> None:
        self.journal.write(session_id, "archive", "begin")
        await self.quire.sessions.archive(CALLER, session_id)
        await self.quire.sessions.restore(CALLER, session_id)
        self.journal.write(session_id, "archive", "done")

    async def purge(self, session_id: str) -> None:
        self.living.remove(session_id)
        self.journal.write(session_id, "purge", "begin")
        job_id = await self.quire.sessions.delete_for_good(CALLER, session_id)
        self.journal.write(session_id, "purge", "done")
        if self.chance.random() < 0.5:
            await self.quire.jobs.wait(job_id, 2)


async def _bytes(session_id: str) -> AsyncIterator[bytes]:
    yield session_id.encode() * 1_000


if __name__ == "__main__":
    work_until_killed(Worker, width=WIDTH, letter="s")
