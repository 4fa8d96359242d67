"""A process that fills sessions, lets them go cold and wakes them until somebody kills it.

Run as `python -m tests.crash.residency_child JOURNAL SEED`, with the settings in the environment.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

from quire.access.principal import Principal, Scope
from quire.app import Quire
from quire.errors import Conflict
from quire.sessions.requests import NewSession
from tests.crash.doomed import work_until_killed
from tests.crash.journal import Journal

CALLER = Principal("crash", scope=Scope.WRITE)
WIDTH = 3
DIMENSION = 16
BATCH = 40


def batch(number: int) -> list[dict[str, Any]]:
    """The points of one write, which are all its own."""
    return [
        {
            "id": number * BATCH + place,
            "vector": [float((number + place + axis) % 11 + 1) for axis in range(DIMENSION)],
            "payload": {"batch": number, "text": f"leaf {place} of batch {number}"},
        }
        for place in range(BATCH)
    ]


@dataclass
class Worker:
    """Works on one session; what it was told is all there is to know of it."""

    quire: Quire
    journal: Journal
    chance: random.Random
    session_id: str
    batches: list[int] = field(default_factory=list)

    async def work(self) -> None:
        self.journal.write(self.session_id, "create", "begin")
        new = NewSession(
            id=self.session_id, name=self.session_id, provider="external", dimension=DIMENSION
        )
        await self.quire.creation.create(CALLER, new)
        self.journal.write(self.session_id, "create", "done")
        while True:
            # A write now and then, then sleep, then a use: the kill falls into any of them.
            if not self.batches or (len(self.batches) < 20 and self.chance.random() < 0.5):
                await self.write()
            await self.sleep()
            count = await self.quire.points.count(CALLER, self.session_id)
            assert count == len(self.batches) * BATCH, (count, self.batches)

    async def write(self) -> None:
        number = len(self.batches)
        self.journal.write(self.session_id, f"write {number}", "begin")
        await self.quire.points.upsert(CALLER, self.session_id, batch(number))
        self.journal.write(self.session_id, f"write {number}", "done")
        self.batches.append(number)

    async def sleep(self) -> None:
        pack = self.chance.random() < 0.8
        try:
            await self.quire.sessions.sleep(CALLER, self.session_id, pack=pack)
        except Conflict:
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    work_until_killed(Worker, width=WIDTH, letter="r")
