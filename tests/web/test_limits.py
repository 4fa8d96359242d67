"""Fetching holds to its limits, whatever the other side does."""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib
from typing import Any

import pytest

from quire.errors import AddressRefused, FetchFailed, LimitExceeded, UnsupportedMedia
from quire.settings import WebSettings
from quire.web.web import Web
from tests.web.fetching import web_for
from tests.web.names import Names
from tests.web.site import Answer, Site


async def test_what_is_too_large_is_not_read_to_its_end(site: Site) -> None:
    written = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while written < 50_000_000:
            writer.write(b"x" * 50_000)
            await writer.drain()
            written += 50_000

    site.pages["/endless"] = endless
    site.pages["/said"] = Answer(b"x", headers={"Content-Length": "99999999"})
    async with web_for(site) as web:
        for path in ("/endless", "/said"):
            with pytest.raises(LimitExceeded, match="QUIRE_WEB_PAGE_BYTES"):
                await web.fetch(site.url(path))
    assert written < 20_000_000


def gzip_bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(size >> 20)) + packer.flush()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_bomb_is_defused(site: Site, encoding: str) -> None:
    bomb = gzip_bomb(64 << 20)
    assert len(bomb) < 100_000  # so it comes through, packed
    site.pages["/"] = Answer(bomb, headers={"Content-Encoding": encoding})
    sizes: list[int] = []

    async def read(web: Web) -> None:
        async with web.stream(site.url("/")) as arriving:
            async for block in arriving.blocks:
                sizes.append(len(block))

    async with web_for(site) as web:
        with pytest.raises(LimitExceeded):
            await read(web)
    assert sum(sizes) <= 100_000
    assert max(sizes) <= 64 * 1024


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(b"some text " * 5_000)),
        ("x-gzip", gzip.compress(b"some text " * 2_500) + gzip.compress(b"some text " * 2_500)),
        ("gzip", gzip.compress(b"some text " * 5_000) + b"\0\0\0"),
        ("deflate", zlib.compress(b"some text " * 5_000)),
        ("deflate", zlib.compress(b"some text " * 5_000)[2:-4]),
        ("identity", b"some text " * 5_000),
    ],
    ids=["gzip", "two members", "padded", "zlib", "raw deflate", "identity"],
)
async def test_encodings_are_undone(site: Site, encoding: str, packed: bytes) -> None:
    site.pages["/"] = Answer(packed, headers={"Content-Encoding": encoding})
    async with web_for(site) as web:
        assert (await web.fetch(site.url("/"))).body == b"some text " * 5_000


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b"this is no gzip"),
        ("gzip", gzip.compress(b"broken off" * 1_000)[:-20]),
        ("br", b"not asked for"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"twice"))),
    ],
    ids=["no gzip", "broken off", "not asked for", "twice"],
)
async def test_encodings_that_cannot_be_undone_are_told(
    site: Site, encoding: str, body: bytes
) -> None:
    site.pages["/"] = Answer(body, headers={"Content-Encoding": encoding})
    async with web_for(site) as web:
        with pytest.raises(FetchFailed) as failed:
            await web.fetch(site.url("/"))
    assert failed.value.details["cause"] == "encoding"


async def _drip_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-Drip: 1\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def _drip_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def _silence(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


@pytest.mark.parametrize("slow", [_drip_head, _drip_body, _silence])
async def test_the_time_for_a_page_ends_however_it_is_spent(site: Site, slow: Any) -> None:
    site.pages["/"] = slow
    began = time.monotonic()
    async with web_for(site, page_seconds=0.4) as web:
        with pytest.raises(FetchFailed, match="QUIRE_WEB_PAGE_SECONDS") as failed:
            await web.fetch(site.url("/"))
    assert failed.value.details["cause"] == "timeout"
    assert time.monotonic() - began < 3


class _Stuck(Names):
    async def addresses(self, name: str) -> list[str]:
        await asyncio.sleep(30)
        return []


async def test_looking_names_up_takes_of_the_same_time() -> None:
    web = Web(WebSettings(page_seconds=0.1), resolver=_Stuck())
    for asked in (web.fetch, web.check):
        with pytest.raises(FetchFailed, match="QUIRE_WEB_PAGE_SECONDS"):
            await asked("http://example.com/")


async def test_redirects_have_no_time_of_their_own(site: Site) -> None:
    async def slow_redirect(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        writer.write(b"HTTP/1.1 302 X\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")

    site.pages["/"] = slow_redirect
    async with web_for(site, page_seconds=0.5, redirects=50) as web:
        with pytest.raises(FetchFailed, match="QUIRE_WEB_PAGE_SECONDS"):
            await web.fetch(site.url("/"))


async def _endless_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 10_000_000)


async def _nonsense(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n" * 10)


async def _broken_off(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 50\r\n\r\nshort")


async def _hangs_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.mark.parametrize("answer", [_endless_head, _nonsense, _broken_off, _hangs_up])
async def test_what_is_no_http_is_told(site: Site, answer: Any) -> None:
    site.pages["/"] = answer
    async with web_for(site) as web:
        with pytest.raises(FetchFailed) as failed:
            await web.fetch(site.url("/"))
    assert failed.value.details["cause"] in ("protocol", "connection")
    assert failed.value.status == 502


async def test_a_port_where_nobody_listens_is_told() -> None:
    web = Web(WebSettings(allow="127.0.0.1:1"))
    with pytest.raises(FetchFailed, match="cannot be connected to"):
        await web.fetch("http://127.0.0.1:1/")


@pytest.mark.parametrize("status", [304, 400, 404, 500, 503])
async def test_other_answers_than_pages_are_failures(site: Site, status: int) -> None:
    site.pages["/"] = Answer(status=status)
    async with web_for(site) as web:
        with pytest.raises(FetchFailed, match=f"status {status}") as failed:
            await web.fetch(site.url("/"))
    assert failed.value.details["http_status"] == status


@pytest.mark.parametrize("kind", ["image/png", "video/mp4", "application/zip", "text/rtf"])
async def test_what_has_no_text_is_not_fetched(site: Site, kind: str) -> None:
    site.pages["/"] = Answer(b"x", type=kind)
    async with web_for(site) as web:
        with pytest.raises(UnsupportedMedia, match=kind):
            await web.fetch(site.url("/"))


@pytest.mark.parametrize(
    ("header", "media_type", "charset"),
    [
        (None, "", None),
        ("nonsense", "", None),
        ("text/html; charset=no-such", "text/html", None),
        ("text/html; charset=", "text/html", None),
        ("text/html, text/plain", "text/html", None),
        ("TEXT/HTML; q=1; charset='koi8-r'", "text/html", "koi8-r"),
    ],
)
async def test_nonsense_in_headers_is_passed_over(
    site: Site, header: str | None, media_type: str, charset: str | None
) -> None:
    site.pages["/"] = Answer(b"x", type=header)
    async with web_for(site) as web:
        fetched = await web.fetch(site.url("/"))
    assert (fetched.media_type, fetched.charset) == (media_type, charset)


async def test_nothing_is_fetched_where_that_is_switched_off(site: Site) -> None:
    async with web_for(site, enabled=False) as web:
        with pytest.raises(AddressRefused, match="QUIRE_WEB_ENABLED"):
            await web.fetch(site.url("/"))
        with pytest.raises(AddressRefused, match="QUIRE_WEB_ENABLED"):
            await web.check(site.url("/"))
    assert not site.asked


async def test_only_so_many_are_fetched_at_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quire.web.web.AT_ONCE", 2)
    open_now = most = 0

    async def counted(writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.05)
        open_now -= 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\nx")

    site.pages["/"] = counted
    async with web_for(site) as web:
        await asyncio.gather(*(web.fetch(site.url("/")) for _ in range(6)))
    assert most == 2
