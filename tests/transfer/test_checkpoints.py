"""Checkpoints: kept under a name, compared, come back to."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from quire.access.policy import Role
from quire.errors import (
    CheckpointNotFound,
    Conflict,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    SessionNotFound,
    StorageDamaged,
)
from quire.points.requests import Selection
from quire.sessions.models import Residency
from quire.settings import EmbeddingSettings, TransferSettings
from quire.store.columns import now
from quire.store.tables import blob_references, checkpoints
from quire.transfer.checkpoint_diff import Changes
from quire.vectors.digest import digest_of
from tests.content.house import chunks, filled_quire, finished, ingest, paragraphs, remove, text
from tests.points.workspace import with_points
from tests.sessions.house import (
    ADA,
    ALAN,
    GRACE,
    collections,
    create,
    finish_purges,
    purged,
    row_count,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quire.app import Quire
    from quire.jobs.port import Job
    from quire.vectors.digest import Digest


TWO = EmbeddingSettings(provider="fake", dimension=32, models="other")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quire]:
    """One for all: each test has a session of its own."""
    directory = tmp_path_factory.mktemp("quire")
    transfer = TransferSettings(checkpoints=3)
    async with filled_quire(directory, transfer=transfer, embedding=TWO) as quire:
        yield quire


async def checkpoint(quire: Quire, session_id: str, name: str) -> Job:
    return await finished(quire, await quire.history.checkpoints.begin(ADA, session_id, name))


async def restore(quire: Quire, session_id: str, name: str) -> Job:
    return await finished(quire, await quire.history.restore.begin(ADA, session_id, name))


async def digest(quire: Quire, session_id: str) -> Digest:
    session = await quire.sessions.open(ADA, session_id)
    page = await quire.engine.scroll(session.collection, limit=1000, with_vectors=True)
    return digest_of(page.records)


async def references(quire: Quire, session_id: str, holder: str) -> int:
    query = sa.select(sa.func.count()).where(
        blob_references.c.session_id == session_id, blob_references.c.holder.like(holder)
    )
    async with quire.database.read() as connection:
        return int(await connection.scalar(query) or 0)


def counts(changes: Changes) -> tuple[int, int, int, int]:
    return changes.added, changes.removed, changes.changed, changes.unchanged


async def upsert(quire: Quire, session_id: str, *points: dict[str, Any]) -> None:
    await quire.points.upsert(ADA, session_id, points)


async def test_a_restored_checkpoint_is_the_session_as_it_was(quire: Quire) -> None:
    session = await create(quire)
    await ingest(
        quire, session.id, text("One leaf.", id="a"), text(paragraphs(20), id="b", title="B")
    )
    await upsert(quire, session.id, {"id": 7, "vector": [1.0] * 32, "payload": {"n": 1}})
    was, chunks_were = await digest(quire, session.id), await chunks(quire, session.id)
    before = await quire.sessions.get(ADA, session.id)
    job = await checkpoint(quire, session.id, "first")
    assert job.result is not None
    assert job.result["points"] == before.points_count

    await ingest(quire, session.id, text("Another leaf altogether.", id="a"))
    await ingest(quire, session.id, text("New here.", id="c"))
    await remove(quire, session.id, "b")
    await quire.points.delete(ADA, session.id, Selection(ids=[7]))
    changed = await quire.sessions.get(ADA, session.id)

    await restore(quire, session.id, "first")
    after = await quire.sessions.get(ADA, session.id)
    assert await digest(quire, session.id) == was
    assert await chunks(quire, session.id) == chunks_were
    assert (after.points_count, after.chunks_count) == (
        before.points_count,
        before.chunks_count,
    )
    assert after.next_seq == changed.next_seq  # a seq is never given twice
    assert after.busy_job is None
    assert after.lineage == {"restored_from": "first"}
    listed = await quire.documents.page(ADA, session.id, cursor=-1, limit=10)
    assert [(d.id, d.title) for d in listed.documents] == [("a", None), ("b", "B")]
    raw = quire.documents.raw(listed.documents[0], 0, listed.documents[0].raw.size)
    assert b"".join([block async for block in raw]) == b"One leaf."

    again = await ingest(quire, session.id, text("A third leaf.", id="a"))
    assert again.documents[0].status == "ready"
    assert {c.text for c in await chunks(quire, session.id, "a")} == {"A third leaf."}


async def test_a_difference_tells_what_was_added_removed_and_changed(quire: Quire) -> None:
    session = await create(quire)
    await ingest(quire, session.id, text("Stays.", id="s"), text("Goes.", id="g"))
    await upsert(
        quire,
        session.id,
        *({"id": n, "vector": [1.0, float(n)] * 16, "payload": {"n": n}} for n in range(5)),
    )
    await checkpoint(quire, session.id, "one")
    diff = quire.history.diff.diff
    same = await diff(ADA, session.id, "one", "now", most=10)
    assert counts(same.points) == (0, 0, 0, 7)
    assert counts(same.documents) == (0, 0, 0, 2)

    await upsert(
        quire,
        session.id,
        {"id": 9, "vector": [1.0] * 32, "payload": {}},
        {"id": 1, "vector": [1.0, 9.0] * 16, "payload": {"n": 1}},
    )
    await quire.points.set_payload(ADA, session.id, {"n": 20}, Selection(ids=[2]))
    await quire.points.delete(ADA, session.id, Selection(ids=[0, 4]))
    await ingest(quire, session.id, text("Stays, but not as it was.", id="s"))
    await remove(quire, session.id, "g")
    found = await diff(ADA, session.id, "one", "now", most=1)
    assert counts(found.documents) == (0, 1, 1, 0)
    assert found.documents.first_removed == ["g"]
    assert found.documents.first_changed == ["s"]
    # The revised document's chunk is another one than before.
    assert counts(found.points) == (2, 4, 2, 1)
    assert found.points.first_added == [9]
    assert found.points.first_removed == [0]
    assert found.points.first_changed == [1]

    await checkpoint(quire, session.id, "two")
    backwards = await diff(ADA, session.id, "two", "one", most=10)
    assert counts(backwards.points) == (4, 2, 2, 1)
    assert counts(backwards.documents) == (1, 0, 1, 0)
    assert backwards.points.first_added[:2] == [0, 4]
    await checkpoint(quire, session.id, "two again")
    assert counts((await diff(ADA, session.id, "two", "two again", most=1)).points)[3] == 5


async def test_names_are_unique_and_few(quire: Quire) -> None:
    session = await with_points(quire, 2)
    begin = quire.history.checkpoints.begin
    for name in ("", " x", "a/b", "now", "..", "tab\t", "x" * 201):
        with pytest.raises(InvalidInput) as refused:
            await begin(ADA, session.id, name)
        assert refused.value.field == "name"
    await checkpoint(quire, session.id, "one")
    with pytest.raises(Conflict, match="a checkpoint one already"):
        await begin(ADA, session.id, "one")
    await checkpoint(quire, session.id, "zwei ä")
    await checkpoint(quire, session.id, "two")
    with pytest.raises(LimitExceeded, match="QUIRE_TRANSFER_CHECKPOINTS"):
        await begin(ADA, session.id, "four")
    page = quire.history.checkpoints.page
    assert [c.name for c in await page(ADA, session.id, before=None, limit=1)] == ["two"]
    rest = await page(ADA, session.id, before="zwei ä", limit=9)
    assert [(c.name, c.points_count) for c in rest] == [("one", 2)]

    await quire.history.checkpoints.delete(ADA, session.id, "one")
    with pytest.raises(CheckpointNotFound):
        await quire.history.checkpoints.get(ADA, session.id, "one")
    await checkpoint(quire, session.id, "one")


async def test_only_who_may_write_makes_and_restores_them(quire: Quire) -> None:
    session = await with_points(quire, 1)
    await checkpoint(quire, session.id, "one")
    await quire.sharing.share(ADA, session.id, ["grace"], Role.READ)
    history = quire.history
    assert (await history.checkpoints.get(GRACE, session.id, "one")).points_count == 1
    await history.diff.diff(GRACE, session.id, "one", "now", most=1)
    for refused in (
        history.checkpoints.begin(GRACE, session.id, "two"),
        history.checkpoints.delete(GRACE, session.id, "one"),
        history.restore.begin(GRACE, session.id, "one"),
    ):
        with pytest.raises(Forbidden):
            await refused
    for hidden in (
        history.checkpoints.begin(ALAN, session.id, "two"),
        history.checkpoints.get(ALAN, session.id, "one"),
        history.checkpoints.page(ALAN, session.id, before=None, limit=1),
        history.checkpoints.delete(ALAN, session.id, "one"),
        history.restore.begin(ALAN, session.id, "one"),
        history.diff.diff(ALAN, session.id, "one", "now", most=1),
    ):
        with pytest.raises(SessionNotFound):
            await hidden


async def test_its_blobs_stay_as_long_as_it_does(quire: Quire) -> None:
    session = await create(quire)
    await ingest(quire, session.id, text("Goes.", id="g"))
    await checkpoint(quire, session.id, "one")
    await remove(quire, session.id, "g")
    await quire.ledger.sweep(now() + timedelta(days=2))
    await restore(quire, session.id, "one")
    assert [c.text for c in await chunks(quire, session.id)] == ["Goes."]
    await quire.history.checkpoints.delete(ADA, session.id, "one")
    assert await references(quire, session.id, "checkpoint/%") == 0
    assert await references(quire, session.id, "document/%") > 0


async def test_a_purged_session_leaves_nothing_of_them(quire: Quire) -> None:
    session = await create(quire)
    await ingest(quire, session.id, text("Goes.", id="g"))
    await checkpoint(quire, session.id, "one")
    await purged(quire, ADA, session.id)
    await finish_purges(quire)
    assert await row_count(quire, checkpoints, session.id) == 0
    assert await references(quire, session.id, "%") == 0


async def test_a_damaged_checkpoint_changes_nothing(quire: Quire) -> None:
    session = await with_points(quire, 3)
    await checkpoint(quire, session.id, "one")
    kept = await quire.history.checkpoints.get(ADA, session.id, "one")
    await quire.blobs.delete(str(kept.points_sha256))
    await upsert(quire, session.id, {"id": 9, "vector": [1.0] * 4, "payload": {}})
    there = await collections(quire)
    job_id = await quire.history.restore.begin(ADA, session.id, "one")
    job = await finished(quire, job_id, "failed")
    assert job.error is not None
    assert job.error["code"] == StorageDamaged.code
    after = await quire.sessions.get(ADA, session.id)
    assert (after.points_count, after.busy_job) == (4, None)
    assert await collections(quire) == there
    await upsert(quire, session.id, {"id": 10, "vector": [1.0] * 4, "payload": {}})


async def test_a_checkpoint_that_fails_leaves_nothing(
    quire: Quire, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await with_points(quire, 3)
    put, failing = quire.ledger.put, True

    async def unwilling(content: Any) -> Any:
        if failing:
            raise StorageDamaged("The disk is broken")
        return await put(content)

    monkeypatch.setattr(quire.ledger, "put", unwilling)
    job_id = await quire.history.checkpoints.begin(ADA, session.id, "one")
    await finished(quire, job_id, "failed")
    assert await row_count(quire, checkpoints, session.id) == 0
    assert (await quire.sessions.get(ADA, session.id)).busy_job is None
    failing = False
    await checkpoint(quire, session.id, "one")


async def test_restoring_brings_indexes_and_the_model_back(quire: Quire) -> None:
    session = await create(quire)
    await ingest(quire, session.id, text(paragraphs(5), id="a"))
    await quire.points.set_payload(ADA, session.id, {"cluster": 3}, Selection(everything=True))
    made = await quire.sessions.get(ADA, session.id)
    await quire.points.facets(ADA, session.id, "cluster")
    was = await digest(quire, session.id)
    await checkpoint(quire, session.id, "one")
    job_id = await quire.reembedding.begin(ADA, session.id, "fake", "other")
    await finished(quire, job_id)
    assert (await quire.sessions.get(ADA, session.id)).embedding != made.embedding

    await restore(quire, session.id, "one")
    after = await quire.sessions.get(ADA, session.id)
    assert after.embedding == made.embedding
    assert await digest(quire, session.id) == was
    indexes = (await quire.engine.info(after.collection)).indexes
    assert "cluster" in indexes


async def test_a_cold_session_is_kept_and_restored_like_any(quire: Quire) -> None:
    session = await with_points(quire, 3)
    await quire.sessions.sleep(ADA, session.id, pack=True)
    await checkpoint(quire, session.id, "one")
    was = await digest(quire, session.id)
    await quire.points.delete(ADA, session.id, Selection(ids=[0, 1]))
    await quire.sessions.sleep(ADA, session.id, pack=True)
    await restore(quire, session.id, "one")
    after = await quire.sessions.get(ADA, session.id)
    assert (after.residency, after.pack) == (Residency.HOT, None)
    assert await digest(quire, session.id) == was
    await quire.sessions.sleep(ADA, session.id, pack=True)
    assert await digest(quire, session.id) == was
