"""A crawl goes as far as it is asked to and as it is let, and keeps each page once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from quire.crawling.requests import CrawlRequest, Reach
from quire.errors import (
    AddressRefused,
    FetchFailed,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    SessionNotFound,
)
from quire.jobs.failures import revive
from quire.jobs.port import JobFilter
from quire.settings import WebSettings
from tests.content.house import filled_quire, finished, text_of
from tests.sessions.house import ADA, ALAN, create, person
from tests.web.site import Answer, Site, about, html, website

if TYPE_CHECKING:
    from quire.access.principal import Principal
    from quire.app import Quire
    from quire.content.models import Document

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quire]:
    settings = WebSettings(
        allow="127.0.0.1:*", delay_seconds=0, crawl_pages=200, page_bytes=100_000, page_seconds=5
    )
    async with filled_quire(tmp_path_factory.mktemp("crawl"), web=settings) as quire:
        yield quire


@pytest_asyncio.fixture(loop_scope="module")
async def site() -> AsyncIterator[Site]:
    async with website() as site:
        yield site


async def crawl(quire: Quire, url: str, who: Principal = ADA, **asked: Any) -> dict[str, Any]:
    """Crawl, wait until every page is taken in, and answer the result."""
    job_id, session_id = await quire.crawling.begin(who, CrawlRequest(url=url, **asked))
    crawled = await quire.crawling.crawled(job_id, 60)
    assert crawled.job.status == "succeeded", crawled.job
    assert crawled.is_taken_in
    assert crawled.job.result is not None
    assert crawled.job.result["session_id"] == crawled.job.session_id == session_id
    return dict(crawled.job.result)


async def failed(quire: Quire, url: str) -> None:
    """Crawl, and raise what the job failed with."""
    job_id, _ = await quire.crawling.begin(ADA, CrawlRequest(url=url))
    job = await finished(quire, job_id, "failed")
    assert job.error is not None
    raise revive(job.error)


async def documents(quire: Quire, session_id: str) -> dict[str, Document]:
    page = await quire.documents.page(ADA, session_id, limit=500)
    return {document.source_url or "": document for document in page.documents}


async def test_each_page_becomes_a_document_that_says_where_it_is_from(
    quire: Quire, site: Site
) -> None:
    site.page("/", "/a?utm_source=x#top", "/a", title="Start")
    site.page("/a", "/", "/b")
    site.page("/b")
    result = await crawl(quire, site.url())
    assert (result["pages"], result["ended"], result["failed"]) == (3, "done", 0)
    found = await documents(quire, result["session_id"])
    assert set(found) == {site.url("/"), site.url("/a"), site.url("/b")}
    start, last = found[site.url("/")], found[site.url("/b")]
    assert (start.title, start.media_type) == ("Start", "text/html; charset=utf-8")
    assert start.raw.size == len(html("Start", about("/"), "/a?utm_source=x#top", "/a"))
    assert last.metadata["depth"] == 2
    assert last.metadata["status"] == 200
    assert {"url", "final_url", "fetched_at"} <= last.metadata.keys()
    text = await text_of(quire, result["session_id"], last.id)
    assert text == f"# Page /b\n\n{about('/b')}"
    session = await quire.sessions.get(ADA, result["session_id"])
    assert (session.name, session.metadata["source_url"]) == ("127.0.0.1", site.url("/"))


async def test_it_goes_no_deeper_and_takes_no_more_than_asked(quire: Quire, site: Site) -> None:
    for n in range(30):
        site.page(f"/{n}", f"/{n + 1}")
    assert (await crawl(quire, site.url("/0"), depth=0))["pages"] == 1
    assert (await crawl(quire, site.url("/0"), depth=3))["pages"] == 4
    result = await crawl(quire, site.url("/0"), depth=10, max_pages=5)
    assert (result["pages"], result["ended"]) == (5, "max_pages")
    size = len(html("Page /0", about("/0"), "/1"))
    result = await crawl(quire, site.url("/0"), depth=10, max_bytes=2 * size + 1)
    assert (result["pages"], result["ended"]) == (3, "max_bytes")


async def test_a_calendar_without_end_comes_to_an_end(quire: Quire, site: Site) -> None:
    def calendar(asked: Any) -> Answer:
        day = int(asked.target.rpartition("=")[2] or 0)
        return Answer(html(f"Day {day}", about(str(day)), f"/?day={day + 1}", "/deeper/" * 9))

    site.pages["/"] = calendar
    result = await crawl(quire, site.url("/?day=0"), depth=10, max_pages=8)
    assert (result["pages"], result["ended"]) == (8, "max_pages")


async def test_a_site_with_little_to_keep_is_not_asked_for_ever(quire: Quire, site: Site) -> None:
    site.page("/", *(f"/missing/{n}" for n in range(80)))
    result = await crawl(quire, site.url(), max_pages=5)
    assert (result["pages"], result["failed"], result["ended"]) == (1, 49, "max_visits")


async def test_it_stays_on_the_site(quire: Quire, site: Site) -> None:
    async with website() as other:
        other.page("/")
        site.page("/docs/", "/docs/a", "/blog", other.url("/"), "http://10.0.0.1/", "/docs/out")
        site.page("/docs/a", "http://169.254.169.254/latest/meta-data/")
        site.page("/blog")
        site.redirect("/docs/out", other.url("/"))
        result = await crawl(quire, site.url("/docs/"), reach=Reach.PREFIX)
    assert (result["pages"], result["elsewhere"], result["failed"]) == (2, 1, 0)
    assert not other.asked
    assert "/blog" not in site.paths()


async def test_what_cannot_be_had_is_told_and_the_others_are_kept(quire: Quire, site: Site) -> None:
    site.page("/", "/in", "/missing", "/picture", "/large")
    site.redirect("/in", "http://192.168.0.1/")
    site.pages["/picture"] = Answer(b"x", type="image/png")
    site.pages["/large"] = Answer(b"x" * 200_000)
    result = await crawl(quire, site.url())
    assert (result["pages"], result["unreadable"], result["elsewhere"]) == (1, 1, 1)
    told = {failure["url"]: failure["error"] for failure in result["failures"]}
    assert told.keys() == {site.url("/missing"), site.url("/large")}
    assert "status 404" in told[site.url("/missing")]["message"]
    assert told[site.url("/large")]["code"] == "limit_exceeded"


async def test_patterns_say_which_pages_are_wanted(quire: Quire, site: Site) -> None:
    site.page("/", "/docs/a", "/docs/old/b", "/blog/c", "/docs/x.zip")
    site.page("/docs/a")
    result = await crawl(quire, site.url(), include=("/docs/*",), exclude=("/docs/old/*",))
    assert result["pages"] == 2
    assert set(site.paths()) == {"/robots.txt", "/", "/docs/a"}


async def test_what_robots_txt_does_not_allow_is_not_asked_for(quire: Quire, site: Site) -> None:
    robots = b"User-agent: quire\nDisallow: /private\n\nUser-agent: *\nDisallow: /"
    site.pages["/robots.txt"] = Answer(robots, type="text/plain")
    site.page("/", "/private/a", "/open", "/sneaky")
    site.page("/private/a")
    site.page("/open")
    site.redirect("/sneaky", "/private/a")
    result = await crawl(quire, site.url())
    assert (result["pages"], result["refused_by_robots"], result["elsewhere"]) == (2, 1, 1)
    assert "/private/a" not in site.paths()
    assert site.paths().count("/robots.txt") == 1
    with pytest.raises(FetchFailed, match=r"robots\.txt"):
        await failed(quire, site.url("/private/a"))


async def test_of_a_site_whose_robots_txt_fails_nothing_is_fetched(
    quire: Quire, site: Site
) -> None:
    site.pages["/robots.txt"] = Answer(b"", 503)
    site.page("/")
    with pytest.raises(FetchFailed, match="status 503"):
        await failed(quire, site.url())
    assert site.paths() == ["/robots.txt"]


async def test_it_waits_as_long_as_the_site_asks(quire: Quire, site: Site) -> None:
    robots = b"User-agent: *\nCrawl-delay: 0.3"
    site.pages["/robots.txt"] = Answer(robots, type="text/plain")
    times: list[float] = []

    def page(asked: Any) -> Answer:
        times.append(time.monotonic())
        return Answer(html("P", about(asked.path), "/a", "/b"))

    for path in ("/", "/a", "/b"):
        site.pages[path] = page
    await crawl(quire, site.url())
    assert min(later - earlier for earlier, later in pairwise(times)) > 0.28


async def test_what_pages_ask_of_robots_is_respected(quire: Quire, site: Site) -> None:
    noindex = '<meta name=robots content="noindex">'
    site.pages["/"] = Answer(
        html("Start", about("/"), "/a", "/b", "/none").replace(
            b"<ul>", b"<ul><a rel='ugc nofollow' href=/never>x</a>"
        )
    )
    site.pages["/a"] = Answer(html("A", about("/a"), "/from-a", head=noindex))
    site.page("/from-a")
    body = html("B", about("/b"), "/from-b")
    site.pages["/b"] = Answer(body, headers={"X-Robots-Tag": "nofollow"})
    site.pages["/none"] = Answer(html("N", about("/n"), "/x"), headers={"X-Robots-Tag": "none"})
    result = await crawl(quire, site.url())
    assert (result["pages"], result["noindex"]) == (3, 2)
    assert not {"/never", "/from-b", "/x"} & set(site.paths())


async def test_each_page_is_kept_once_whatever_it_is_called(quire: Quire, site: Site) -> None:
    canonical = '<link rel=canonical href="/real">'
    site.page("/", "/copy", "/same", "/alias", "/old", "/real?utm_source=x")
    site.page("/real")
    site.pages["/copy"] = Answer(html("Real", about("/real") + " And.", head=canonical))
    site.pages["/same"] = Answer(html("Start", about("/same")))
    site.pages["/alias"] = Answer(html("Start", about("/same"), "/other-links"))
    site.redirect("/old", "/real")
    result = await crawl(quire, site.url())
    found = await documents(quire, result["session_id"])
    assert set(found) == {site.url("/"), site.url("/real"), site.url("/same")}
    assert result["duplicates"] == 3


async def test_sitemaps_lead_where_no_link_does(quire: Quire, site: Site) -> None:
    site.pages["/robots.txt"] = Answer(
        f"Sitemap: {site.url('/index.xml')}\nSitemap: /missing.xml".encode(), type="text/plain"
    )
    index = f"<sitemapindex><loc>{site.url('/pages.xml')}</loc></sitemapindex>".encode()
    site.pages["/index.xml"] = Answer(index, type="application/xml")
    listed = "".join(
        f"<url><loc>{url}</loc></url>"
        for url in (site.url("/hidden"), "http://10.0.0.1/", "nonsense", site.url("/"))
    )
    site.pages["/pages.xml"] = Answer(f"<urlset>{listed}</urlset>".encode(), type="text/xml")
    site.page("/")
    site.page("/hidden")
    assert (await crawl(quire, site.url()))["pages"] == 1
    result = await crawl(quire, site.url(), use_sitemap=True)
    assert (result["pages"], result["failed"]) == (2, 0)


async def test_a_second_crawl_renews_what_has_changed_and_nothing_else(
    quire: Quire, site: Site
) -> None:
    site.page("/", "/a", "/b")
    site.page("/a")
    site.page("/b")
    session = await create(quire)
    first = await crawl(quire, site.url(), session_id=session.id)
    assert (first["pages"], first["unchanged"]) == (3, 0)
    site.page("/a", text=about("/a") + " And it says something new.")
    second = await crawl(quire, site.url(), session_id=session.id)
    assert (second["pages"], second["unchanged"]) == (3, 2)
    found = await documents(quire, session.id)
    assert {url: document.revision for url, document in found.items()} == {
        site.url("/"): 1,
        site.url("/a"): 2,
        site.url("/b"): 1,
    }
    assert "something new" in await text_of(quire, session.id, found[site.url("/a")].id)


async def test_other_things_than_html_are_read_too(quire: Quire, site: Site) -> None:
    site.page("/", "/notes.txt", "/data.json", "/bad.txt")
    site.pages["/notes.txt"] = Answer(b"Some notes.", type="text/plain")
    site.pages["/data.json"] = Answer(b'{"a": 1}', type="application/json")
    site.pages["/bad.txt"] = Answer(b"caf\xe9 \xff\xfe", type="text/plain; charset=utf-8")
    result = await crawl(quire, site.url())
    found = await documents(quire, result["session_id"])
    assert result["pages"] == 4
    assert found[site.url("/notes.txt")].media_type == "text/plain"
    bad = await text_of(quire, result["session_id"], found[site.url("/bad.txt")].id)
    assert bad == "caf\ufffd \ufffd\ufffd"


async def test_it_is_cancelled_within_seconds_however_slow_the_site_is(
    quire: Quire, site: Site
) -> None:
    async def never(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    site.page("/", "/slow")
    site.pages["/slow"] = never
    job_id, session_id = await quire.crawling.begin(ADA, CrawlRequest(url=site.url()))
    while "/slow" not in site.paths():
        await asyncio.sleep(0.02)
    began = time.monotonic()
    await quire.jobs.cancel(job_id)
    await finished(quire, job_id, "cancelled")
    assert time.monotonic() - began < 3
    for job in await quire.jobs.find(JobFilter(session_id=session_id, kind="ingest")):
        await finished(quire, job.id)
    # What was handed over before stays.
    assert set(await documents(quire, session_id)) == {site.url("/")}


async def test_a_site_that_cannot_be_had_is_no_crawl(quire: Quire, site: Site) -> None:
    with pytest.raises(FetchFailed, match="status 404"):
        await failed(quire, site.url("/missing"))


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"url": "http://10.0.0.1/"}, AddressRefused),
        ({"url": "http://localhost/"}, AddressRefused),
        ({"url": "ftp://example.com/"}, AddressRefused),
        ({"depth": -1}, InvalidInput),
        ({"depth": 99}, LimitExceeded),
        ({"max_pages": 0}, InvalidInput),
        ({"max_pages": 201}, LimitExceeded),
        ({"max_bytes": 10**12}, LimitExceeded),
        ({"include": ("",)}, InvalidInput),
        ({"exclude": ("/a",) * 51}, LimitExceeded),
        ({"session_id": "no-such-session"}, SessionNotFound),
    ],
)
async def test_what_cannot_be_is_told_before_anything_is_made(
    quire: Quire, asked: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await quire.crawling.begin(ADA, CrawlRequest(**{"url": "http://127.0.0.1:9/", **asked}))


async def test_pages_come_only_where_the_caller_may_write(quire: Quire, site: Site) -> None:
    site.page("/", *(f"/{n}" for n in range(30)))
    session = await create(quire)
    with pytest.raises(SessionNotFound):
        await quire.crawling.begin(ALAN, CrawlRequest(url=site.url(), session_id=session.id))
    reader = person("ada", scope=ADA.scope.READ)
    with pytest.raises(Forbidden):
        await quire.crawling.begin(reader, CrawlRequest(url=site.url(), session_id=session.id))


async def test_rights_that_are_taken_away_end_the_crawl(quire: Quire, site: Site) -> None:
    waits = asyncio.Event()

    async def slow(writer: asyncio.StreamWriter) -> None:
        await waits.wait()
        body = html("Slow", about("/slow"))
        writer.write(
            b"HTTP/1.1 200 X\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        writer.write(body)

    site.page("/", "/slow")
    site.pages["/slow"] = slow
    job_id, session_id = await quire.crawling.begin(ADA, CrawlRequest(url=site.url()))
    while "/slow" not in site.paths():
        await asyncio.sleep(0.02)
    await quire.sessions.delete(ADA, session_id)
    waits.set()
    job = await finished(quire, job_id, "failed")
    assert job.error is not None
    assert job.error["code"] in ("expired", "session_not_found", "conflict")
