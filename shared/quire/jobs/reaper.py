"""The reaper: finds jobs that no process cares for any more, and brings them back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from quire.jobs import table
from quire.jobs.engine import Engine
from quire.jobs.leases import Lease
from quire.store.database import Database

log = structlog.get_logger(__name__)

BATCH = 500
# A run that the engine has ended while its job has not, was ended from outside.
ENDED = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")


class Reaper:
    def __init__(
        self,
        database: Database,
        engine: Engine,
        lease: Lease,
        running: Callable[[], Collection[str]],
    ) -> None:
        """`running` tells the jobs that run in this process."""
        self._database = database
        self._engine = engine
        self._lease = lease
        self._running = running
        self._strays: set[str] = set()

    async def reap(self) -> None:
        """One round: every job that can run is in the engine, every dead executor's is put back."""
        async with self._lease.try_lock("reaper") as alone:
            if alone:
                await self._release_runnable()
            runs = await self._survey(heal=alone)
        await self._return_strays(runs)
        owners = set(runs.values()) - {self._lease.executor_id}
        for executor_id in owners | await self._lease.others():
            async with self._lease.try_lock(executor_id) as dead:
                if dead:
                    number = await self._engine.recover(executor_id)
                    await self._lease.forget(executor_id)
                    log.warning("jobs.executor_died", executor=executor_id, jobs_put_back=number)

    async def _release_runnable(self) -> None:
        after = 0
        while True:
            async with self._database.read() as connection:
                waiting = await table.unreleased(connection, after, BATCH)
            if not waiting:
                return
            async with self._database.write() as connection:
                # Without the sessions' locks: claims only ever go away beneath a waiting job.
                for job in await table.release(connection, waiting):
                    log.warning("jobs.released_late", job=job.id)
                    await self._engine.enqueue(connection, job.id, job.seq)
            after = waiting[-1]

    async def _survey(self, *, heal: bool) -> dict[str, str]:
        """Who runs what; with `heal`, what the engine lost is enqueued again on the way."""
        after, runs = 0, dict[str, str]()
        while True:
            async with self._database.read() as connection:
                jobs = await table.in_flight(connection, after, BATCH)
            if not jobs:
                return runs
            known = await self._engine.statuses([job.id for job in jobs])
            runs |= {id: owner for id, (status, owner) in known.items() if status == "PENDING"}
            lost = [job for job in jobs if job.id not in known or known[job.id][0] in ENDED]
            if lost and heal:
                await self._enqueue_again(lost)
            after = jobs[-1].seq

    async def _return_strays(self, runs: Mapping[str, str]) -> None:
        """Put back what this process took from the queue and, in some outage, never began."""
        mine = {id for id, owner in runs.items() if owner == self._lease.executor_id}
        strays = mine - set(self._running())
        # A run that was only just taken is not begun yet; one round later it is.
        for job_id in strays & self._strays:
            if await self._engine.put_back(job_id, self._lease.executor_id):
                log.warning("jobs.put_back", job=job_id)
        self._strays = strays

    async def _enqueue_again(self, lost: Sequence[table.Released]) -> None:
        await self._engine.forget([job.id for job in lost])
        async with self._database.write() as connection:
            # Those that have ended since are left in peace: a job ends before its run does.
            for job in await table.unfinished(connection, [job.seq for job in lost]):
                log.warning("jobs.enqueued_again", job=job.id)
                await self._engine.enqueue(connection, job.id, job.seq)
