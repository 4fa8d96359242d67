"""Fetching goes nowhere it must not, and sends nothing that tells who asks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from quire.errors import AddressRefused, FetchFailed
from quire.settings import WebSettings
from quire.web.web import Web
from tests.web.certificates import contexts
from tests.web.fetching import web_for
from tests.web.names import Names
from tests.web.site import Answer, Site, website

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_page_is_fetched_and_described(site: Site) -> None:
    site.pages["/a"] = Answer(b"<p>hi", type='Text/HTML;Charset="UTF-8"', headers={"X-A": "1"})
    async with web_for(site) as web:
        fetched = await web.fetch(site.url("/a#part"))
    assert fetched.body == b"<p>hi"
    assert (fetched.url, fetched.final_url) == (site.url("/a"), site.url("/a"))
    assert (fetched.status, fetched.media_type, fetched.charset) == (200, "text/html", "utf-8")
    assert fetched.content_type == "text/html; charset=utf-8"
    assert fetched.headers["x-a"] == "1"


async def test_nothing_is_sent_that_tells_who_asks(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setitem(os.environ, name, "http://127.0.0.1:9/")
    site.pages["/"] = Answer(
        status=302, headers={"Location": "/b", "Set-Cookie": "session=1; Path=/"}
    )
    site.page("/b")
    async with web_for(site, user_agent="Quire-Test/1") as web:
        await web.fetch(site.url("/"))
    for asked in site.asked:
        assert set(asked.headers) == {
            "host",
            "user-agent",
            "accept",
            "accept-encoding",
            "connection",
        }
        assert asked.headers["host"] == f"127.0.0.1:{site.port}"
        assert asked.headers["user-agent"] == "Quire-Test/1"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(site: Site, status: int) -> None:
    site.redirect("/a/b", "../c?d=1", status)
    site.page("/c")
    async with web_for(site) as web:
        fetched = await web.fetch(site.url("/a/b"))
    assert fetched.url == site.url("/a/b")
    assert fetched.final_url == site.url("/c?d=1")


async def test_chains_and_loops_of_redirects_end(site: Site) -> None:
    for n in range(10):
        site.redirect(f"/{n}", f"/{n + 1}")
    site.redirect("/loop", "/loop")
    site.page("/10")
    async with web_for(site, redirects=5) as web:
        assert (await web.fetch(site.url("/5"))).final_url == site.url("/10")
        for start in ("/4", "/loop"):
            with pytest.raises(FetchFailed, match="QUIRE_WEB_REDIRECTS"):
                await web.fetch(site.url(start))


@pytest.mark.parametrize(
    "inside",
    [
        "http://127.0.0.1:1/",
        "http://localhost:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "//192.168.0.1/",
        "http://user:secret@127.0.0.1:{port}/",
        "http://0x7f.1:1/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
    ],
)
async def test_redirects_lead_nowhere_that_could_not_be_named(site: Site, inside: str) -> None:
    site.redirect("/", inside.format(port=site.port))
    async with web_for(site) as web:
        with pytest.raises(AddressRefused):
            await web.fetch(site.url("/"))
    assert site.paths() == ["/"]


async def test_a_name_is_looked_up_once_for_each_request_and_then_pinned(site: Site) -> None:
    # An attacker's name server says first what passes, and then where it really wants to go.
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    site.page("/")
    web = Web(WebSettings(allow=f"127.0.0.1:{site.port}"), resolver=names)
    fetched = await web.fetch(f"http://flips.example:{site.port}/")
    assert fetched.status == 200
    assert names.asked == ["flips.example."]
    assert site.asked[0].headers["host"] == f"flips.example:{site.port}"
    with pytest.raises(AddressRefused):
        await web.fetch(f"http://flips.example:{site.port}/")


async def test_each_redirect_is_looked_up_anew(site: Site) -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    site.redirect("/", "/again")
    web = Web(WebSettings(allow=f"127.0.0.1:{site.port}"), resolver=names)
    with pytest.raises(AddressRefused, match="no public address"):
        await web.fetch(f"http://flips.example:{site.port}/")
    assert site.paths() == ["/"]


async def test_a_name_that_turns_inside_is_never_connected_to(site: Site) -> None:
    web = Web(WebSettings(), resolver=Names(["127.0.0.1"]))
    for url in ("http://inside.example:8000/", "http://inside.example/"):
        with pytest.raises(AddressRefused):
            await web.fetch(url)
    assert not site.asked


async def test_the_next_address_is_tried_where_one_does_not_answer(site: Site) -> None:
    site.page("/")
    names = Names(["127.0.0.2", "127.0.0.1"])
    web = Web(WebSettings(allow=f"127.0.0.0/8:{site.port}"), resolver=names)
    assert (await web.fetch(f"http://two.example:{site.port}/")).status == 200


async def test_certificates_are_checked_against_the_name(tmp_path: Path) -> None:
    serving, trusting = contexts(tmp_path, "good.example")
    async with website(serving) as site:
        site.page("/")
        settings = WebSettings(allow=site.allow)
        web = Web(settings, resolver=Names(["127.0.0.1"]), tls=trusting)
        assert (await web.fetch(f"https://good.example:{site.port}/")).status == 200
        with pytest.raises(FetchFailed, match="cannot be trusted") as wrong_name:
            await web.fetch(f"https://other.example:{site.port}/")
        assert wrong_name.value.details["cause"] == "tls"
        web = Web(settings, resolver=Names(["127.0.0.1"]))
        with pytest.raises(FetchFailed, match="cannot be trusted"):
            await web.fetch(f"https://good.example:{site.port}/")


async def test_from_https_nothing_leads_to_http(tmp_path: Path, site: Site) -> None:
    serving, trusting = contexts(tmp_path, "good.example")
    async with website(serving) as secure:
        secure.redirect("/", site.url("/"))
        settings = WebSettings(allow=f"{site.allow},{secure.allow}")
        web = Web(settings, resolver=Names(["127.0.0.1"]), tls=trusting)
        with pytest.raises(AddressRefused, match="from https to http"):
            await web.fetch(f"https://good.example:{secure.port}/")
    assert not site.asked
