"""A page as a reader wants it: its main text, without what surrounds it on every page."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from selectolax.lexbor import LexborHTMLParser

from quire.web.links import Link, absolute, base_of, clipped, links_of

_DIRECTIVE = re.compile(r"[a-z-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a page says."""

    url: str
    title: str | None
    text: str
    """Markdown: the main text, or all of it where none stands out."""
    language: str | None = None
    author: str | None = None
    date: str | None = None
    """When it says that it was published, `2026-11-20`."""
    description: str | None = None
    canonical_url: str | None = None
    """Under which address it wants to be known."""
    links: tuple[Link, ...] = ()
    robots: tuple[str, ...] = ()
    """What it asks of robots: `noindex`, `nofollow`, …"""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Page:
        links = tuple(Link(**{**link, "rel": tuple(link["rel"])}) for link in kept["links"])
        return cls(**{**kept, "links": links, "robots": tuple(kept["robots"])})


def read_page(html: str, url: str) -> Page:
    """Read a page. Its text is empty where no main text stands out.

    Takes as long as a page is large, and is not made for pages that mean harm: it belongs into a
    process of its own.
    """
    # Takes its time and memory, which only the process that reads pages has to spend.
    import trafilatura  # noqa: PLC0415

    tree = LexborHTMLParser(html)
    found = trafilatura.bare_extraction(
        html, url=url, include_comments=False, include_formatting=True, with_metadata=True
    )
    assert not isinstance(found, dict)  # noqa: S101 - which only a deprecated argument makes it
    title = clipped(_text(tree, "head title") or _text(tree, "h1")) or None
    return Page(
        url=url,
        title=title or (None if found is None else found.title),
        text="" if found is None or found.text is None else found.text.strip(),
        language=_language(tree),
        author=None if found is None else clipped(found.author) or None,
        date=None if found is None else found.date,
        description=_meta(tree, "description") or _meta(tree, "og:description"),
        canonical_url=_canonical(tree, url),
        links=links_of(tree, url),
        robots=directives(_meta(tree, "robots")),
    )


def directives(said: str | None) -> tuple[str, ...]:
    """What a robots meta element, or the X-Robots-Tag header, asks."""
    return tuple(dict.fromkeys(_DIRECTIVE.findall((said or "").lower())))


def _meta(tree: LexborHTMLParser, name: str) -> str | None:
    node = tree.css_first(f'meta[name="{name}" i], meta[property="{name}" i]')
    return None if node is None else clipped(node.attributes.get("content"), 1_000) or None


def _canonical(tree: LexborHTMLParser, url: str) -> str | None:
    node = tree.css_first('link[rel~="canonical" i]')
    return None if node is None else absolute(base_of(tree, url), node.attributes.get("href"))


def _language(tree: LexborHTMLParser) -> str | None:
    root = tree.css_first("html")
    return None if root is None else clipped(root.attributes.get("lang"), 35) or None


def _text(tree: LexborHTMLParser, selector: str) -> str | None:
    node = tree.css_first(selector)
    return None if node is None else node.text()
