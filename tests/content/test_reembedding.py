"""Moving a session to another model while it is read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from quire.content import reembedding
from quire.errors import Conflict, InvalidInput
from quire.retrieval.requests import Mode, SearchRequest
from quire.settings import EmbeddingSettings
from quire.vectors.port import IndexKind
from tests.content.house import chunks, filled_quire, finished, ingest, paragraphs, submit, text
from tests.sessions.house import ADA, collections, create, purged

if TYPE_CHECKING:
    from pathlib import Path

TWO = EmbeddingSettings(provider="fake", dimension=32, models="other")


async def test_a_session_moves_with_everything_in_it(tmp_path: Path) -> None:
    async with filled_quire(tmp_path, embedding=TWO) as quire:
        session = await create(quire)
        await ingest(quire, session.id, text(paragraphs(30), id="a"), chunk_size=60)
        await quire.points.upsert(ADA, session.id, [{"id": 7, "text": "a point of its own"}])
        await quire.engine.create_index(session.collection, "label", IndexKind.KEYWORD)
        before = await chunks(quire, session.id)
        await finished(quire, await quire.reembedding.begin(ADA, session.id, None, "other"))
        moved = await quire.sessions.get(ADA, session.id)
        assert moved.embedding.model == "other"
        assert moved.collection != session.collection
        assert moved.successor is None
        assert await collections(quire) == {moved.collection}
        assert await chunks(quire, session.id) == before
        request = SearchRequest(query="a point of its own", mode=Mode.DENSE, limit=1)
        (hit,) = (await quire.search.search(ADA, [session.id], request, {})).items
        assert hit["id"] == 7
        assert "label" in (await quire.engine.info(moved.collection)).indexes
        assert moved.model_usage.embedding_models_used == ("other",)
        # and what comes now is embedded with the new model
        await ingest(quire, session.id, text("after"))
        with pytest.raises(Conflict, match="already"):
            await quire.reembedding.begin(ADA, session.id, None, "other")
        with pytest.raises(InvalidInput):
            await quire.reembedding.begin(ADA, session.id, None, "/etc/passwd")


async def test_reads_go_on_and_writes_wait_until_the_switch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reembedding, "PATIENCE_SECONDS", 0.0)
    async with filled_quire(tmp_path, embedding=TWO) as quire:
        session = await create(quire)
        await ingest(quire, session.id, text(paragraphs(1500), id="a"), chunk_size=60)
        before = len(await chunks(quire, session.id))
        job_id = await quire.reembedding.begin(ADA, session.id, "fake", "other")
        reads = refusals = 0
        while not (await quire.jobs.get(job_id)).status.is_final:
            assert len(await chunks(quire, session.id)) == before
            reads += 1
            latest = await quire.sessions.get(ADA, session.id)
            if latest.successor is not None:
                with pytest.raises(Conflict, match="re-embedded"):
                    await submit(quire, session.id, text("not now"))
                refusals += 1
            await asyncio.sleep(0.01)
        await finished(quire, job_id)
        assert reads
        assert refusals
        assert len(await chunks(quire, session.id)) == before


async def test_what_cannot_be_embedded_anew_leaves_the_session_as_it_was(tmp_path: Path) -> None:
    async with filled_quire(tmp_path, embedding=TWO) as quire:
        session = await create(quire)
        await quire.points.upsert(ADA, session.id, [{"id": 1, "vector": [1.0] * 32}])
        job_id = await quire.reembedding.begin(ADA, session.id, None, "other")
        job = await finished(quire, job_id, "failed")
        assert job.error is not None
        assert "no text" in job.error["message"]
        after = await quire.sessions.get(ADA, session.id)
        assert (after.collection, after.successor) == (session.collection, None)
        assert await collections(quire) == {session.collection}
        await quire.points.upsert(ADA, session.id, [{"id": 2, "vector": [1.0] * 32}])


async def test_cancelled_it_leaves_the_session_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reembedding, "PATIENCE_SECONDS", 0.0)
    async with filled_quire(tmp_path, embedding=TWO) as quire:
        session = await create(quire)
        await ingest(quire, session.id, text(paragraphs(3000), id="a"), chunk_size=60)
        job_id = await quire.reembedding.begin(ADA, session.id, None, "other")
        while not (await quire.jobs.get(job_id)).progress.done:
            await asyncio.sleep(0.01)
        await quire.jobs.cancel(job_id)
        await finished(quire, job_id, "cancelled")
        after = await quire.sessions.get(ADA, session.id)
        assert (after.collection, after.successor) == (session.collection, None)
        assert await collections(quire) == {session.collection}
        assert (await quire.reconciliation.run()).is_clean


async def test_a_purge_in_its_midst_takes_both_collections(tmp_path: Path) -> None:
    async with filled_quire(tmp_path, embedding=TWO) as quire:
        session = await create(quire)
        await ingest(quire, session.id, text(paragraphs(500), id="a"), chunk_size=60)
        job_id = await quire.reembedding.begin(ADA, session.id, None, "other")
        await purged(quire, ADA, session.id)
        assert (await quire.jobs.get(job_id)).status.is_final
        assert await collections(quire) == set()
