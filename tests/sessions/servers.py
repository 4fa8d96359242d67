"""Quires over PostgreSQL and a Qdrant server, which leave nothing on it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from quire.app import Quire
from quire.settings import DatabaseSettings, QdrantSettings
from quire.vectors.server import QdrantEngine
from tests.sessions.house import new_id, settings_for
from tests.store.template import prepare_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from quire.settings import Settings
    from tests.backends.qdrant import QdrantServer


@asynccontextmanager
async def quires_on_servers(
    directory: Path, postgres_url: str, server: QdrantServer, processes: int = 2, **more: Any
) -> AsyncIterator[Sequence[Quire]]:
    """So many processes' worth of Quire over one PostgreSQL and one Qdrant, with blobs in common;
    the first runs jobs."""
    await prepare_postgres(postgres_url)
    async with collections_apart(server) as qdrant, AsyncExitStack() as stack:
        opened: list[Quire] = []
        for number in range(processes):
            settings = settings_for(
                directory,
                runs_jobs=number == 0,
                database=DatabaseSettings(url=postgres_url),
                qdrant=qdrant,
                **more,
            )
            opened.append(await stack.enter_async_context(started(settings)))
        yield opened


@asynccontextmanager
async def quire_on_servers(
    directory: Path, postgres_url: str, server: QdrantServer, **more: Any
) -> AsyncIterator[Quire]:
    """One process's worth of it."""
    async with quires_on_servers(directory, postgres_url, server, 1, **more) as [quire]:
        yield quire


@asynccontextmanager
async def collections_apart(server: QdrantServer) -> AsyncIterator[QdrantSettings]:
    """The shared server, with collections that no other test has; all of them go at the end."""
    prefix = new_id("t") + "_"
    try:
        yield QdrantSettings(
            url=server.url, grpc_port=server.grpc_port or 0, collection_prefix=prefix
        )
    finally:
        engine = await QdrantEngine.open(server.url, prefix=prefix)
        try:
            for name in [name async for name in engine.collections()]:
                await engine.drop(name)
        finally:
            await engine.close()


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Quire]:
    """A Quire that has started, however long its servers keep it waiting."""
    async with Quire.open(settings) as quire:
        while quire.hindrance is not None:
            await asyncio.sleep(0.02)
        yield quire
