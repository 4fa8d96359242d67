"""A bundle carries a session from one kind of installation to another, and back, unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from quire.bundle.formats.models import Format
from quire.bundle.reading import BundleReader
from tests.sessions.house import ADA, create, quire_in
from tests.sessions.servers import quire_on_servers
from tests.transfer.files import FAKE, digest, exported, garden, imported

if TYPE_CHECKING:
    from pathlib import Path

    from quire.jobs.port import Job
    from tests.backends.qdrant import QdrantServer

pytestmark = [pytest.mark.server, pytest.mark.postgres]


def made(job: Job) -> str:
    assert job.status == "succeeded", job.error
    assert job.session_id is not None
    return job.session_id


async def test_there_and_back_again(
    tmp_path: Path, postgres_url: str, qdrant_server: QdrantServer
) -> None:
    # given a session on Edge and SQLite (of two in one process only one may run jobs)
    async with quire_in(tmp_path / "edge", **FAKE) as edge:
        session = await garden(edge, points=600)
        expected = await digest(edge, session.id)
        bundle = await exported(edge, session.id)

    # when it goes to a Qdrant server and PostgreSQL
    async with quire_on_servers(tmp_path / "server", postgres_url, qdrant_server, **FAKE) as server:
        there = made(await imported(server, bundle))
        assert await digest(server, there) == expected
        returned = await exported(server, there)
        lines = await exported(server, there, Format.JSONL)

    # and comes back
    async with quire_in(tmp_path / "edge", **FAKE) as edge:
        back = made(await imported(edge, returned))
        assert await digest(edge, back) == expected
        assert await exported(edge, session.id, Format.JSONL) == lines
        found = await edge.sessions.get(ADA, back)
        assert (found.points_count, found.chunks_count, found.next_seq) == (
            session.points_count,
            session.chunks_count,
            session.next_seq,
        )

    # then all but what tells of the journey is the same, byte by byte
    parts = []
    for number, content in enumerate((bundle, returned)):
        file = tmp_path / f"{number}.quire"
        file.write_bytes(content)
        with BundleReader.open(file, unpacked_max=10**9) as reader:
            parts.append({part.name: part.sha256 for part in reader.manifest.parts})
    parts[1].pop("lineage.jsonl.zst")
    differing = {name for name in parts[0] if parts[0][name] != parts[1][name]}
    assert differing == {"session.json.zst"}


async def test_a_snapshot_of_the_server_is_imported(
    tmp_path: Path, postgres_url: str, qdrant_server: QdrantServer
) -> None:
    async with quire_on_servers(tmp_path / "server", postgres_url, qdrant_server, **FAKE) as server:
        session = await create(server, name="s")
        points = [{"id": n, "text": f"tab {n}", "payload": {"n": n}} for n in range(30)]
        await server.points.upsert(ADA, session.id, points)
        path = f"{qdrant_server.url}/collections/{session.collection}/snapshots"
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            name = (await client.post(path)).json()["result"]["name"]
            snapshot = (await client.get(f"{path}/{name}")).content
        back = made(await imported(server, snapshot, model="fake", name="From a snapshot"))
        assert await digest(server, back) == await digest(server, session.id)
