"""Workers are killed at random moments, and nothing is lost, doubled, out of order or stuck."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from quire.jobs.port import JobStatus
from quire.store.tables import executors, job_sessions, jobs
from tests.jobs import effects
from tests.jobs.workshop import Workshop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

ROOT = Path(__file__).parents[2]


class Child:
    """A worker in a process of its own; what it acknowledged is in `job_ids`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.job_ids: list[str] = []

    @classmethod
    async def start(cls, where: str, what: str) -> Child:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.jobs.worker_child", where, what),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        child = cls(process)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        return child

    async def listen(self, seconds: float | None) -> None:
        """Note what it acknowledges, for so long or until it leaves."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                while line := await self.process.stdout.readline():
                    self.job_ids.append(line.decode().strip())
        except TimeoutError:
            pass

    async def kill(self) -> None:
        self.process.kill()
        # What it had said before it died is acknowledged, too.
        await self.listen(None)
        await self.process.wait()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def place(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[str, Workshop]]:
    sqlite = request.param == "sqlite"
    where = str(tmp_path / "quire.db") if sqlite else request.getfixturevalue("postgres_url")
    workshop = await Workshop.open(Path(where) if sqlite else where)
    await effects.create(workshop.database)
    yield where, workshop
    await workshop.database.close()


async def die_and_recover(where: str, workshop: Workshop, kills: int) -> None:
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    acknowledged: list[str] = []
    for _ in range(kills):
        child = await Child.start(where, "submit")
        await child.listen(chance.uniform(0.05, 1.2))
        await child.kill()
        acknowledged += child.job_ids
    last = await Child.start(where, "drain")
    async with asyncio.timeout(30 + 5 * kills):
        assert await last.process.wait() == 0
    await check(workshop, acknowledged, kills, seed)


async def check(workshop: Workshop, acknowledged: list[str], kills: int, seed: int) -> None:
    told = f"seed {seed}"
    async with workshop.database.read() as connection:
        rows = (await connection.execute(sa.select(jobs).order_by(jobs.c.seq))).all()
        traces = (
            await connection.execute(sa.select(effects.traces).order_by(effects.traces.c.n))
        ).all()
        done = defaultdict(set)
        for job_id, step in await connection.execute(sa.select(effects.effects)):
            done[job_id].add(step)
        claims = (await connection.execute(sa.select(job_sessions))).all()

    assert acknowledged, told
    assert set(acknowledged) <= {row.id for row in rows}, told
    assert claims == [], told
    for row in rows:
        failing = row.parameters["fail"]
        steps = effects.STEPS + (effects.UNDO_STEPS if failing else ())
        assert row.status == (JobStatus.FAILED if failing else JobStatus.SUCCEEDED), told
        assert row.released, told
        assert done[row.id] == set(steps), told
        # A step is run again only where a kill fell into it, and never after a later one.
        ran = [trace.step for trace in traces if trace.job_id == row.id]
        assert ran == sorted(ran, key=steps.index), told
        assert len(ran) - len(steps) <= row.attempt - 1 <= kills, told

    check_order(rows, traces, told)


def check_order(rows: Sequence[Any], traces: Sequence[Any], told: str) -> None:
    """On each session the jobs ran one after the other, in the order of their submission."""
    span = defaultdict(list)
    for trace in traces:
        span[trace.job_id].append(trace.n)
    for session in ("a", "b", "c"):
        here = [row for row in rows if session in row.parameters["sessions"]]
        for earlier, later in itertools.pairwise(here):
            assert max(span[earlier.id]) < min(span[later.id]), told


@pytest.mark.timeout(300)
async def test_killed_workers_lose_nothing(place: tuple[str, Workshop]) -> None:
    await die_and_recover(*place, kills=6)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_killed_workers_lose_nothing_for_long(place: tuple[str, Workshop]) -> None:
    await die_and_recover(*place, kills=60)


@pytest.mark.postgres
@pytest.mark.timeout(300)
async def test_a_live_worker_takes_over_from_a_killed_one(postgres_url: str) -> None:
    workshop = await Workshop.open(postgres_url)
    await effects.create(workshop.database)
    survivor = await Child.start(postgres_url, "run")
    acknowledged: list[str] = []
    kills = 3
    for _ in range(kills):
        victim = await Child.start(postgres_url, "submit")
        await victim.listen(random.uniform(0.3, 1.0))
        await victim.kill()
        acknowledged += victim.job_ids

    async with asyncio.timeout(60):
        while await unfinished(workshop) or await executors_known(workshop) > 1:
            await asyncio.sleep(0.1)
    assert await executors_known(workshop) == 1, "the survivor, and none of the dead"
    await survivor.kill()
    await check(workshop, acknowledged, kills, seed=0)
    await workshop.database.close()


async def unfinished(workshop: Workshop) -> bool:
    return not all(status.is_final for _, status in await workshop.jobs.counts())


async def executors_known(workshop: Workshop) -> int:
    async with workshop.database.read() as connection:
        return len((await connection.execute(sa.select(executors.c.id))).all())
