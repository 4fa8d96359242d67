"""What was fetched from the web, read: in the process where nothing that it does can do harm."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from quire.content import media
from quire.content.extraction.port import WEB_PAGE, WEB_STRUCTURE, Extractor
from quire.content.media import HEAD_BYTES, MediaType, recognise
from quire.content.scratch import Scratch
from quire.content.sources import TITLE_CHARS, Source
from quire.content.text import TextDecoder, require_charset
from quire.errors import ExtractionFailed, UnsupportedMedia
from quire.web.fetched import Fetched
from quire.web.page import Page
from quire.web.structure import Structure
from quire.web.web import Web

FLEETING = frozenset(["fetched_at", "status", "depth"])
"""Metadata of a page that is no reason to take it in again."""

READING_SECONDS = 60.0
"""For a page somebody waits; documents have more time (QUIRE_LIMITS_EXTRACTION_SECONDS)."""


class WebPages:
    """Fetches pages and reads them."""

    def __init__(self, web: Web, extractor: Extractor, scratch: Scratch) -> None:
        self._web = web
        self._extractor = extractor
        self._scratch = scratch

    async def fetch(self, url: str) -> tuple[Fetched, Page]:
        """What lies at an address, and what it says."""
        fetched = await self._web.fetch(url)
        return fetched, await self.page(fetched)

    async def page(self, fetched: Fetched) -> Page:
        """What it says: of HTML the main text, of everything else all of its text."""
        kind = media_type_of(fetched)
        if kind.name == media.HTML:
            return Page.from_json(await self._read(WEB_PAGE, fetched, kind.charset))
        title = None
        if kind.needs_extraction:
            async with self._scratch.folder() as folder:
                source, target = folder / "source", folder / "text"
                await asyncio.to_thread(source.write_bytes, fetched.body)
                title = (await self._extractor.extract(str(kind), source, target)).title
                text = (await asyncio.to_thread(target.read_bytes)).decode()
        else:
            text = TextDecoder(kind.charset, "replace").feed(fetched.body, final=True)
        return Page(url=fetched.final_url, title=title, text=text)

    async def structure(self, fetched: Fetched) -> Structure:
        """How it is built, which only HTML can be asked."""
        kind = media_type_of(fetched)
        if kind.name != media.HTML:
            raise UnsupportedMedia(
                f"{fetched.final_url} is {kind.name}; only HTML has headings, links and forms",
                recovery="Ask for its content instead.",
            )
        return Structure.from_json(await self._read(WEB_STRUCTURE, fetched, kind.charset))

    async def document(self, template: Source) -> Source:
        """The document that lies at the template's address; what the template says is kept."""
        fetched, page = await self.fetch(template.source_url or "")
        return source_of(fetched, page, template)

    async def _read(self, what: str, fetched: Fetched, charset: str | None) -> dict[str, Any]:
        order = json.dumps({"url": fetched.final_url, "charset": charset}).encode()
        async with self._scratch.folder() as folder:
            source, target = folder / "source", folder / "answer"
            await asyncio.to_thread(_write, source, order, fetched.body)
            try:
                async with asyncio.timeout(READING_SECONDS):
                    await self._extractor.extract(what, source, target)
            except TimeoutError:
                raise ExtractionFailed(
                    f"Reading {fetched.final_url} takes longer than {READING_SECONDS:g} seconds",
                    recovery="Name a smaller page.",
                ) from None
            found = json.loads(await asyncio.to_thread(target.read_bytes))
        if not isinstance(found, dict):
            raise ExtractionFailed(f"{fetched.final_url} cannot be read")
        return found


def media_type_of(fetched: Fetched) -> MediaType:
    """What was fetched; a charset that nobody knows is passed over, as browsers do."""
    said = fetched.content_type
    if fetched.charset is not None:
        try:
            require_charset(fetched.charset)
        except UnsupportedMedia:
            said = fetched.media_type or None
    name = PurePosixPath(unquote(urlsplit(fetched.final_url).path)).name
    return recognise(said, name, fetched.body[:HEAD_BYTES])


def source_of(
    fetched: Fetched,
    page: Page,
    template: Source,
    further: Mapping[str, Any] | None = None,
) -> Source:
    """A fetched page as a document: its bytes as they came, and the text that was read in it."""
    found = {
        "url": fetched.url,
        "final_url": fetched.final_url,
        "fetched_at": fetched.fetched_at.isoformat(timespec="seconds"),
        "status": fetched.status,
        **{
            name: value
            for name in ("author", "date", "description", "language", "canonical_url")
            if (value := getattr(page, name)) is not None
        },
        **(further or {}),
    }
    return replace(
        template,
        content=_once(fetched.body),
        content_type=str(media_type_of(fetched)),
        title=template.title or (page.title or "")[:TITLE_CHARS] or None,
        source_url=template.source_url or fetched.url,
        metadata={**found, **template.metadata},
        text=page.text.encode() if fetched.is_html and page.text else None,
        fleeting=FLEETING,
        errors="replace",
    )


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


def _write(target: Path, order: bytes, body: bytes) -> None:
    with target.open("wb") as file:
        file.write(order + b"\n")
        file.write(body)
