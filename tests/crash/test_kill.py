"""Killed at any moment, Quire loses nothing that it acknowledged and leaves nothing half done."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from quire.access.principal import Principal, Scope
from quire.app import Part, Quire
from quire.blobs.sweep import SETTLED_AFTER
from quire.errors import NotFound
from quire.jobs.durable import DurableJobs
from quire.jobs.port import JobStatus
from quire.sessions.models import Status
from quire.settings import JobSettings, load_settings
from quire.store import Database, migrate
from quire.store.columns import now
from quire.store.tables import blob_references, jobs, sessions
from quire.vectors.server import QdrantEngine
from tests.crash.child import POINTS
from tests.crash.journal import History, read_journal

OPERATOR = Principal("operator", scope=Scope.ADMIN)
KILLS = 8
SOAK_KILLS = 60
CHECK_EVERY = 4

COMMON = {
    "QUIRE_BLOB_SWEEP_GRACE_SECONDS": "0",
    "QUIRE_RETENTION_UNFINISHED_SECONDS": "1",
    "QUIRE_RETENTION_SWEEP_SECONDS": "0.5",
    "QUIRE_JOBS_POLL_SECONDS": "0.05",
    "QUIRE_JOBS_LEASE_SECONDS": "1",
    "QUIRE_LOG_LEVEL": "error",
}


@pytest.fixture
def embedded(tmp_path: Path) -> dict[str, str]:
    return {**COMMON, "QUIRE_DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
async def on_servers(
    tmp_path: Path, qdrant_url: str, qdrant_grpc_port: int, postgres_url: str
) -> AsyncIterator[dict[str, str]]:
    database = Database.postgres(postgres_url)
    await migrate(database)
    await DurableJobs(database, JobSettings()).migrate()
    await database.close()
    # Other tests have collections of their own on the same server.
    prefix = f"crash{os.getpid()}_"
    yield {
        **COMMON,
        "QUIRE_DATA_DIR": str(tmp_path / "data"),
        "QUIRE_DATABASE_URL": postgres_url,
        "QUIRE_QDRANT_URL": qdrant_url,
        "QUIRE_QDRANT_GRPC_PORT": str(qdrant_grpc_port),
        "QUIRE_QDRANT_COLLECTION_PREFIX": prefix,
    }
    engine = await QdrantEngine.open(qdrant_url, prefix=prefix)
    for name in [name async for name in engine.collections()]:
        await engine.drop(name)
    await engine.close()


@pytest.mark.timeout(300)
async def test_embedded(embedded: dict[str, str], tmp_path: Path) -> None:
    await _kill_again_and_again(embedded, tmp_path / "journal", KILLS)


@pytest.mark.server
@pytest.mark.postgres
@pytest.mark.timeout(300)
async def test_on_servers(on_servers: dict[str, str], tmp_path: Path) -> None:
    await _kill_again_and_again(on_servers, tmp_path / "journal", KILLS)


@pytest.mark.soak
async def test_embedded_for_long(embedded: dict[str, str], tmp_path: Path) -> None:
    await _kill_again_and_again(embedded, tmp_path / "journal", SOAK_KILLS)


@pytest.mark.soak
@pytest.mark.server
@pytest.mark.postgres
async def test_on_servers_for_long(on_servers: dict[str, str], tmp_path: Path) -> None:
    await _kill_again_and_again(on_servers, tmp_path / "journal", SOAK_KILLS)


async def _kill_again_and_again(environment: dict[str, str], journal: Path, kills: int) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    journal.touch()
    for number in range(kills):
        await asyncio.to_thread(_run_and_kill, environment, journal, seed + number, chance)
        if (number + 1) % CHECK_EVERY == 0 or number == kills - 1:
            await _check(environment, journal)
    histories = read_journal(journal)
    assert len(histories) > kills, "the children did next to nothing before they were killed"


def _run_and_kill(
    environment: dict[str, str], journal: Path, seed: int, chance: random.Random
) -> None:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("QUIRE_")}
    command = [sys.executable, "-m", "tests.crash.child", str(journal), str(seed)]
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
                if chance.random() < 0.8:
                    assert child.stdout.readline() == "ready\n", words.read_text()
                time.sleep(chance.uniform(0, 1.2))
                assert child.poll() is None, words.read_text()
            finally:
                child.send_signal(signal.SIGKILL)
                child.wait()


async def _check(environment: dict[str, str], journal: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        settings = load_settings()
    async with Quire.open(settings, Part.API) as quire:
        await _until_quiet(quire)
        for session_id, history in read_journal(journal).items():
            await _check_session(quire, session_id, history)
        findings = await quire.reconciliation.run()
        assert findings.is_clean, findings
        await _check_blobs(quire)


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


async def _check_session(quire: Quire, session_id: str, history: History) -> None:
    try:
        session = await quire.sessions.peek(OPERATOR, session_id)
    except NotFound:
        gone_for_a_reason = history.last in (None, "purge") or history.pending == "purge"
        assert gone_for_a_reason, f"{session_id} was acknowledged and is lost: {history}"
        return
    assert history.last != "purge", f"{session_id} was purged and is still there: {history}"
    if history.pending not in ("archive", "purge"):
        assert session.status is Status.ACTIVE, history
    if "change" in history.acknowledged:
        assert session.description == "changed", history
        assert session.tags == ("crash", "changed"), history
    count = await quire.engine.count(session.collection)
    if "fill" in history.acknowledged:
        assert count == POINTS, f"{session_id} has {count} points: {history}"
    elif history.pending != "fill":
        assert count == 0, history


async def _check_blobs(quire: Quire) -> None:
    """After a sweep there is exactly what somebody refers to."""
    # Late enough to take what a sweep had condemned that was itself killed: its process is dead.
    await quire.ledger.sweep(now() + 2 * SETTLED_AFTER)
    async with quire.database.read() as connection:
        referred = set((await connection.execute(sa.select(blob_references.c.sha256))).scalars())
        owners = set((await connection.execute(sa.select(blob_references.c.session_id))).scalars())
        known = set((await connection.execute(sa.select(sessions.c.id))).scalars())
    assert owners <= known
    assert {blob.sha256 async for blob in quire.blobs.blobs()} == referred
