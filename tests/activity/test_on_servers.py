"""Invocations, statistics and attachments where two processes share PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from quire.activity.invocation_models import InvocationFilter, InvocationStatus, NewInvocation
from quire.activity.statistics import Bucket
from quire.errors import AttachmentExpired, SessionNotFound
from quire.sessions.listing import SessionFilter
from quire.sessions.requests import NewSession
from quire.settings import EmbeddingSettings
from quire.store.columns import now
from tests.sessions.house import ADA, GRACE, create, new_id
from tests.sessions.servers import quires_on_servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from quire.app import Quire
    from tests.backends.qdrant import QdrantServer

pytestmark = [pytest.mark.server, pytest.mark.postgres]

T0 = datetime(2026, 11, 20, 22, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
async def pair(
    tmp_path: Path, postgres_url: str, qdrant_server: QdrantServer
) -> AsyncIterator[tuple[Quire, Quire]]:
    more = {"embedding": EmbeddingSettings(provider="fake")}
    async with quires_on_servers(tmp_path, postgres_url, qdrant_server, **more) as [one, other]:
        yield one, other


async def content(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_what_one_process_records_the_other_counts(pair: tuple[Quire, Quire]) -> None:
    one, other = pair
    session = await create(one, dimension=4, metadata={"purpose": "review"})
    record = [
        NewInvocation(
            id=f"i{n % 30}",  # each is recorded twice, in either process
            tool="ab"[n % 2],
            error="no" if n % 30 == 7 else None,
            started_at=T0 + (n % 30) * timedelta(minutes=10),
            duration_ms=float(n % 30 + 1),
            tokens_in=2**40,
            cost=0.5,
        )
        for n in range(60)
    ]
    await asyncio.gather(
        *(
            pair[n // 30].activity.invocations.record(ADA, session.id, new)
            for n, new in enumerate(record)
        )
    )

    told = await other.activity.statistics.of(ADA, session.id, bucket=Bucket.HOUR)
    assert (told.invocations.count, told.invocations.tokens_in) == (30, 30 * 2**40)
    assert told.invocations.cost == 15.0
    assert told.statuses[InvocationStatus.FAILED] == 1
    assert (told.durations.p50_ms, told.durations.p95_ms) == (15.0, 29.0)
    assert told.durations.total_ms == 465.0
    assert [(tool.tool, tool.durations.p50_ms, tool.durations.p95_ms) for tool in told.tools] == [
        ("a", 15.0, 29.0),
        ("b", 16.0, 30.0),
    ]
    assert [entry.invocations for entry in told.timeline] == [6] * 5
    assert told.timeline[0].at == T0

    seen: list[str] = []
    cursor = None
    while True:
        page = await other.activity.invocations.by_tool(
            ADA, InvocationFilter(tool="b"), cursor=cursor, limit=4
        )
        seen += [invocation.id for invocation in page.invocations]
        if (cursor := page.next_cursor) is None:
            break
    assert seen == [f"i{n}" for n in range(29, 0, -2)]
    nothing = await other.activity.invocations.by_tool(GRACE, InvocationFilter(tool="b"))
    assert nothing.invocations == []
    for filter in (SessionFilter(tool="a"), SessionFilter(purpose="review")):
        found = await other.listing.find(ADA, filter)
        assert [one.id for one in found.sessions] == [session.id]


async def test_sweeping_putting_and_ending_at_once_is_no_deadlock(
    pair: tuple[Quire, Quire],
) -> None:
    one, other = pair
    session_id = new_id("shot")
    new = NewSession(id=session_id, name="shot", ephemeral=True, dimension=4)
    await one.creation.create(ADA, new)

    async def put(quire: Quire, n: int) -> Any:
        data = f"{n}".encode()
        return await quire.activity.attachments.put(
            ADA, session_id, f"a{n % 3}", content(data), ttl_seconds=1
        )

    for turn in range(5):
        await asyncio.gather(
            *(put(pair[n % 2], turn * 10 + n) for n in range(10)),
            *(quire.activity.attachments.sweep(now() + HOUR) for quire in pair for _ in range(3)),
        )
    await one.activity.attachments.sweep(now() + HOUR)
    with pytest.raises(AttachmentExpired):
        await other.activity.attachments.get(ADA, session_id, "a0")

    ended = await asyncio.gather(
        *(quire.conclusion.end(ADA, session_id) for quire in pair for _ in range(3))
    )
    (job_id,) = [one.job_id for one in ended if one.job_id is not None]
    assert (await other.jobs.wait(job_id, 30)).status == "succeeded"
    assert (await other.conclusion.end(ADA, session_id)).job_id is None
    with pytest.raises(SessionNotFound):
        await one.sessions.get(ADA, session_id)
