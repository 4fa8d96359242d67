"""The jobs that the kill tests run, and the table in which each step leaves its trace."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import sqlalchemy as sa

from quire.errors import Conflict
from quire.jobs.port import JobContext, JobKind

if TYPE_CHECKING:
    from quire.store.database import Database

metadata = sa.MetaData()
Counter = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# Every run of a step, also the second of one that was killed before it was remembered.
traces = sa.Table(
    "traces",
    metadata,
    sa.Column("n", Counter, sa.Identity(), primary_key=True),
    sa.Column("job_id", sa.String(36), nullable=False),
    sa.Column("step", sa.String(16), nullable=False),
    sa.Column("process", sa.Integer, nullable=False),
)

# What the step is for: written by an idempotent statement.
effects = sa.Table(
    "effects",
    metadata,
    sa.Column("job_id", sa.String(36), primary_key=True),
    sa.Column("step", sa.String(16), primary_key=True),
)

STEPS = ("one", "two", "three")
UNDO_STEPS = ("undo two", "undo one")


async def create(database: Database) -> None:
    async with database.write() as connection:
        await connection.run_sync(metadata.create_all)


def kind(database: Database) -> JobKind:
    """Three steps; a job with `fail` is undone in two more."""

    async def leave(job_id: str, step: str) -> str:
        async with database.write() as connection:
            await connection.execute(
                sa.insert(traces).values(job_id=job_id, step=step, process=os.getpid())
            )
        # The effect comes later than the trace, so that a kill falls between them now and then.
        await asyncio.sleep(0.01)
        async with database.write() as connection:
            known = await connection.execute(
                sa.select(effects).where(effects.c.job_id == job_id, effects.c.step == step)
            )
            if known.first() is None:
                await connection.execute(sa.insert(effects).values(job_id=job_id, step=step))
        return step

    async def work(context: JobContext) -> dict[str, list[str]]:
        answers = [await context.step(step, leave, context.job_id, step) for step in STEPS]
        if context.parameters["fail"]:
            raise Conflict("This one is to be undone")
        return {"steps": answers}

    async def undo(context: JobContext) -> None:
        for step in UNDO_STEPS:
            await context.step(step, leave, context.job_id, step)

    return JobKind("work", work, undo)
