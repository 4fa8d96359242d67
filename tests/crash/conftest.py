"""Where what is killed keeps its data: on this machine alone, or on servers."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quire.jobs.durable import DurableJobs
from quire.settings import JobSettings
from quire.store import Database, migrate
from quire.vectors.server import QdrantEngine

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
