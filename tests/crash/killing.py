"""Processes that are killed at random moments, and what must be true after that."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from quire.app import Part, Quire
from quire.blobs.sweep import SETTLED_AFTER
from quire.jobs.port import JobStatus
from quire.settings import load_settings
from quire.store.columns import now
from quire.store.tables import blob_references, jobs, sessions

CHECK_EVERY = 4
# Lines in the journal after which a child has surely done something, however slow the machine is.
WORK_BEGUN_LINES = 12
WORK_BEGUN_SECONDS = 60.0


async def kill_again_and_again(
    module: str,
    environment: dict[str, str],
    journal: Path,
    kills: int,
    check: Callable[[Quire], Awaitable[None]],
    *,
    longest: float = 1.2,
) -> None:
    """Run the module, kill it within `longest` seconds of work, look; so many times.

    The first child gets to work before its seconds begin, and so do others by chance.
    """
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    journal.touch()
    for number in range(kills):
        await asyncio.to_thread(
            _run_and_kill,
            module,
            environment,
            journal,
            seed + number,
            chance,
            longest,
            at_work=number == 0 or chance.random() < 0.5,
        )
        if (number + 1) % CHECK_EVERY == 0 or number == kills - 1:
            async with survivor(environment) as quire:
                await check(quire)


def _run_and_kill(
    module: str,
    environment: dict[str, str],
    journal: Path,
    seed: int,
    chance: random.Random,
    longest: float,
    *,
    at_work: bool,
) -> None:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("QUIRE_")}
    command = [sys.executable, "-m", module, str(journal), str(seed)]
    words = journal.with_name("last-words")
    with words.open("w+") as stderr:
        child = subprocess.Popen(
            command,
            env={**inherited, **environment},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        assert child.stdout is not None
        with child.stdout:
            try:
                # Now and then in the middle of starting and recovering, else in mid-work.
                if at_work or chance.random() < 0.6:
                    assert child.stdout.readline() == "ready\n", words.read_text()
                if at_work:
                    _await_work(journal)
                time.sleep(chance.uniform(0, longest))
                assert child.poll() is None, words.read_text()
            finally:
                child.send_signal(signal.SIGKILL)
                child.wait()


def _await_work(journal: Path) -> None:
    deadline = time.monotonic() + WORK_BEGUN_SECONDS
    wanted = len(journal.read_bytes().splitlines()) + WORK_BEGUN_LINES
    while len(journal.read_bytes().splitlines()) < wanted and time.monotonic() < deadline:
        time.sleep(0.02)


@asynccontextmanager
async def survivor(environment: dict[str, str]) -> AsyncIterator[Quire]:
    """The process that comes after, once it has taken up all that was left."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        settings = load_settings()
    async with Quire.open(settings, Part.API) as quire:
        await _until_quiet(quire)
        yield quire


async def _until_quiet(quire: Quire) -> None:
    """Every job is final, and nothing is still on its way in or out."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (await quire.ready()).is_ready:
            async with quire.database.read() as connection:
                unfinished = (
                    await connection.execute(
                        sa.select(jobs.c.id, jobs.c.kind, jobs.c.status, jobs.c.released).where(
                            jobs.c.status.in_([JobStatus.QUEUED, JobStatus.RUNNING])
                        )
                    )
                ).all()
                moving = (
                    await connection.execute(
                        sa.select(sessions.c.id, sessions.c.state).where(
                            sessions.c.state.in_(["provisioning", "purging"])
                        )
                    )
                ).all()
            if not unfinished and not moving:
                return
        await asyncio.sleep(0.1)
    pytest.fail(f"not finished after a minute: jobs {unfinished}, sessions {moving}")


async def check_blobs(quire: Quire) -> None:
    """After a sweep there is exactly what somebody refers to."""
    # Late enough to take what a sweep had condemned that was itself killed: its process is dead.
    await quire.ledger.sweep(now() + 2 * SETTLED_AFTER)
    async with quire.database.read() as connection:
        referred = set((await connection.execute(sa.select(blob_references.c.sha256))).scalars())
        owners = set((await connection.execute(sa.select(blob_references.c.session_id))).scalars())
        known = set((await connection.execute(sa.select(sessions.c.id))).scalars())
    assert owners <= known
    assert {blob.sha256 async for blob in quire.blobs.blobs()} == referred
