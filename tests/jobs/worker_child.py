"""A worker to be killed: `python -m tests.jobs.worker_child <path or URL> submit|run|drain`.

It says `ready`, then the id of every job whose submission was committed; with `drain` it leaves
when no job is unfinished.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from pathlib import Path

import structlog

from quire.jobs.durable import DurableJobs
from quire.jobs.port import JobRequest, JobStatus
from quire.store.database import Database
from tests.jobs import effects
from tests.jobs.workshop import QUICK

SESSIONS = ("a", "b", "c")


async def work(where: str, what: str) -> None:
    url = where.startswith("postgresql")
    database = Database.postgres(where) if url else Database.sqlite(Path(where))
    jobs = DurableJobs(database, QUICK)
    jobs.register(effects.kind(database))
    await jobs.start(run=True)
    print("ready", flush=True)
    while True:
        if what == "submit":
            sessions = random.sample(SESSIONS, random.choice((1, 1, 1, 2)))
            # The claims go when a job ends, so the check reads its sessions here.
            parameters = {"sessions": sessions, "fail": random.random() < 0.25}
            request = JobRequest("work", sessions, parameters)
            async with database.write() as connection:
                job_id = await jobs.submit(connection, request)
            print(job_id, flush=True)
        elif what == "drain":
            found = await jobs.counts()
            if not any(n for (_, status), n in found.items() if not status.is_final):
                assert found.keys() <= {("work", JobStatus.SUCCEEDED), ("work", JobStatus.FAILED)}
                break
        await asyncio.sleep(0.05)
    await jobs.stop(grace_seconds=5)
    await database.close()


if __name__ == "__main__":
    # What it prints is for its parent; only real trouble is for a reader.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    asyncio.run(work(sys.argv[1], sys.argv[2]))
