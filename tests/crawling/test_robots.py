"""robots.txt is understood as RFC 9309 has it, and whatever else stands there does no harm."""

from __future__ import annotations

import gzip
import time

import pytest

from quire.crawling.robots import ALL, NOTHING, Rules, parse_robots
from quire.crawling.sitemaps import MOST_ADDRESSES, parse_sitemap


def rules(text: str, agent: str = "Quire") -> Rules:
    return parse_robots(text.encode(), agent)


def test_the_group_of_ones_own_name_is_the_only_one_that_counts() -> None:
    text = """
        User-agent: *
        Disallow: /
        User-Agent: other
        User-agent: QUIRE/2.0  # ours
        Disallow: /private
        Crawl-delay: 2.5
    """
    assert rules(text).allow("/a")
    assert not rules(text).allow("/private/x")
    assert rules(text).delay == 2.5
    assert not rules(text, "Another/1.0").allow("/a")
    assert not rules(text, "Quire-Extra").allow("/a")


def test_groups_of_one_name_are_one() -> None:
    mine, others = "User-agent: Quire\nDisallow: {}\n", "User-agent: x\nDisallow: /\n"
    text = mine.format("/a") + others + mine.format("/b")
    assert [rules(text).allow(path) for path in ("/a", "/b", "/c")] == [False, False, True]


@pytest.mark.parametrize(
    ("lines", "path", "is_allowed"),
    [
        ("", "/a", True),
        ("Disallow:", "/a", True),
        ("Disallow: /", "/a", False),
        ("Disallow: /a", "/ab", False),
        ("Disallow: /a\nAllow: /a/b", "/a/b/c", True),
        ("Allow: /a/b\nDisallow: /a", "/a/c", False),
        ("Disallow: /a\nAllow: /a", "/a", True),
        ("Disallow: /*.php", "/x/y.php?z=1", False),
        ("Disallow: /*.php$", "/x/y.php?z=1", True),
        ("Disallow: /*.php$", "/x/y.php", False),
        ("Disallow: /a?b=", "/a?b=1", False),
        ("Disallow: /käse", "/k%C3%A4se", False),
        ("disallow : /a", "/a", False),
        ("Disallow: /a # not here", "/a", False),
        ("Noindex: /a", "/a", True),
    ],
)
def test_the_longest_rule_decides(lines: str, path: str, is_allowed: bool) -> None:
    assert rules(f"User-agent: *\n{lines}\n").allow(path) is is_allowed


def test_sitemaps_stand_in_no_group() -> None:
    found = rules("Sitemap: https://e.example/1.xml\nUser-agent: x\nSitemap:/2.xml\nDisallow: /")
    assert found.sitemaps == ("https://e.example/1.xml", "/2.xml")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xef\xbb\xbfUser-agent: *\r\nDisallow: /private\r\n",
        b"\xff\xfe\x00nonsense\n: :\nUser-agent\nDisallow: /x",
        b"<html><body>User-agent: *</body></html>",
        b"User-agent: *\nCrawl-delay: forever\nCrawl-delay: -1\nCrawl-delay: 1e9",
        b"Disallow: /" * 100_000,
    ],
)
def test_nonsense_forbids_nothing(content: bytes) -> None:
    found = parse_robots(content, "Quire")
    assert found.allow("/a")
    assert found.delay == 0


def test_what_is_asked_beyond_reason_is_bounded() -> None:
    many = "User-agent: *\nCrawl-delay: 999999\n" + "Disallow: /" + "*a" * 100 + "b$\n"
    began = time.monotonic()
    found = rules(many + "Disallow: /*b*c*d*e*f*g$\n" * 10_000)
    assert found.allow("/" + "a" * 3_999)
    assert time.monotonic() - began < 2
    assert found.delay == 30
    assert len(found.rules) == 2_000


def test_all_and_nothing() -> None:
    assert ALL.allow("/anything")
    assert not NOTHING.allow("/anything")


# -- sitemaps


def test_a_sitemap_lists_pages() -> None:
    text = b"""<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
      <url><loc> https://e.example/a?x=1&amp;y=2 </loc><lastmod>2026</lastmod></url>
      <url><loc><![CDATA[https://e.example/b]]></loc></url></urlset>"""
    for content in (text, gzip.compress(text)):
        found = parse_sitemap(content, 10_000)
        assert not found.is_index
        assert found.addresses == ["https://e.example/a?x=1&y=2", "https://e.example/b"]


def test_an_index_lists_sitemaps_and_a_text_lists_pages() -> None:
    index = b"<sitemapindex><sitemap><loc>https://e.example/1.xml</loc></sitemap></sitemapindex>"
    assert parse_sitemap(index, 10_000).is_index
    plain = parse_sitemap(b"https://e.example/a\n\nhttps://e.example/b\n", 10_000)
    assert plain.addresses == ["https://e.example/a", "https://e.example/b"]


def test_sitemaps_that_mean_harm_are_harmless() -> None:
    laughs = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b SYSTEM "file:///etc/passwd">]>'
    found = parse_sitemap(laughs + b"<urlset><loc>&a;&b;</loc></urlset>", 10_000)
    assert found.addresses == ["&a;&b;"]
    bomb = gzip.compress(b"<loc>https://e.example/x</loc>" * 1_000_000)
    assert len(parse_sitemap(bomb, 100_000).addresses) < 5_000
    many = b"<loc>https://e.example/x</loc>" * (MOST_ADDRESSES + 10)
    assert len(parse_sitemap(many, 10_000_000).addresses) == MOST_ADDRESSES
    assert parse_sitemap(b"\x1f\x8bnonsense", 10_000).addresses == []
