"""HTML: what a reader sees, whatever the page is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from quire.content.extraction.html import extract_html
from quire.content.extraction.html_depth import DEEPEST, flattened


def seen(tmp_path: Path, page: str | bytes, charset: str | None = None) -> str:
    source = tmp_path / "page.html"
    source.write_bytes(page.encode() if isinstance(page, str) else page)
    pieces: list[str] = []
    extract_html(source, pieces.append, charset)
    return "".join(pieces)


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("a <b>b</b>\n c<br>d", "a b c\nd"),
        ("<p>a<p>b<div>c</div>d", "a\n\nb\n\nc\n\nd"),
        ("<h2>x<br>y</h2><h9>z</h9>", "## x y\n\nz"),
        ("<li>no list<ul><li>a<li>b</ul>c", "no list\n\n- a\n- b\n\nc"),
        ("<ol start=-1><li>a<li>b<li>c</ol>", "-1. a\n0. b\n1. c"),
        ("<ul><li><pre>x</pre>y</ul>", "```\nx\n```\n\n- y"),
        ("<pre>a\n\n  b\n```\nc</pre>", "````\na\n\n  b\n```\nc\n````"),
        ("<pre><div>1</div><div>2</div></pre>", "```\n1\n2\n```"),
        ("<table><tr><th>a<td>b<tr><td><td>d</table>", "a | b\n| d"),
        ("<table><tr><td>a<table><tr><td>b<td>c</table></table>", "a\n\nb | c"),
        ("<table><tr><td><h3>t</h3>x<td>y</table>", "### t\n\nx\n\ny"),
        ("<table><tr><td>a</table><table><tr><td>b</table>", "a\n\nb"),
        ("a<script>b</script><style>c</style><!-- d --><template>e</template>f", "af"),
        ("<p hidden>a</p><p style='visibility:hidden'>b</p><p style='display:block'>c", "c"),
        ("<svg><title>t</title><text>label</text></svg>", "label"),
        ("<dialog>closed</dialog><dialog open>open</dialog>", "open"),
        ("&lt;p&gt; &amp;amp; &nbsp;&#128512;", "<p> &amp; 😀"),
        ("", ""),
        ("<title>T</title>", "# T"),
        ("<title>T</title><h1>H</h1>", "# H"),
    ],
)
def test_what_a_reader_sees(tmp_path: Path, page: str, text: str) -> None:
    assert seen(tmp_path, page) == text


def test_the_sender_is_believed_before_the_page_and_a_byte_order_mark_before_both(
    tmp_path: Path,
) -> None:
    page = '<meta charset="koi8-r"><p>Широкая'
    assert seen(tmp_path, page.encode("cp1251"), "windows-1251") == "Широкая"
    assert seen(tmp_path, page.encode("utf-8-sig"), "windows-1251") == "Широкая"
    assert seen(tmp_path, page.encode("koi8-r")) == "Широкая"
    assert seen(tmp_path, "<meta charset=no-such-thing>Широкая") == "Широкая"
    assert seen(tmp_path, b"caf\xe9 \x93quoted\x94") == "café “quoted”"


def test_a_page_of_ordinary_depth_is_left_alone() -> None:
    page = "<div>" * (DEEPEST - 1) + "<p>x<li>y" * 5000 + "</div>" * (DEEPEST - 1)
    assert flattened(page) is page
    script = "<script>" + "<div>" * 5000 + "</script><!-- " + "<div>" * 5000 + "--><p>x"
    assert flattened(script) is script


@pytest.mark.parametrize("piece", ["<a ", "<!--", "<script", "</", "<div <", "<script></script "])
def test_a_hostile_page_takes_no_longer_than_another(tmp_path: Path, piece: str) -> None:
    seen(tmp_path, piece * 200_000)  # quadratic time would be minutes


def test_a_page_nested_a_hundred_thousand_deep_is_read(tmp_path: Path) -> None:
    page = "<div>" * 100_000 + "in<b>mo</b>st" + "</div>" * 100_000 + "<p>after"
    assert seen(tmp_path, page) == "inmost\n\nafter"
    assert seen(tmp_path, "<b>" * 100_000 + "bold") == "bold"
    assert seen(tmp_path, "<ul><li>" * 2_000 + "item").strip() == "- item"
    assert seen(tmp_path, "<table><tr><td>" * 2_000 + "cell") == "cell"
