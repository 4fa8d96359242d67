"""`/docs` in a browser: whole, without anything from other people's servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from quire.settings import Settings
from quire_api.app import create_app

if TYPE_CHECKING:
    from pathlib import Path


async def test_the_page_shows_every_endpoint_and_loads_nothing(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            page = await client.get("/docs")
            schema = (await client.get("/openapi.json")).json()

    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for path, operations in schema["paths"].items():
        assert page.text.count(f"<code>{path}</code>") == len(operations)
    for loading in ("<script", "<img", "<link", "src=", 'href="http', "url("):
        assert loading not in page.text
    assert "spring-archive" in page.text  # the examples are there
