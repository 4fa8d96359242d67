"""The same where PostgreSQL and a Qdrant server keep things."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from quire.transfer.feeds import OnConflict
from quire.transfer.merge_request import MergeRequest
from quire.transfer.split_request import ByField, Fraction
from quire.transfer.targets import NewTarget
from tests.content.house import FAKE, chunks, text_of
from tests.sessions.servers import quire_on_servers
from tests.transfer.house import (
    ADA,
    create,
    current,
    failed,
    finished,
    hashes,
    ingest,
    merged,
    paragraphs,
    points_of,
    slow_upserts,
    split,
    text,
    traces,
    write,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from quire.app import Quire
    from tests.backends.qdrant import QdrantServer

pytestmark = [pytest.mark.server, pytest.mark.postgres]


@pytest.fixture
async def quire(
    tmp_path: Path, postgres_url: str, qdrant_server: QdrantServer
) -> AsyncIterator[Quire]:
    async with quire_on_servers(tmp_path, postgres_url, qdrant_server, embedding=FAKE) as opened:
        yield opened


async def filled(quire: Quire, *names: str, ids: range) -> str:
    session = await create(quire)
    sources = [text(paragraphs(12, name), id=name) for name in names]
    await ingest(quire, session.id, *sources, chunk_size=60)
    await write(quire, session.id, ids, cluster=lambda n: n % 3)
    return session.id


async def test_a_session_is_split_put_together_and_forked(quire: Quire) -> None:
    session_id = await filled(quire, "a", "b", ids=range(1200))
    before = await hashes(quire, session_id)
    # split by a field, then all that is left by chance, which tears documents apart
    done = await split(quire, session_id, by=ByField(field="cluster", max_parts=1))
    assert [part["points"] for part in done["parts"]] == [400]
    assert await hashes(quire, session_id, *done["new_session_ids"]) == before
    halves = await split(
        quire, session_id, fractions=[Fraction("x", 0.5), Fraction("y", 0.5)], seed=3
    )
    assert (await current(quire, session_id)).points_count == 0
    everything = [*halves["new_session_ids"], *done["new_session_ids"]]
    assert await hashes(quire, *everything) == before
    # and put together again all is as it was
    result = await merged(quire, *everything, archive_sources=True)
    assert await hashes(quire, result["session_id"]) == before
    whole = result["session_id"]
    assert [chunk.seq for chunk in await chunks(quire, whole)] == list(range(24))
    assert await text_of(quire, whole, "b") == paragraphs(12, "b")
    job_id, fork_id = await quire.transfers.fork.begin(ADA, whole, NewTarget(name="f"))
    job = await finished(quire, job_id)
    assert job.result is not None
    assert job.result["path"] == "snapshot"
    assert await hashes(quire, fork_id) == before
    assert await chunks(quire, fork_id) == await chunks(quire, whole)


async def test_a_merge_into_one_that_is_there_settles_conflicts(quire: Quire) -> None:
    target = await filled(quire, "same", ids=range(10))
    source = await filled(quire, "other", ids=range(5, 15))
    await ingest(quire, source, text("of the source", id="same"))
    request = MergeRequest(source_session_ids=[source], target_session_id=target)
    report = await quire.transfers.merge.report(ADA, request)
    assert not report.would_succeed
    result = await merged(quire, source, target_session_id=target, on_conflict=OnConflict.REPLACE)
    assert result["conflicts"] == report.conflicts
    assert await text_of(quire, target, "same") == "of the source"
    assert await text_of(quire, target, "other") == paragraphs(12, "other")
    found = await points_of(quire, target)
    assert len(found) == 15 + 12 + 1
    assert (await current(quire, target)).points_count == len(found)


async def test_a_cancelled_merge_leaves_nothing(
    quire: Quire, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await filled(quire, "a", ids=range(10))
    two = await filled(quire, "b", ids=range(100, 2500))
    before = await traces(quire)
    monkeypatch.setattr("quire.transfer.building.CANCEL_SECONDS", 0.0)
    request = MergeRequest(source_session_ids=[one, two], target_name="m")
    async with slow_upserts(quire, 0.2) as begun:
        job_id = await quire.transfers.merge.begin(ADA, request)
        async with asyncio.timeout(10):
            await begun.wait()
        await quire.jobs.cancel(job_id)
        await failed(quire, job_id, "cancelled")
    assert await traces(quire) == before
