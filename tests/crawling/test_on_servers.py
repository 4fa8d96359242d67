"""A crawl where two processes share PostgreSQL: either runs it, and both see what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from quire.crawling.requests import CrawlRequest
from quire.settings import EmbeddingSettings, WebSettings
from tests.sessions.house import ADA
from tests.sessions.servers import quires_on_servers
from tests.web.site import website

if TYPE_CHECKING:
    from pathlib import Path

    from tests.backends.qdrant import QdrantServer

pytestmark = [pytest.mark.server, pytest.mark.postgres]


async def test_what_one_process_crawls_the_other_reads(
    tmp_path: Path, postgres_url: str, qdrant_server: QdrantServer
) -> None:
    async with website() as site:
        site.page("/", *(f"/{n}" for n in range(25)))
        for n in range(25):
            site.page(f"/{n}")
        more = {
            "embedding": EmbeddingSettings(provider="fake"),
            "web": WebSettings(allow=site.allow, delay_seconds=0),
        }
        async with quires_on_servers(tmp_path, postgres_url, qdrant_server, **more) as [one, two]:
            job_id, session_id = await one.crawling.begin(ADA, CrawlRequest(url=site.url()))
            crawled = await two.crawling.crawled(job_id, 60)
            assert crawled.is_taken_in, crawled.job
            page = await two.documents.page(ADA, session_id)
    assert len(page.documents) == 26
    assert {document.status for document in page.documents} == {"ready"}
