"""A page's main text, and how it is built, whatever its HTML is like."""

from __future__ import annotations

import json

import pytest

from quire.web.links import MOST
from quire.web.page import Page, read_page
from quire.web.structure import Field, Form, Heading, Structure, structure_of
from tests.web.site import about, html

URL = "https://example.com/docs/start"


def test_the_main_text_is_without_what_surrounds_it() -> None:
    page = read_page(html("Binding", about("/binding")).decode(), URL)
    assert page.title == "Binding"
    assert page.text.startswith("# Binding\n\nThis is sentence 0")
    assert "Products" not in page.text
    assert "<" not in page.text


def test_a_page_says_who_wrote_it_when_and_what_it_asks() -> None:
    head = (
        '<meta name=author content="Ada Lovelace"><meta name="Description" content="On  binding">'
        '<meta property="article:published_time" content="2026-03-01T10:00:00Z">'
        '<meta name="ROBOTS" content="NoIndex, nofollow">'
        '<link rel="canonical" href="/docs/binding?x=1#y">'
    )
    page = read_page(html("Binding", about("/binding"), head=head).decode(), URL)
    assert (page.author, page.date) == ("Ada Lovelace", "2026-03-01")
    assert (page.description, page.language) == ("On binding", "en")
    assert page.canonical_url == "https://example.com/docs/binding?x=1"
    assert page.robots == ("noindex", "nofollow")


def test_links_are_absolute_and_each_address_is_there_once() -> None:
    source = (
        "<base href='/base/'><a href='a'>  First \n link </a><a href=a#part>again</a>"
        "<a href='//other.example/x' rel='NoFollow ugc'>out</a><a href='https://Example.com/b'></a>"
        "<a href='#top'>top</a><a href='mailto:a@b.example'>mail</a><a href='javascript:x()'>x</a>"
        "<a href='http://user:secret@example.com/'>u</a><a href='http://[::'>bad</a><a>none</a>"
        "<a href='c d'>spaced</a><area href='/map' alt='Map'>"
    )
    links = structure_of(source, URL).links
    assert [(link.url, link.text, link.is_internal) for link in links] == [
        ("https://example.com/base/a", "First link", True),
        ("https://other.example/x", "out", False),
        ("https://example.com/b", "", True),
        ("https://example.com/base/c%20d", "spaced", True),
        ("https://example.com/map", "Map", True),
    ]
    assert links[1].rel == ("nofollow", "ugc")


def test_the_structure_of_a_page() -> None:
    source = """<html lang=de><head><title> A  title </title>
      <meta property="og:title" content="Shared"><meta name=description content=About>
      <link rel=canonical href=/c><script type="application/ld+json">
      {"@graph": [{"@type": "Article"}, {"@type": ["Person", 3]}]}</script>
      <script type="application/ld+json">{"broken</script></head>
      <h1>One</h1><h3>Three <b>bold</b></h3><h2>Two</h2>
      <form action="/search?x=1" method=POST><input name=q required><input type=hidden name=t>
      <select name=s></select><textarea name=w></textarea><input value=nameless></form>
      <form method=teapot></form>"""
    structure = structure_of(source, URL)
    assert (structure.title, structure.language) == ("A title", "de")
    assert structure.headings == (Heading(1, "One"), Heading(3, "Three bold"), Heading(2, "Two"))
    assert structure.forms == (
        Form(
            "https://example.com/search?x=1",
            "post",
            (
                Field("q", "text", True),
                Field("t", "hidden", False),
                Field("s", "select", False),
                Field("w", "textarea", False),
            ),
        ),
        Form(URL, "get", ()),
    )
    assert structure.meta == {
        "og:title": "Shared",
        "description": "About",
        "canonical": "https://example.com/c",
    }
    assert structure.types == ("Article", "Person")


@pytest.mark.parametrize(
    "source",
    [
        "",
        "no html at all",
        "<",
        "<html",
        "<!-- never closed",
        "<a href=",
        "<title></title><base href='http://['><a href=x>x</a>",
        "<script type='application/ld+json'>" + "[" * 100_000,
        "\x00\ud7ff\ufffd",
        "<form><form><form action='http://['>",
    ],
)
def test_whatever_comes_is_read(source: str) -> None:
    assert isinstance(read_page(source, URL), Page)
    assert isinstance(structure_of(source, URL), Structure)


def test_what_there_is_too_much_of_is_cut_off() -> None:
    many = "".join(f"<a href=/{n}>{'x' * 1_000}</a><h2>{n}</h2>" for n in range(3_000))
    structure = structure_of(many, URL)
    assert len(structure.links) == MOST
    assert len(structure.headings) == 500
    assert max(len(link.text) for link in structure.links) == 300


def test_both_survive_as_json() -> None:
    source = html("Title", about("/"), "/a", "/b").decode()
    page, structure = read_page(source, URL), structure_of(source + "<form><input name=a>", URL)
    assert Page.from_json(json.loads(json.dumps(page.as_json()))) == page
    assert Structure.from_json(json.loads(json.dumps(structure.as_json()))) == structure
