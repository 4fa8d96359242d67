"""Web pages: their main text, or how they are built, as JSON.

The source begins with a line of JSON that says where the page is from, and in what charset it is
said to be; the page follows as it came.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from quire.content.extraction.found import Found, Write
from quire.content.extraction.html import decoded, write_text
from quire.content.extraction.html_depth import flattened
from quire.content.models import TextKind
from quire.web.page import Page, read_page
from quire.web.structure import Structure, structure_of


def extract_page(source: Path, write: Write) -> Found:
    """What a page says; all of it, where no main text stands out."""
    return _written(source, write, _page)


def extract_structure(source: Path, write: Write) -> Found:
    """How a page is built."""
    return _written(source, write, structure_of)


def _written(source: Path, write: Write, read: Callable[[str, str], Page | Structure]) -> Found:
    with source.open("rb") as file:
        order = json.loads(file.readline())
        html = flattened(decoded(file.read(), order["charset"]))
    write(json.dumps(read(html, order["url"]).as_json()))
    return Found(TextKind.JSON)


def _page(html: str, url: str) -> Page:
    page = read_page(html, url)
    if page.text:
        return page
    blocks: list[str] = []
    write_text(html, blocks.append)
    return replace(page, text="".join(blocks).strip())
