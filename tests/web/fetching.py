"""A web that may go to a test's site."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from quire.settings import WebSettings
from quire.web.web import Web

if TYPE_CHECKING:
    from tests.web.site import Site


@asynccontextmanager
async def web_for(site: Site, **settings: Any) -> AsyncIterator[Web]:
    """A web that may go to the site, and nowhere inside besides."""
    given = {"page_seconds": 5.0, "page_bytes": 100_000, **settings}
    web = Web(WebSettings(allow=site.allow, **given))
    yield web
    web.close()
