"""Checkpoints, undoing and lineage over PostgreSQL and a Qdrant server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from quire.points.requests import Selection
from quire.sessions.models import Residency
from quire.store.columns import now
from quire.transfer.split_request import PartRequest, SplitRequest
from quire.vectors.digest import digest_of
from tests.content.house import FAKE, chunks, finished, ingest, text
from tests.sessions.house import ADA, collections, create, finish_purges, purged
from tests.sessions.servers import quire_on_servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from quire.app import Quire
    from quire.vectors.digest import Digest
    from tests.backends.qdrant import QdrantServer

pytestmark = [pytest.mark.server, pytest.mark.postgres]


@pytest.fixture
async def quire(
    tmp_path: Path, postgres_url: str, qdrant_server: QdrantServer
) -> AsyncIterator[Quire]:
    async with quire_on_servers(tmp_path, postgres_url, qdrant_server, embedding=FAKE) as opened:
        yield opened


async def digest(quire: Quire, session_id: str) -> Digest:
    session = await quire.sessions.open(ADA, session_id)
    page = await quire.engine.scroll(session.collection, limit=1000, with_vectors=True)
    return digest_of(page.records)


async def test_there_and_back_again(quire: Quire) -> None:
    session = await create(quire)
    # Ids that PostgreSQL's own collations would sort otherwise.
    names = ["B", "a", "Ä", "_", "b-1", "b1"]
    await ingest(quire, session.id, *(text(f"Of {name}.", id=name) for name in names))
    points = [{"id": n, "vector": [1.0, float(n)] * 16, "payload": {"n": n}} for n in range(700)]
    await quire.points.upsert(ADA, session.id, points)
    was = await digest(quire, session.id)
    history = quire.history
    await finished(quire, await history.checkpoints.begin(ADA, session.id, "one"))

    await finished(quire, await quire.documents.remove(ADA, session.id, ["a", "b1"]))
    await ingest(quire, session.id, text("Another.", id="c"))
    await quire.points.delete(ADA, session.id, Selection(ids=[0, 699]))
    changed = await digest(quire, session.id)
    found = await history.diff.diff(ADA, session.id, "one", "now", most=10)
    assert (found.points.added, found.points.removed, found.points.unchanged) == (1, 4, 702)
    assert (found.documents.first_added, found.documents.first_removed) == (["c"], ["a", "b1"])
    assert found.documents.unchanged == 4

    await quire.sessions.sleep(ADA, session.id)
    restored = await finished(quire, await history.restore.begin(ADA, session.id, "one"))
    assert await digest(quire, session.id) == was
    assert (await quire.sessions.sleep(ADA, session.id)).residency is Residency.COLD
    await finished(quire, await history.undo.begin(ADA, restored.id))
    assert await digest(quire, session.id) == changed

    ids = [chunk.id for chunk in await chunks(quire, session.id)]
    part = PartRequest(name="part", point_ids=[*ids[:2], 5])
    request = SplitRequest(parts=[part])
    job_id = await quire.transfers.split.begin(ADA, session.id, request)
    await finished(quire, job_id)
    graph = await history.lineage.around(ADA, session.id, depth=3)
    assert [edge.kind for edge in graph.edges] == ["restored_from", "split_from"]
    await finished(quire, await history.undo.begin(ADA, job_id))
    assert await digest(quire, session.id) == changed
    await finish_purges(quire)
    await history.undo.forget(now())
    await purged(quire, ADA, session.id)
    await quire.residency.sweep()
    assert await collections(quire) == set()
