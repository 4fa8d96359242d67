"""Sessions that flow into each other, and what is in them afterwards."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from quire.jobs.port import JobFilter
from quire.points.visibility import visible
from quire.store.tables import blob_references, claims, documents, spare_collections
from quire.transfer.merge_request import MergeRequest
from quire.transfer.split_request import SplitRequest
from quire.vectors.digest import point_hash
from tests.content.house import filled_quire, finished, ingest, paragraphs, text
from tests.sessions.house import ADA, collections, create

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quire.access.principal import Principal
    from quire.app import Quire
    from quire.jobs.port import Json
    from quire.sessions.models import Session
    from quire.vectors.port import PointId, Record

__all__ = ["ADA", "create", "filled_quire", "finished", "ingest", "paragraphs", "text"]

DIMENSION = 32


async def points_of(quire: Quire, session_id: str) -> dict[PointId, Record]:
    """Every point that a reader sees."""
    session = await quire.sessions.open(ADA, session_id)
    stream = quire.engine.stream(session.collection, filter=visible(session))
    return {record.id: record async for batch in stream for record in batch}


async def hashes(quire: Quire, *session_ids: str) -> list[bytes]:
    """The multiset of all points of these sessions: ids, vectors, payloads."""
    found = [await points_of(quire, session_id) for session_id in session_ids]
    return sorted(point_hash(record) for points in found for record in points.values())


def vector(seed: int) -> list[float]:
    return [((seed * 31 + place * 17) % 101) / 101 + 0.01 for place in range(DIMENSION)]


async def write(
    quire: Quire, session_id: str, ids: range | list[Any], *, who: Principal = ADA, **payload: Any
) -> None:
    """Raw points with these ids; a payload given as a function is asked for each."""
    points = [
        {
            "id": identity,
            "vector": vector(number),
            "payload": {k: v(number) if callable(v) else v for k, v in payload.items()},
        }
        for number, identity in enumerate(ids)
    ]
    for start in range(0, len(points), 1000):
        await quire.points.upsert(who, session_id, points[start : start + 1000])


async def merged(quire: Quire, *sources: str, who: Principal = ADA, **more: Any) -> Json:
    """Merge, and wait until it is done; answers the job's result."""
    if "target_session_id" not in more:
        more.setdefault("target_name", "merged")
    request = MergeRequest(source_session_ids=sources, **{"archive_sources": False, **more})
    job = await finished(quire, await quire.transfers.merge.begin(who, request))
    assert job.result is not None
    return job.result


async def split(quire: Quire, session_id: str, who: Principal = ADA, **request: Any) -> Json:
    job_id = await quire.transfers.split.begin(who, session_id, SplitRequest(**request))
    job = await finished(quire, job_id)
    assert job.result is not None
    return job.result


async def failed(quire: Quire, job_id: str, status: str = "failed") -> Json:
    """Wait for a job's failure, and until all that it takes back is gone; answers its error."""
    job = await quire.jobs.wait(job_id, 30)
    assert job.status == status, job
    await purges(quire)
    return job.error or {}


async def purges(quire: Quire) -> None:
    while unfinished := [
        job
        for job in await quire.jobs.find(JobFilter(kind="purge"), limit=1000)
        if not job.status.is_final
    ]:
        for job in unfinished:
            await quire.jobs.wait(job.id, 30)


async def traces(quire: Quire) -> dict[str, Any]:
    """Everything that a transfer could leave behind."""
    async with quire.database.read() as connection:

        async def rows(table: sa.Table, *columns: sa.Column[Any]) -> list[tuple[Any, ...]]:
            found = await connection.execute(sa.select(*columns).select_from(table))
            return sorted(tuple(map(str, row)) for row in found)

        told = {
            "documents": await rows(documents, documents.c.session_id, documents.c.id),
            "references": await rows(
                blob_references, blob_references.c.session_id, blob_references.c.sha256
            ),
            "claims": await rows(claims, claims.c.job_id),
            "spares": await rows(spare_collections, spare_collections.c.name),
        }
    sessions = [s async for s in quire.repository.walk()]
    told["sessions"] = sorted((s.id, s.state.value, s.busy_job) for s in sessions)
    told["collections"] = sorted(await collections(quire))
    return told


async def current(quire: Quire, session_id: str) -> Session:
    return await quire.sessions.peek(ADA, session_id)


@asynccontextmanager
async def slow_upserts(quire: Quire, seconds: float = 0.05) -> AsyncIterator[asyncio.Event]:
    """In this block every write takes a while; the event is set by the first of them."""
    engine = quire.engine
    original, begun = engine.upsert, asyncio.Event()

    async def upsert(*arguments: Any, **options: Any) -> None:
        begun.set()
        await asyncio.sleep(seconds)
        await original(*arguments, **options)

    engine.upsert = upsert  # type: ignore[method-assign]
    try:
        yield begun
    finally:
        del engine.upsert
