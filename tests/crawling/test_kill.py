"""Killed in mid-crawl, Quire goes on: no page is missing, and none is there twice."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from quire.app import Part, Quire
from quire.crawling.requests import CrawlRequest
from quire.jobs.port import JobFilter
from quire.store.tables import blob_references
from tests.content.house import chunks, finished
from tests.crawling.doomed import settings_of
from tests.sessions.house import ADA
from tests.store.template import migrated
from tests.web.site import Site, website

if TYPE_CHECKING:
    from pathlib import Path

PAGES = 55
KILLED_AFTER = (7, 18, 25, 5)
"""So many requests each child makes before it is killed: within portions, and across their ends."""


async def test_a_crawl_survives_kill_9(tmp_path: Path) -> None:
    await _crawl_and_kill(tmp_path, [30])


@pytest.mark.soak
async def test_a_crawl_survives_kill_9_again_and_again(tmp_path: Path) -> None:
    await _crawl_and_kill(tmp_path, KILLED_AFTER)


async def _crawl_and_kill(tmp_path: Path, killed_after: Sequence[int]) -> None:
    migrated(tmp_path)
    async with website() as site:
        site.page("/", *(f"/{n}" for n in range(PAGES)))
        for n in range(PAGES):
            site.page(f"/{n}", "/", f"/{n + 1}")
        settings = settings_of(tmp_path, site.allow)
        async with Quire.open(settings, Part.TOOL) as quire:  # which runs no jobs
            request = CrawlRequest(url=site.url(), depth=1, max_pages=200)
            job_id, session_id = await quire.crawling.begin(ADA, request)
        for requests in killed_after:
            await _run_and_kill(tmp_path, site, requests)
        async with Quire.open(settings) as quire:
            await _check(quire, job_id, session_id, site)


async def _run_and_kill(directory: Path, site: Site, requests: int) -> None:
    enough = len(site.asked) + requests
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.crawling.child", str(directory), site.allow
    )
    try:
        async with asyncio.timeout(60):
            while len(site.asked) < enough:
                assert child.returncode is None
                await asyncio.sleep(0.005)
    finally:
        child.kill()
        await child.wait()


async def _check(quire: Quire, job_id: str, session_id: str, site: Site) -> None:
    job = await finished(quire, job_id)
    assert job.result is not None
    assert (job.result["pages"], job.result["failed"]) == (PAGES + 1, 0)
    for ingest in await quire.jobs.find(JobFilter(session_id=session_id, kind="ingest")):
        await finished(quire, ingest.id)
    page = await quire.documents.page(ADA, session_id, limit=500)
    wanted = [site.url("/"), *(site.url(f"/{n}") for n in range(PAGES))]
    assert sorted(document.source_url or "" for document in page.documents) == sorted(wanted)
    assert {document.status for document in page.documents} == {"ready"}
    read = await chunks(quire, session_id)
    assert len(read) == sum(document.chunks_count for document in page.documents)
    held = sa.select(blob_references.c.holder).where(blob_references.c.holder.like("crawl/%"))
    async with quire.database.read() as connection:
        assert not (await connection.execute(held)).all()
