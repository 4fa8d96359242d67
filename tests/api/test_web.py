"""The web over HTTP: pages, how they are built, crawls, and documents that are fetched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from quire.settings import EmbeddingSettings, WebSettings
from tests.api.service import Service, assert_problem, guarded, serving
from tests.web.site import Answer, Site, about, website

if TYPE_CHECKING:
    from tests.api.service import Caller

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    settings = guarded(
        tmp_path_factory.mktemp("web"),
        web=WebSettings(allow="127.0.0.1:*", delay_seconds=0, page_bytes=50_000, page_seconds=2),
        embedding=EmbeddingSettings(provider="fake", dimension=16),
    )
    async with serving(settings) as service:
        yield service


@pytest.fixture
def ada(service: Service) -> Caller:
    return service.as_("ada")


@pytest_asyncio.fixture(loop_scope="module")
async def site() -> AsyncIterator[Site]:
    async with website() as site:
        site.page("/", "/a", "/b", title="Start")
        site.page("/a")
        yield site


async def test_a_page_is_answered_or_kept(ada: Caller, site: Site) -> None:
    page = (await ada.post("/web/content", {"url": site.url()})).json()
    assert (page["title"], page["text"]) == ("Start", f"# Start\n\n{about('/')}")
    assert page["links"][0] == {
        "url": site.url("/a"),
        "text": "to /a",
        "is_internal": True,
        "rel": [],
    }
    response = await ada.post("/web/content", {"url": site.url(), "session": True})
    kept = response.json()
    assert response.headers["location"] == f"/sessions/{kept['session_id']}"
    assert kept["status"] == "ready"
    assert kept["summary"] == {
        "url": site.url(),
        "total_size_bytes": len(page["text"]),
        "total_chunks": 1,
        "chunk_size": 1_000,
        "chunk_unit": "characters",
    }
    chunk = (await ada.get(f"{response.headers['location']}/chunks/0")).json()
    assert chunk["text"] == page["text"]
    assert kept["preview"] == page["text"][:1_000]


async def test_how_a_page_is_built_is_answered_or_kept(ada: Caller, site: Site) -> None:
    built = (await ada.post("/web/structure", {"url": site.url()})).json()
    assert built["headings"] == [{"level": 1, "text": "Start"}]
    kept = (await ada.post("/web/structure", {"url": site.url(), "session": True})).json()
    assert kept["status"] == "ready"


async def test_a_crawl_is_answered_when_it_is_done(ada: Caller, site: Site) -> None:
    response = await ada.post("/crawls", {"url": site.url(), "depth": 1, "name": "A site"})
    assert response.status_code == 200, response.text
    crawled = response.json()
    assert (crawled["pages"], crawled["failed"], crawled["ended"]) == (2, 1, "done")
    assert crawled["failures"][0]["url"] == site.url("/b")
    session = (await ada.get(f"/sessions/{crawled['session_id']}")).json()
    assert session["name"] == "A site"
    listed = (await ada.get(f"/sessions/{session['id']}/documents")).json()
    assert {document["source_url"] for document in listed} == {site.url(), site.url("/a")}
    again = await ada.post("/crawls", {"url": site.url(), "session_id": session["id"]})
    assert again.json()["unchanged"] == 2


async def test_a_crawl_that_takes_longer_is_a_job(ada: Caller, site: Site) -> None:
    response = await ada.post("/crawls", {"url": site.url()}, headers={"Prefer": "wait=0"})
    assert response.status_code == 202
    job = (await ada.get(response.headers["location"])).json()
    assert (job["kind"], job["progress"]["unit"]) in (("crawl", "items"), ("crawl", "pages"))
    done = await ada.post(f"/jobs/{job['id']}/cancel")
    assert done.status_code in (200, 202)


async def test_a_document_is_fetched_from_its_url(ada: Caller, site: Site) -> None:
    session = (await ada.post("/sessions", {"name": "s"})).json()["id"]
    path = f"/sessions/{session}/documents"
    body = {"documents": [{"url": site.url(), "metadata": {"topic": "paper"}}, {"text": "x"}]}
    fetched, sent = (await ada.post(path, body)).json()["documents"]
    assert (fetched["title"], fetched["source_url"]) == ("Start", site.url())
    assert (fetched["metadata"]["topic"], fetched["metadata"]["status"]) == ("paper", 200)
    assert (await ada.get(fetched["links"]["content"])).content.startswith(b"<!doctype html>")
    assert (await ada.get(fetched["links"]["text"])).text.startswith("# Start")
    assert sent["source_url"] is None
    again = (await ada.post(path, body)).json()
    assert [document["duplicate"] for document in again["documents"]] == [True, True]
    typed = {"documents": [{"url": site.url(), "content_type": "text/plain"}]}
    assert_problem(await ada.post(path, typed), 422, "invalid_input")
    missing = {"documents": [{"text": "x"}, {"url": site.url("/missing")}]}
    problem = assert_problem(await ada.post(path, missing), 502, "fetch_failed")
    assert problem["http_status"] == 404
    assert problem["detail"].startswith("documents[1]: ")


@pytest.mark.parametrize("path", ["/web/content", "/web/structure", "/crawls"])
async def test_what_is_not_fetched_is_told(ada: Caller, site: Site, path: str) -> None:
    for url in ("http://localhost:8080/", "http://2130706434:8080/", "http://169.254.169.254/"):
        problem = assert_problem(await ada.post(path, {"url": url}), 422, "address_refused")
        assert "QUIRE_WEB_ALLOW" in problem["recovery"]
    refused = await ada.post(path, {"url": "http://user:secret@example.com/"})
    assert "secret" not in assert_problem(refused, 422, "address_refused")["detail"]
    problem = assert_problem(await ada.post(path, {"url": site.url("/x")}), 502, "fetch_failed")
    assert (problem["cause"], problem["http_status"]) == ("status", 404)
    assert_problem(await ada.post(path, {"url": site.url(), "depht": 1}), 422)
    site.pages["/large"] = Answer(b"x" * 60_000)
    problem = assert_problem(
        await ada.post(path, {"url": site.url("/large")}), 422, "limit_exceeded"
    )
    assert "QUIRE_WEB_PAGE_BYTES" in problem["detail"]
    site.pages["/picture"] = Answer(b"x", type="image/png")
    picture = await ada.post(path, {"url": site.url("/picture")})
    assert_problem(picture, 415, "unsupported_media_type")


async def test_who_may_fetch_and_who_may_keep(service: Service, site: Site) -> None:
    reader = service.as_("ada", scope="read")
    assert (await reader.post("/web/content", {"url": site.url()})).status_code == 200
    for path, body in (("/web/content", {"session": True}), ("/crawls", {})):
        refused = await reader.post(path, {"url": site.url(), **body})
        assert_problem(refused, 403, "forbidden")
    anyone = await service.client.post("/web/content", json={"url": site.url()})
    assert_problem(anyone, 401)
