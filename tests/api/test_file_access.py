"""Whose files those are: who may export, and who owns what is imported."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import zstandard

from quire.settings import EmbeddingSettings
from tests.api.service import assert_problem, guarded, serving

FAKE = {"embedding": EmbeddingSettings(provider="fake", dimension=32)}


async def test_only_who_may_read_exports_and_the_caller_owns_what_is_imported(
    tmp_path: Path,
) -> None:
    async with serving(guarded(tmp_path, **FAKE)) as service:
        owner, grace, reader = (
            service.as_("ottilie"),
            service.as_("grace"),
            service.as_("grace", scope="read"),
        )
        made = (await owner.post("/sessions", {"name": "s", "metadata": {"k": "v"}})).json()
        path = f"/sessions/{made['id']}"
        await owner.put(f"{path}/points", {"points": [{"id": 1, "text": "a"}]})
        assert_problem(await grace.get(f"{path}/export"), 404, "session_not_found")
        await owner.post(f"{path}/share", {"user_ids": ["grace"], "permissions": ["read"]})
        bundle = await reader.get(f"{path}/export", params={"format": "bundle"})
        assert bundle.status_code == 200
        assert b"ottilie" not in b"".join(unpacked(bundle.content))
        refused = await reader.post("/sessions/import", content=bundle.content)
        assert_problem(refused, 403)
        back = await grace.post("/sessions/import", content=bundle.content)
        assert back.json()["owner_id"] == "grace"
        assert back.json()["shared_with"] == []
        stranger = await grace.post(
            "/sessions/import", content=bundle.content, params={"group": "elsewhere"}
        )
        assert_problem(stranger, 403, about="group")


def unpacked(bundle: bytes) -> list[bytes]:
    """What every part of a bundle says, as far as it is text."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(bundle)) as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            data = content.read()
            if member.name.endswith(".zst"):
                data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
            found.append(data)
    return found
