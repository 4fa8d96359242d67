"""One page: read as browsers read it, and kept in a session where that is asked for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from quire.content.sources import IngestOptions, Source
from quire.errors import AddressRefused, FetchFailed, InvalidInput, LimitExceeded, UnsupportedMedia
from quire.settings import WebSettings
from tests.content.extraction.make_golden import GOLDEN
from tests.content.house import chunks, filled_quire, finished, text_of
from tests.sessions.house import ADA, create, finish_purges
from tests.web.site import HTML, Answer, Site, about, html, website

if TYPE_CHECKING:
    from quire.app import Quire

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quire]:
    web = WebSettings(allow="127.0.0.1:*", page_bytes=2_000_000)
    async with filled_quire(tmp_path_factory.mktemp("content"), web=web) as quire:
        yield quire


@pytest_asyncio.fixture(loop_scope="module")
async def site() -> AsyncIterator[Site]:
    async with website() as site:
        yield site


async def session_count(quire: Quire) -> int:
    census = await quire.repository.census()
    return sum(census.values())


async def test_a_page_is_read_and_leaves_nothing(quire: Quire, site: Site) -> None:
    site.page("/", "/a", title="Binding")
    before = await session_count(quire)
    found = await quire.crawling.content(ADA, site.url())
    assert found.kept is None
    assert (found.page.title, found.page.text) == ("Binding", f"# Binding\n\n{about('/')}")
    assert [link.url for link in found.page.links] == [site.url("/a")]
    assert await session_count(quire) == before


async def test_a_page_is_kept_in_a_session_to_be_read_piece_by_piece(
    quire: Quire, site: Site
) -> None:
    paragraphs = "</p><p>".join(about(f"/{n}") for n in range(40))
    site.page("/long", title="A long page", text=paragraphs)
    found = await quire.crawling.content(ADA, site.url("/long"), session=True, chunk_size=500)
    kept = found.kept
    assert kept is not None
    assert kept.status == "ready"
    assert kept.total_size_bytes == len(found.page.text.encode())
    assert kept.chunk_size == 500
    assert kept.preview == found.page.text[:1_000]
    read = await chunks(quire, kept.session_id)
    assert len(read) == kept.total_chunks > 10
    assert "".join(chunk.text for chunk in read) == found.page.text
    session = await quire.sessions.get(ADA, kept.session_id)
    assert session.name == "A long page"
    assert session.metadata["source_url"] == kept.url == site.url("/long")


async def test_how_a_page_is_built_is_told_and_kept(quire: Quire, site: Site) -> None:
    site.page("/", "/a", title="Binding")
    told = await quire.crawling.structure(ADA, site.url())
    assert [heading.text for heading in told.structure.headings] == ["Binding"]
    kept = (await quire.crawling.structure(ADA, site.url(), session=True)).kept
    assert kept is not None
    text = await text_of(quire, kept.session_id, kept.document_id)
    assert json.loads(text)["headings"] == [{"level": 1, "text": "Binding"}]
    assert kept.status == "ready"
    site.pages["/text"] = Answer(b"plain", type="text/plain")
    with pytest.raises(UnsupportedMedia, match="only HTML"):
        await quire.crawling.structure(ADA, site.url("/text"))


@pytest.mark.parametrize(
    ("type_", "body", "is_there"),
    [
        (HTML, html("Größe", about("ä")), "Größe"),
        ("text/html", html("Größe", about("ä")), "Größe"),
        ("text/html; charset=iso-8859-1", html("Größe", "x").decode().encode("latin-1"), "Größe"),
        ("text/html", b"\xff\xfe" + html("Größe", "x").decode().encode("utf-16-le"), "Größe"),
        (
            "text/html",
            html("Имя", "x", head="<meta charset=koi8-r>").decode().encode("koi8-r"),
            "Имя",
        ),
        ("text/html; charset=no-such-charset", html("Größe", about("ä")), "Größe"),
        ("text/html; charset=utf-8", html("Gr\x00", "x") + b"\xff\xfe\xc3", "Gr"),
        ("text/plain; charset=utf-8", b"caf\xe9", "caf\ufffd"),
        ("text/plain; charset=utf-7", b"plain", "plain"),
        (None, html("Unsaid", about("x")), "Unsaid"),
        ("application/octet-stream", html("Unsaid", about("x")), "Unsaid"),
        ("application/pdf", (GOLDEN / "report.pdf").read_bytes(), "Annual report"),
    ],
)
async def test_whatever_a_page_is_written_in_it_is_read(
    quire: Quire, site: Site, type_: str | None, body: bytes, is_there: str
) -> None:
    site.pages["/"] = Answer(body, type=type_)
    page = (await quire.crawling.content(ADA, site.url())).page
    assert is_there in f"{page.title} {page.text}"


async def test_a_page_that_breaks_its_reader_breaks_nothing_else(quire: Quire, site: Site) -> None:
    site.pages["/"] = Answer(b"<div><p>" * 200_000 + b"deep")
    page = (await quire.crawling.content(ADA, site.url())).page
    assert "deep" in page.text


@pytest.mark.parametrize("session", [False, True])
async def test_what_cannot_be_fetched_makes_no_session(
    quire: Quire, site: Site, session: bool
) -> None:
    before = await session_count(quire)
    site.pages["/picture"] = Answer(b"x", type="image/png")
    site.pages["/large"] = Answer(b"x", headers={"Content-Length": "99999999"})
    for url, error in (
        (site.url("/missing"), FetchFailed),
        (site.url("/picture"), UnsupportedMedia),
        (site.url("/large"), LimitExceeded),
        ("http://169.254.169.254/", AddressRefused),
    ):
        with pytest.raises(error):
            await quire.crawling.content(ADA, url, session=session)
    assert await session_count(quire) == before


async def test_a_session_that_cannot_be_filled_does_not_stay(quire: Quire, site: Site) -> None:
    site.page("/")
    before = await session_count(quire)
    with pytest.raises(InvalidInput, match="chunk_size"):
        await quire.crawling.content(ADA, site.url(), session=True, chunk_size=0)
    await finish_purges(quire)
    assert await session_count(quire) == before


# -- documents that are fetched


async def test_a_document_can_be_named_by_its_url_alone(quire: Quire, site: Site) -> None:
    site.page("/", title="Binding")
    site.redirect("/moved", "/")
    session = await create(quire)
    sources = [
        Source(content=None, source_url=site.url("/moved"), metadata={"topic": "paper"}),
        Source(content=b"Some text.", source_url="http://10.0.0.1/never-fetched"),
        Source(content=None, source_url=site.url("/"), id="mine", title="My title"),
    ]
    admitted = await quire.admission.admit(ADA, session.id, sources, IngestOptions())
    assert admitted.job_id is not None
    await finished(quire, admitted.job_id)
    first, second, third = (await quire.admission.current(session.id, admitted)).documents
    assert (first.title, first.source_url) == ("Binding", site.url("/moved"))
    assert first.metadata["final_url"] == site.url("/")
    assert (first.metadata["topic"], first.metadata["status"]) == ("paper", 200)
    assert await text_of(quire, session.id, first.id) == f"# Binding\n\n{about('/')}"
    raw = [block async for block in quire.documents.raw(first, 0, first.raw.size)]
    assert b"".join(raw) == html("Binding", about("/"))
    assert second.source_url == "http://10.0.0.1/never-fetched"
    assert (third.id, third.title) == ("mine", "My title")


async def test_where_one_url_cannot_be_fetched_nothing_is_taken_in(
    quire: Quire, site: Site
) -> None:
    session = await create(quire)
    for url, error in (("http://10.0.0.1/", AddressRefused), (site.url("/x"), FetchFailed)):
        sources = [Source(content=b"Some text."), Source(content=None, source_url=url)]
        with pytest.raises(error) as refused:
            await quire.admission.admit(ADA, session.id, sources, IngestOptions())
        assert refused.value.message.startswith("documents[1]: ")
    many = [Source(content=None, source_url=site.url("/"))] * 21
    with pytest.raises(LimitExceeded, match="At most 20"):
        await quire.admission.admit(ADA, session.id, many, IngestOptions())
    assert not (await quire.documents.page(ADA, session.id)).documents
