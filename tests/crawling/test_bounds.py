"""Which addresses a crawl takes for one page, and which for the site's."""

from __future__ import annotations

import time

import pytest

from quire.crawling.bounds import Bounds
from quire.crawling.canonical import canonical, page_id
from quire.crawling.patterns import fits
from quire.crawling.requests import Reach
from quire.web.address import parse


@pytest.mark.parametrize(
    ("written", "one_form"),
    [
        ("https://e.example/a?utm_source=x&b=2&UTM_Medium=y&a=1", "https://e.example/a?b=2&a=1"),
        ("https://e.example/a?gclid=1", "https://e.example/a"),
        ("https://e.example/a?", "https://e.example/a"),
        ("https://e.example/a?&&b=1&", "https://e.example/a?b=1"),
        ("https://e.example/%7euser/%c3%a4", "https://e.example/~user/%C3%A4"),
        ("https://e.example/a%2fb", "https://e.example/a%2Fb"),
        ("https://E.example:443/x/../a#b", "https://e.example/a"),
    ],
)
def test_a_page_has_one_address(written: str, one_form: str) -> None:
    found = canonical(parse(written))
    assert str(found) == one_form
    assert canonical(found) == found
    assert page_id(str(found)) == page_id(one_form)


@pytest.mark.parametrize(
    ("reach", "address", "is_within"),
    [
        (Reach.HOST, "https://www.e.example/x", True),
        (Reach.HOST, "http://www.e.example/x", True),
        (Reach.HOST, "https://e.example/x", False),
        (Reach.HOST, "https://www.e.example:8443/x", False),
        (Reach.DOMAIN, "https://e.example/x", True),
        (Reach.DOMAIN, "https://a.b.e.example/x", True),
        (Reach.DOMAIN, "https://evile.example/x", False),
        (Reach.DOMAIN, "https://e.example.evil.example/", False),
        (Reach.PREFIX, "https://www.e.example/docs/x/y", True),
        (Reach.PREFIX, "https://www.e.example/docsx", False),
        (Reach.PREFIX, "https://www.e.example/", False),
    ],
)
def test_how_far_a_crawl_reaches(reach: Reach, address: str, is_within: bool) -> None:
    bounds = Bounds(parse("https://www.e.example/docs/start"), reach)
    assert bounds.within(parse(address)) is is_within


@pytest.mark.parametrize(
    ("path", "is_wanted"),
    [
        ("/docs/a", True),
        ("/blog/a", False),
        ("/docs/old/a", False),
        ("/docs/picture.PNG", False),
        ("/docs/paper.pdf", True),
        ("/docs/page.html", True),
        ("/docs/v1.2", True),
        ("/docs/a/a/a", True),
        ("/docs/a/a/a/a", False),
        ("/docs/" + "/".join(str(n) for n in range(40)), False),
    ],
)
def test_which_pages_are_wanted(path: str, is_wanted: bool) -> None:
    bounds = Bounds(parse("https://e.example/"), Reach.HOST, ["/docs/*"], ["*/old/*"])
    assert bounds.wants(parse(f"https://e.example{path}")) is is_wanted


@pytest.mark.parametrize(
    ("pattern", "path", "does_fit"),
    [
        ("/a", "/a", True),
        ("/a", "/ab", False),
        ("/a*", "/ab", True),
        ("*b", "/ab", True),
        ("/a*c*e", "/abcde", True),
        ("/a*c*c", "/abc", False),
        ("/a*a", "/a", False),
        ("*", "", True),
        ("**", "/x", True),
        ("/a.c", "/abc", False),
    ],
)
def test_patterns(pattern: str, path: str, does_fit: bool) -> None:
    assert fits(pattern, path) is does_fit


def test_no_pattern_takes_long() -> None:
    began = time.monotonic()
    assert not fits("*a" * 90 + "b", "a" * 4_000)
    assert time.monotonic() - began < 0.5
