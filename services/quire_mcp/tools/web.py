"""The web: what a page says, how it is built, and whole sites, kept where they are large."""

from __future__ import annotations

import time
from typing import Annotated, Any, NotRequired, cast

from pydantic import Field
from typing_extensions import TypedDict

from quire.access import policy
from quire.content.models import ChunkSettings
from quire.crawling.content import Kept
from quire.crawling.requests import CrawlRequest
from quire.errors import Forbidden
from quire_mcp.arguments import ChunkSize, SessionId
from quire_mcp.callers import caller
from quire_mcp.shapes import call
from quire_mcp.toolbox import Toolbox
from quire_mcp.waiting import Wait, followed

PREVIEW_CHARS = 1_000

Url = Annotated[
    str,
    Field(description="http or https, and public.", examples=["https://example.com/archive"]),
]
KeepIt = Annotated[
    bool,
    Field(
        description="True: keep it in a new session and answer its id; better for what is large."
    ),
]


class Summary(TypedDict):
    url: str
    total_size_bytes: int
    total_chunks: int
    chunk_size: int


class KeptAnswer(TypedDict):
    """Where it is kept, how much of it there is, and how it begins."""

    session_id: NotRequired[str]
    status: NotRequired[Annotated[str, Field(description="success, or running.")]]
    summary: NotRequired[Summary]
    preview: NotRequired[str]
    next: str


class ContentAnswer(KeptAnswer):
    """What a page says; or with session=true, where that is kept."""

    url: NotRequired[str]
    title: NotRequired[str | None]
    text: NotRequired[Annotated[str, Field(description="Its main text, as Markdown.")]]
    language: NotRequired[str | None]
    date: NotRequired[str | None]
    is_cut: NotRequired[bool]


class StructureAnswer(KeptAnswer):
    """How a page is built; or with session=true, where that is kept."""

    url: NotRequired[str]
    title: NotRequired[str | None]
    language: NotRequired[str | None]
    headings: NotRequired[list[dict[str, Any]]]
    links: NotRequired[list[dict[str, Any]]]
    forms: NotRequired[list[dict[str, Any]]]
    meta: NotRequired[dict[str, Any]]
    types: NotRequired[list[str]]
    is_cut: NotRequired[bool]


class CrawlAnswer(KeptAnswer):
    """Where a site is kept."""

    text: NotRequired[Annotated[str, Field(description="With session=false: how it begins.")]]


def offer(toolbox: Toolbox) -> None:
    """The tools of this module."""
    quire, budget = toolbox.quire, toolbox.budget

    @toolbox.may_write("Read a web page", open_world=True)
    async def get_content(
        url: Url, session: KeepIt = False, chunk_size: ChunkSize = None
    ) -> ContentAnswer:
        """The main text of a web page, without what surrounds it."""
        principal = caller().principal
        _require_writing(toolbox, session)
        found = await quire.crawling.content(principal, url, session=session, chunk_size=chunk_size)
        if found.kept is not None:
            return cast("ContentAnswer", _kept(toolbox, found.kept))
        page = found.page

        def built(characters: int) -> ContentAnswer:
            is_cut = characters < len(page.text)
            following = "This is all of it."
            if is_cut:
                kept = call("get_content", url=url, session=True)
                following = f"There is more: {kept} keeps it all, to be read by chunks."
            return {
                "url": page.url,
                "title": page.title,
                "text": page.text[:characters],
                "language": page.language,
                "date": page.date,
                "is_cut": is_cut,
                "next": following,
            }

        return budget.fit(len(page.text), built)

    @toolbox.may_write("See how a page is built", open_world=True)
    async def get_structure(
        url: Url, session: KeepIt = False, chunk_size: ChunkSize = None
    ) -> StructureAnswer:
        """A web page's title, headings, links, forms and metadata."""
        principal = caller().principal
        _require_writing(toolbox, session)
        found = await quire.crawling.structure(
            principal, url, session=session, chunk_size=chunk_size
        )
        if found.kept is not None:
            return cast("StructureAnswer", _kept(toolbox, found.kept))
        told = found.structure.as_json()
        lists = ("headings", "links", "forms")
        most = max(len(told["meta"]), *(len(told[name]) for name in lists))

        def built(count: int) -> StructureAnswer:
            is_cut = count < most
            following = "This is all of it. get_content(url) has what it says."
            if is_cut:
                kept = call("get_structure", url=url, session=True)
                following = f"Each list is cut at {count}; {kept} keeps it all."
            return {
                "url": told["url"],
                "title": told["title"],
                "language": told["language"],
                "headings": list(told["headings"][:count]),
                "links": list(told["links"][:count]),
                "forms": list(told["forms"][:count]),
                "meta": dict(list(told["meta"].items())[:count]),
                "types": list(told["types"][:count]),
                "is_cut": is_cut,
                "next": following,
            }

        return budget.fit(most, built)

    @toolbox.writes("Crawl a site", open_world=True)
    async def crawl(
        url: Url,
        depth: Annotated[int, Field(description="Links from the first page.", ge=0)] = 2,
        max_pages: Annotated[int, Field(description="At most.", ge=1, examples=[100])] = 50,
        session: Annotated[
            bool,
            Field(description="False: answer the text too, as far as it fits; it is kept anyway."),
        ] = True,
        chunk_size: ChunkSize = None,
        session_id: Annotated[SessionId | None, Field(description="Unset: a new one.")] = None,
        include: Annotated[
            list[str] | None, Field(description="Paths to go to.", examples=[["/docs/*"]])
        ] = None,
        exclude: Annotated[
            list[str] | None, Field(description="Paths to leave out.", examples=[["/docs/old/*"]])
        ] = None,
        use_sitemap: Annotated[bool, Field(description="Begin also at its sitemaps.")] = False,
        wait_seconds: Wait = 120,
    ) -> CrawlAnswer:
        """Read a site, page by page, into a session; each page is a document of it."""
        principal = caller().principal
        request = CrawlRequest(
            url=url,
            session_id=session_id,
            depth=depth,
            max_pages=max_pages,
            include=tuple(include or ()),
            exclude=tuple(exclude or ()),
            use_sitemap=use_sitemap,
            chunk_size=chunk_size,
        )
        until = time.monotonic() + wait_seconds
        job_id, kept_in = await quire.crawling.begin(principal, request)
        await followed(quire, job_id, wait_seconds)
        crawled = await quire.crawling.crawled(job_id, max(0.0, until - time.monotonic()))
        found = await quire.sessions.peek(principal, kept_in)
        held = await quire.holdings.of(principal, kept_in)
        text = ""
        if found.next_seq:
            beginning = await quire.chunks.page(principal, kept_in, limit=50)
            text = "".join(chunk.text for chunk in beginning.chunks)
        answer: CrawlAnswer = {
            "session_id": kept_in,
            "status": "success" if crawled.is_taken_in else "running",
            "summary": {
                "url": url,
                "total_size_bytes": held.bytes,
                "total_chunks": found.chunks_count,
                "chunk_size": chunk_size or ChunkSettings().size,
            },
            "preview": "",
            "next": _after_crawl(kept_in, job_id, crawled.job.result, is_done=crawled.is_taken_in),
        }

        def built(characters: int) -> CrawlAnswer:
            preview = text[: min(characters, PREVIEW_CHARS)]
            if session:
                return {**answer, "preview": preview}
            return {**answer, "preview": preview, "text": text[:characters]}

        return budget.fit(PREVIEW_CHARS if session else len(text), built)


def _kept(toolbox: Toolbox, kept: Kept) -> KeptAnswer:
    first = call("get_session_chunk", session_id=kept.session_id, chunk_index=0)
    following = f"Read it: {first}; find things in it: search_session."
    is_done = kept.total_chunks > 0 or kept.job_id is None
    if not is_done:
        following = f"It goes on by itself: {call('get_job', job_id=kept.job_id)}"

    def built(characters: int) -> KeptAnswer:
        return {
            "session_id": kept.session_id,
            "status": "success" if is_done else "running",
            "summary": {
                "url": kept.url,
                "total_size_bytes": kept.total_size_bytes,
                "total_chunks": kept.total_chunks,
                "chunk_size": kept.chunk_size,
            },
            "preview": kept.preview[:characters],
            "next": following,
        }

    return toolbox.budget.fit(len(kept.preview), built)


def _after_crawl(session_id: str, job_id: str, result: Any, *, is_done: bool) -> str:
    if not is_done:
        return f"It goes on by itself: {call('get_job', job_id=job_id)}"
    following = (
        f"Find something: {call('search_session', session_id=session_id)} with a query, or read "
        f"{call('get_session_chunk', session_id=session_id, chunk_index=0)}"
    )
    if result is None:
        return following
    told = f"{result.get('pages')} pages"
    if result.get("failed"):
        told += f", {result['failed']} could not be read"
    if result.get("waiting"):
        told += f", {result['waiting']} more were known of (max_pages, depth)"
    return f"{told}. {following}"


def _require_writing(toolbox: Toolbox, session: bool) -> None:
    """Only what is kept writes; before anything is fetched."""
    if not session:
        return
    if toolbox.is_read_only:
        raise Forbidden(
            "This server is read-only: it keeps nothing",
            recovery="Call it with session=false.",
        )
    policy.require_writer(caller().principal)
