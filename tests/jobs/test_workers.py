"""Workers on PostgreSQL: how they hear of work, and what they do when they are cut off."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from quire.jobs.durable import DurableJobs
from quire.jobs.port import JobContext, JobKind, JobStatus
from quire.store.tables import executors, jobs
from tests.jobs.workshop import NOTHING, QUICK, Workshop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.backends.postgres import PostgresProcess

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(180)]

END_LEASES = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
    "AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
    "AND state = 'idle')"
)


@pytest.fixture
async def workshop(postgres_url: str) -> AsyncIterator[Workshop]:
    opened = await Workshop.open(postgres_url)
    yield opened
    await opened.database.close()


class Slow:
    """A job of many short steps; `half` is set in the middle."""

    def __init__(self) -> None:
        self.ran: list[int] = []
        self.half = asyncio.Event()
        self.kind = JobKind("slow", self.work)

    async def work(self, context: JobContext) -> dict[str, int]:
        for number in range(20):
            await context.step(f"step {number}", self.do, number)
        return {"steps": 20}

    async def do(self, number: int) -> None:
        self.ran.append(number)
        if number == 10:
            self.half.set()
        await asyncio.sleep(0.1)


async def test_work_that_another_process_submits_is_taken_at_once(workshop: Workshop) -> None:
    rare = DurableJobs(workshop.database, QUICK.model_copy(update={"poll_seconds": 2.0}))
    rare.register(NOTHING)
    await rare.start(run=True)
    try:
        async with workshop.running(NOTHING, run=False):
            await workshop.done(await workshop.submit("nothing"))
            begun = time.monotonic()
            for _ in range(5):
                await workshop.done(await workshop.submit("nothing"))
            assert time.monotonic() - begun < 5
    finally:
        await rare.stop(grace_seconds=1)


@pytest.mark.parametrize("sudden", [False, True])
async def test_a_job_outlives_its_database(postgres_process: PostgresProcess, sudden: bool) -> None:
    workshop = await Workshop.open(postgres_process.create_database())
    slow = Slow()
    async with workshop.running(slow.kind):
        job_ids = [await workshop.submit("slow", "s"), await workshop.submit("slow", "s")]
        await slow.half.wait()
        await asyncio.to_thread(postgres_process.kill if sudden else postgres_process.stop)
        await asyncio.sleep(2)
        await asyncio.to_thread(postgres_process.start)
        found = [await wait_through(workshop, job_id) for job_id in job_ids]
    await workshop.database.close()

    assert found == [JobStatus.SUCCEEDED] * 2
    assert sorted(set(slow.ran)) == list(range(20))


async def wait_through(workshop: Workshop, job_id: str) -> JobStatus:
    async with asyncio.timeout(150):
        while not (job := await workshop.jobs.wait(job_id, 5)).status.is_final:
            pass
    return job.status


async def test_a_lost_lease_is_regained_and_the_job_goes_on(workshop: Workshop) -> None:
    slow = Slow()
    async with workshop.running(slow.kind):
        job_id = await workshop.submit("slow", "s")
        await slow.half.wait()
        async with workshop.database.read() as connection:
            assert (await connection.execute(END_LEASES)).all()
        [job] = await workshop.done(job_id, seconds=60)
        async with workshop.database.read() as connection:
            row = (await connection.execute(sa.select(jobs))).one()

    assert (job.status, row.attempt) == (JobStatus.SUCCEEDED, 1)
    assert slow.ran == list(range(20))


async def test_who_was_taken_for_dead_drops_its_runs_and_enrols_again(workshop: Workshop) -> None:
    slow = Slow()
    async with workshop.running(slow.kind):
        job_id = await workshop.submit("slow", "s")
        await slow.half.wait()
        async with workshop.database.write() as connection:
            # As a reaper would have done it, but for giving the job away.
            await connection.execute(sa.delete(executors))
        async with workshop.database.read() as connection:
            assert (await connection.execute(END_LEASES)).all()
        [job] = await workshop.done(job_id, seconds=60)
        async with workshop.database.read() as connection:
            row = (await connection.execute(sa.select(jobs))).one()
            assert len((await connection.execute(sa.select(executors))).all()) == 1

    assert (job.status, row.attempt) == (JobStatus.SUCCEEDED, 2)
    # Each step once, but for the one that was dropped where it stood.
    assert sorted(set(slow.ran)) == list(range(20))
    assert len(slow.ran) <= 21


async def test_a_run_that_was_taken_and_never_begun_is_put_back(workshop: Workshop) -> None:
    slow = Slow()
    async with workshop.running(slow.kind) as running:
        blocker = await workshop.submit("slow", "s")
        job_id = await workshop.submit("slow", "s")
        await slow.half.wait()
        executor = (await running.ping()).split(" runs as ")[1].split()[0]
        async with workshop.database.write() as connection:
            await connection.execute(
                sa.update(jobs).where(jobs.c.id == job_id).values(released=True)
            )
            await connection.execute(
                sa.text(
                    "INSERT INTO dbos.workflow_status (workflow_uuid, status, name, executor_id, "
                    "application_version, application_name, queue_name, serialization, priority) "
                    "VALUES (:id, 'PENDING', 'quire.run_job', :executor, 'quire-jobs-1', 'quire', "
                    "'quire-jobs', 'quire_json', 1)"
                ),
                {"id": job_id, "executor": executor},
            )
            await connection.execute(
                sa.text(
                    "INSERT INTO dbos.workflow_input (workflow_uuid, inputs) VALUES (:id, :in)"
                ),
                {"id": job_id, "in": f'{{"args": ["{job_id}"], "kwargs": {{}}}}'},
            )
        found = await workshop.done(blocker, job_id, seconds=60)

    assert [job.status for job in found] == [JobStatus.SUCCEEDED] * 2
