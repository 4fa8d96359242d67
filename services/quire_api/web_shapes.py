"""The JSON of what comes from the web, in and out."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from quire.content.models import DocumentStatus, SizeUnit
from quire.crawling.content import Kept
from quire.crawling.requests import CrawlRequest, Reach
from quire.web.page import Page
from quire.web.structure import Structure
from quire_api.shapes import Input, Json


class FetchPage(Input):
    """A page that is to be fetched."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"url": "https://example.com/", "session": True}}
    )

    url: str = Field(description="http or https, and public")
    session: StrictBool = Field(
        False, description="keep it in a new session, to read it piece by piece"
    )
    chunk_size: StrictInt | None = Field(None, description="in that session; unset: 1000")


class LinkShape(BaseModel):
    url: str
    text: str
    is_internal: bool = Field(description="to the same host")
    rel: list[str]


class PageShape(BaseModel):
    """What a page says."""

    url: str
    title: str | None
    text: str = Field(description="Markdown: the main text, or all of it where none stands out")
    language: str | None
    author: str | None
    date: str | None
    description: str | None
    canonical_url: str | None
    links: list[LinkShape]
    robots: list[str]


class HeadingShape(BaseModel):
    level: int
    text: str


class FieldShape(BaseModel):
    name: str
    type: str
    is_required: bool


class FormShape(BaseModel):
    action: str
    method: str
    fields: list[FieldShape]


class StructureShape(BaseModel):
    """How a page is built."""

    url: str
    title: str | None
    language: str | None
    headings: list[HeadingShape]
    links: list[LinkShape]
    forms: list[FormShape]
    meta: dict[str, str]
    types: list[str] = Field(description="of its linked data")


class KeptSummaryShape(BaseModel):
    url: str
    total_size_bytes: int
    total_chunks: int
    chunk_size: int
    chunk_unit: SizeUnit


class KeptShape(BaseModel):
    """A page that is kept in a session."""

    session_id: str
    document_id: str
    job_id: str | None
    status: DocumentStatus
    summary: KeptSummaryShape
    preview: str


class BeginCrawl(Input):
    """A crawl."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "url": "https://example.com/docs/",
                "depth": 2,
                "max_pages": 100,
                "reach": "prefix",
                "exclude": ["/docs/old/*"],
            }
        }
    )

    url: str = Field(description="where it begins")
    session_id: str | None = Field(None, description="unset: a new session is made")
    name: str | None = Field(None, description="of the new session; unset: the host")
    depth: StrictInt = Field(2, description="links from where it begins")
    max_pages: StrictInt = 50
    max_bytes: StrictInt | None = Field(None, description="of all pages; unset: what is allowed")
    reach: Reach = Field(Reach.HOST, description="the host, its names below, or its folder")
    include: list[str] = Field([], description="patterns of paths, `/docs/*`; unset: all")
    exclude: list[str] = Field([], description="patterns of paths that are left out")
    use_sitemap: StrictBool = Field(False, description="begin also at what sitemaps list")
    chunk_size: StrictInt | None = Field(None, description="unset: the session's, or 1000")
    chunk_unit: SizeUnit | None = None

    def request(self) -> CrawlRequest:
        given = self.model_dump()
        return CrawlRequest(
            **{**given, "include": tuple(self.include), "exclude": tuple(self.exclude)}
        )


class CrawledShape(BaseModel):
    """A crawl that is done; each of its pages is a document of the session."""

    job_id: str
    session_id: str
    url: str
    ended: str = Field(description="done, max_pages, max_bytes or max_visits")
    pages: int
    unchanged: int = Field(description="of them, the session had so many as they are")
    bytes: int
    failed: int
    duplicates: int
    refused_by_robots: int
    noindex: int
    elsewhere: int = Field(description="led off the site, or where it lets no robots")
    unreadable: int = Field(description="pictures and the like")
    left_out: int = Field(description="links beyond those that a crawl remembers")
    waiting: int = Field(description="addresses that it did not come to")
    failures: list[Json] = Field(description="the first 100, each with its url and error")
    ingest_jobs: list[str] = Field(description="the jobs that take the pages in")


def page_shape(page: Page) -> Json:
    return page.as_json()


def structure_shape(structure: Structure) -> Json:
    return structure.as_json()


def kept_shape(kept: Kept) -> Json:
    return {
        "session_id": kept.session_id,
        "document_id": kept.document_id,
        "job_id": kept.job_id,
        "status": kept.status.value,
        "summary": {
            "url": kept.url,
            "total_size_bytes": kept.total_size_bytes,
            "total_chunks": kept.total_chunks,
            "chunk_size": kept.chunk_size,
            "chunk_unit": kept.chunk_unit.value,
        },
        "preview": kept.preview,
    }


def crawled_shape(job_id: str, result: Any) -> Json:
    return {"job_id": job_id, **result}
