"""One page: read, or kept in a session of its own for those who read it piece by piece."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import orjson

from quire.access.principal import Principal
from quire.content.admission import Admission, Admitted
from quire.content.models import DocumentStatus, SizeUnit
from quire.content.sources import IngestOptions, Source
from quire.content.web_pages import WebPages, source_of
from quire.crawling.canonical import canonical, page_id
from quire.errors import QuireError
from quire.jobs.port import Jobs
from quire.sessions.creation import Creation
from quire.sessions.requests import NewSession
from quire.sessions.sessions import Sessions
from quire.web.address import parse
from quire.web.page import Page
from quire.web.structure import Structure
from quire.web.web import Web

PREVIEW_CHARS = 1_000
SESSION_NAME_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Where a page is kept, and how much of it there is."""

    session_id: str
    document_id: str
    job_id: str | None
    status: DocumentStatus
    url: str
    total_size_bytes: int
    """Of its text, in UTF-8."""
    total_chunks: int
    """0 as long as the job is not done."""
    chunk_size: int
    chunk_unit: SizeUnit
    preview: str
    """How its text begins."""


@dataclass(frozen=True, slots=True)
class WebContent:
    """What a page says, and where it is kept, if it was to be."""

    page: Page
    kept: Kept | None = None


@dataclass(frozen=True, slots=True)
class WebStructure:
    """How a page is built, and where that is kept, if it was to be."""

    structure: Structure
    kept: Kept | None = None


class SinglePages:
    """Fetches a page on behalf of a caller."""

    def __init__(
        self,
        web: Web,
        pages: WebPages,
        creation: Creation,
        sessions: Sessions,
        admission: Admission,
        jobs: Jobs,
    ) -> None:
        self._web = web
        self._pages = pages
        self._creation = creation
        self._sessions = sessions
        self._admission = admission
        self._jobs = jobs

    async def content(
        self,
        principal: Principal,
        url: str,
        *,
        session: bool,
        chunk_size: int | None,
        wait: float,
    ) -> WebContent:
        fetched, page = await self._pages.fetch(url)
        if not session:
            return WebContent(page)
        known = str(canonical(parse(fetched.final_url)))
        template = Source(content=None, id=page_id(known), source_url=fetched.url)
        source = source_of(fetched, page, template)
        kept = await self._keep(principal, source, page.text, chunk_size, wait)
        return WebContent(page, kept)

    async def structure(
        self,
        principal: Principal,
        url: str,
        *,
        session: bool,
        chunk_size: int | None,
        wait: float,
    ) -> WebStructure:
        structure = await self._pages.structure(await self._web.fetch(url))
        if not session:
            return WebStructure(structure)
        text = orjson.dumps(structure.as_json(), option=orjson.OPT_INDENT_2)
        source = Source(
            content=text,
            content_type="application/json",
            title=structure.title,
            source_url=structure.url,
        )
        kept = await self._keep(principal, source, text.decode(), chunk_size, wait)
        return WebStructure(structure, kept)

    async def _keep(
        self, principal: Principal, source: Source, text: str, chunk_size: int | None, wait: float
    ) -> Kept:
        url = source.source_url or ""
        name = (source.title or urlsplit(url).netloc)[:SESSION_NAME_CHARS]
        new = NewSession(name=name, metadata={"source_url": url})
        session, _ = await self._creation.create(principal, new)
        options = IngestOptions(chunk_size=chunk_size)
        at = replace(source, at="the page")
        try:
            admitted = await self._admission.admit(principal, session.id, [at], options)
        except QuireError:
            # A session that nobody has heard of would stay for ever.
            await self._sessions.delete_for_good(principal, session.id)
            raise
        if admitted.job_id is not None:
            await self._jobs.wait(admitted.job_id, wait)
        return _kept(await self._admission.current(session.id, admitted), url, text)


def _kept(admitted: Admitted, url: str, text: str) -> Kept:
    (document,) = admitted.documents
    return Kept(
        session_id=document.session_id,
        document_id=document.id,
        job_id=admitted.job_id,
        status=document.status,
        url=url,
        total_size_bytes=len(text.encode(errors="replace")),
        total_chunks=document.chunks_count,
        chunk_size=document.chunking.size,
        chunk_unit=document.chunking.unit,
        preview=text[:PREVIEW_CHARS],
    )
