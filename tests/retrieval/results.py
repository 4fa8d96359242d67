"""Results to be paged through, a look at their rows, and a way to let time pass."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from quire.settings import EmbeddingSettings, QuerySettings
from quire.store.tables import queries

if TYPE_CHECKING:
    from quire.app import Quire

VECTORS = EmbeddingSettings(provider="fake", dimension=8)
REQUEST = {"query": "apples"}
TTL = timedelta(seconds=QuerySettings().ttl_seconds)


def found(count: int, *, size: int = 10) -> list[dict[str, Any]]:
    return [
        {"seq": n, "text": f"{n} ".ljust(size, "x"), "score": 1 / (n + 1)} for n in range(count)
    ]


async def row(quire: Quire, query_id: str) -> Any:
    async with quire.database.read() as connection:
        result = await connection.execute(sa.select(queries).where(queries.c.id == query_id))
        return result.one_or_none()


async def written(quire: Quire, query_id: str) -> Any:
    """The query's row, once it is there."""
    async with asyncio.timeout(10):
        while (found := await row(quire, query_id)) is None:
            await asyncio.sleep(0.01)
    return found


async def let_pass(quire: Quire, time: timedelta, query_id: str) -> None:
    """Move a query's past back; see the same for sessions."""
    old = await written(quire, query_id)
    moments = {name: getattr(old, name) - time for name in ("created_at", "used_at", "expires_at")}
    async with quire.database.write() as connection:
        await connection.execute(sa.update(queries).where(queries.c.id == query_id).values(moments))
