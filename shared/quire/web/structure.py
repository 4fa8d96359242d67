"""How a page is built: headings, links, forms, and what its head says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode

from quire.web.links import Link, absolute, base_of, clipped, links_of

HEADINGS = 500
FORMS = 50
FIELDS = 100
META = 100
LINKED_DATA_CHARS = 200_000


@dataclass(frozen=True, slots=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Field:
    """Something that a form asks for."""

    name: str
    type: str
    is_required: bool


@dataclass(frozen=True, slots=True)
class Form:
    action: str
    """Absolute."""
    method: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """How a page is built. Of what there is too much of, only the first is here."""

    url: str
    title: str | None
    language: str | None
    headings: tuple[Heading, ...]
    links: tuple[Link, ...]
    forms: tuple[Form, ...]
    meta: dict[str, str]
    """What its head says by name: `description`, `robots`, `og:title`, …; and `canonical`."""
    types: tuple[str, ...]
    """The types of its linked data: `Article`, `Product`, …"""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Structure:
        links = (Link(**{**link, "rel": tuple(link["rel"])}) for link in kept["links"])
        forms = (
            Form(**{**form, "fields": tuple(Field(**field) for field in form["fields"])})
            for form in kept["forms"]
        )
        headings = (Heading(**heading) for heading in kept["headings"])
        return cls(
            **{
                **kept,
                "headings": tuple(headings),
                "links": tuple(links),
                "forms": tuple(forms),
                "types": tuple(kept["types"]),
            }
        )


def structure_of(html: str, url: str) -> Structure:
    """Read how a page is built; it is not made for pages that mean harm, like `read_page`."""
    tree = LexborHTMLParser(html)
    title, root = tree.css_first("head title"), tree.css_first("html")
    return Structure(
        url=url,
        title=None if title is None else clipped(title.text()) or None,
        language=None if root is None else clipped(root.attributes.get("lang"), 35) or None,
        headings=tuple(
            Heading(int((node.tag or "h1")[1]), clipped(node.text()))
            for node in tree.css("h1, h2, h3, h4, h5, h6")[:HEADINGS]
        ),
        links=links_of(tree, url),
        forms=tuple(_form(node, tree, url) for node in tree.css("form")[:FORMS]),
        meta=_meta(tree, url),
        types=_types(tree),
    )


def _form(node: LexborNode, tree: LexborHTMLParser, url: str) -> Form:
    base, attributes = base_of(tree, url), node.attributes
    method = (attributes.get("method") or "get").lower()
    return Form(
        action=absolute(base, attributes.get("action") or "") or str(base),
        method=method if method in ("get", "post", "dialog") else "get",
        fields=tuple(_fields(node))[:FIELDS],
    )


def _fields(form: LexborNode) -> Iterator[Field]:
    for node in form.css("input[name], select[name], textarea[name]"):
        attributes = node.attributes
        kind = attributes.get("type") or "text" if node.tag == "input" else node.tag or ""
        yield Field(clipped(attributes.get("name")), clipped(kind, 30), "required" in attributes)


def _meta(tree: LexborHTMLParser, url: str) -> dict[str, str]:
    meta: dict[str, str] = {}
    for node in tree.css("meta[content]"):
        attributes = node.attributes
        name = clipped(attributes.get("name") or attributes.get("property"), 100).lower()
        if name and name not in meta and len(meta) < META:
            meta[name] = clipped(attributes.get("content"), 1_000)
    canonical = tree.css_first('link[rel~="canonical" i]')
    if canonical is not None:
        address = absolute(base_of(tree, url), canonical.attributes.get("href"))
        meta |= {"canonical": address} if address else {}
    return meta


def _types(tree: LexborHTMLParser) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for node in tree.css('script[type="application/ld+json"]'):
        try:
            value = json.loads(node.text()[:LINKED_DATA_CHARS])
        except (ValueError, RecursionError):
            continue
        found |= dict.fromkeys(_types_in(value))
    return tuple(found)[:META]


def _types_in(value: Any) -> Iterator[str]:
    """Those of the things that it describes, and of the graphs that they may be."""
    for thing in _listed(value):
        if isinstance(thing, dict):
            for described in (thing, *_listed(thing.get("@graph"))):
                said = described.get("@type") if isinstance(described, dict) else None
                yield from (clipped(name, 100) for name in _listed(said) if isinstance(name, str))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
