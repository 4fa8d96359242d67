"""Links: where a page leads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser

from quire.errors import AddressRefused
from quire.web.address import Address, parse

MOST = 2_000
TEXT_CHARS = 300


@dataclass(frozen=True, slots=True)
class Link:
    """A link on a page; `url` is absolute."""

    url: str
    text: str
    is_internal: bool
    """It leads to the same host."""
    rel: tuple[str, ...] = ()


def base_of(tree: LexborHTMLParser, url: str) -> Address:
    """What the page's relative addresses are relative to."""
    page = parse(url)
    node = tree.css_first("base[href]")
    href = None if node is None else node.attributes.get("href")
    return page if not href else _absolute(page, href) or page


def links_of(tree: LexborHTMLParser, url: str) -> tuple[Link, ...]:
    """The first `MOST` links of a page to other pages, each address once."""
    found: dict[str, Link] = {}
    for link in _links(tree, parse(url), base_of(tree, url)):
        if link.url not in found or not found[link.url].text:
            found[link.url] = link
        if len(found) == MOST:
            break
    return tuple(found.values())


def absolute(base: Address, reference: str | None) -> str | None:
    """The web address that a reference means; None where it means none."""
    found = None if reference is None else _absolute(base, reference)
    return None if found is None else str(found)


def clipped(text: str | None, longest: int = TEXT_CHARS) -> str:
    """A text on a page as one line."""
    return " ".join((text or "")[: longest * 4].split())[:longest].rstrip()


def _links(tree: LexborHTMLParser, page: Address, base: Address) -> Iterator[Link]:
    for node in tree.css("a[href], area[href]"):
        attributes = node.attributes
        href = attributes.get("href")
        target = None if href is None or href.startswith("#") else _absolute(base, href)
        if target is None or target == page:
            continue
        text = node.text() or attributes.get("title") or attributes.get("alt")
        rel = tuple((attributes.get("rel") or "")[:200].lower().split())
        yield Link(str(target), clipped(text), target.host == page.host, rel)


def _absolute(base: Address, reference: str) -> Address | None:
    # Browsers take line breaks and tabs out of what they are given.
    plain = "".join(character for character in reference if character not in "\t\r\n").strip()
    try:
        return base.joined(plain.replace(" ", "%20"))
    except AddressRefused:
        return None
