"""Where what is killed keeps its data: on this machine alone, or on servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.backends.qdrant import QdrantServer
from tests.sessions.servers import collections_apart
from tests.store.template import prepare_postgres

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
    tmp_path: Path, qdrant_server: QdrantServer, postgres_url: str
) -> AsyncIterator[dict[str, str]]:
    await prepare_postgres(postgres_url)
    async with collections_apart(qdrant_server) as qdrant:
        yield {
            **COMMON,
            "QUIRE_DATA_DIR": str(tmp_path / "data"),
            "QUIRE_DATABASE_URL": postgres_url,
            "QUIRE_QDRANT_URL": str(qdrant.url),
            "QUIRE_QDRANT_GRPC_PORT": str(qdrant.grpc_port),
            "QUIRE_QDRANT_COLLECTION_PREFIX": qdrant.collection_prefix,
        }
