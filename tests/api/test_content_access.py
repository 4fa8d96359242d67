"""Content belongs to its session: who may not see that sees none of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quire.settings import EmbeddingSettings
from tests.api.service import guarded, serving

if TYPE_CHECKING:
    from pathlib import Path

FAKE = EmbeddingSettings(provider="fake", dimension=32)


async def test_other_peoples_content_does_not_exist(tmp_path: Path) -> None:
    settings = guarded(tmp_path, embedding=FAKE)
    async with serving(settings) as service:
        ada, grace = service.as_("ada"), service.as_("grace")
        session = (await ada.post("/sessions", {"name": "s"})).json()
        at = f"/sessions/{session['id']}"
        body = {"documents": [{"text": "private", "id": "a"}]}
        page = (await ada.post(f"{at}/documents", body)).json()
        assert page["documents"][0]["status"] == "ready"
        found = (await ada.post(f"{at}/search", {"query": "private"})).json()
        for path in (
            "documents", "documents/a", "documents/a/content", "documents/a/text", "chunks",
            "chunks/0", "documents/a/chunks/0", "stream", f"queries/{found['query_id']}/pages/0",
        ):  # fmt: skip
            assert (await grace.get(f"{at}/{path}")).status_code == 404, path
        assert (await grace.post(f"{at}/documents", body)).status_code == 404
        assert (await grace.post(f"{at}/search", {"query": "private"})).status_code == 404
        across = {"session_ids": [session["id"]], "query": "private"}
        assert (await grace.post("/search", across)).status_code == 404
