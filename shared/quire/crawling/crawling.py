"""Websites into sessions: one page, how it is built, or everything that it leads to."""

from __future__ import annotations

from quire.access.principal import Principal
from quire.blobs.ledger import BlobLedger
from quire.blobs.port import BlobStore
from quire.content.admission import Admission
from quire.content.web_pages import WebPages
from quire.crawling.beginning import Beginning, Crawled
from quire.crawling.content import SinglePages, WebContent, WebStructure
from quire.crawling.crawl import Crawl
from quire.crawling.kept_frontiers import KeptFrontiers
from quire.crawling.requests import CrawlRequest
from quire.jobs.port import Jobs
from quire.sessions.creation import Creation
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import Sessions
from quire.settings import JobSettings
from quire.web.web import Web

WAIT_SECONDS = 30.0


class Crawling:
    """Fetches on behalf of callers; what is kept, is kept under their rights."""

    def __init__(
        self,
        web: Web,
        pages: WebPages,
        creation: Creation,
        sessions: Sessions,
        repository: SessionRepository,
        admission: Admission,
        blobs: BlobStore,
        ledger: BlobLedger,
        jobs: Jobs,
        job_settings: JobSettings,
    ) -> None:
        self._pages = SinglePages(web, pages, creation, sessions, admission, jobs)
        self._beginning = Beginning(repository, sessions, creation, web, jobs, job_settings)
        frontiers = KeptFrontiers(repository, sessions, ledger, blobs)
        Crawl(web, pages, admission, frontiers, jobs)

    async def begin(self, principal: Principal, request: CrawlRequest) -> tuple[str, str]:
        """Submit a crawl; answers its job and the session that the pages come to.

        The job's result says what became of the pages; `ingest_jobs` in it take them in.
        """
        return await self._beginning.begin(principal, request)

    async def crawled(self, job_id: str, wait: float) -> Crawled:
        """The crawl as it stands after so many seconds, its pages taken in if that was enough."""
        return await self._beginning.crawled(job_id, wait)

    async def content(
        self,
        principal: Principal,
        url: str,
        *,
        session: bool = False,
        chunk_size: int | None = None,
        wait: float = WAIT_SECONDS,
    ) -> WebContent:
        """What a page says. With `session`, it is kept in a new session, and its chunks with it."""
        return await self._pages.content(
            principal, url, session=session, chunk_size=chunk_size, wait=wait
        )

    async def structure(
        self,
        principal: Principal,
        url: str,
        *,
        session: bool = False,
        chunk_size: int | None = None,
        wait: float = WAIT_SECONDS,
    ) -> WebStructure:
        """How a page is built. With `session`, that is kept in a new session, as JSON."""
        return await self._pages.structure(
            principal, url, session=session, chunk_size=chunk_size, wait=wait
        )
