"""Undoing merges, splits and restored checkpoints."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from quire.access.policy import Role
from quire.errors import Conflict, Forbidden, JobNotFound, SessionNotFound
from quire.points.requests import Selection
from quire.sessions.lifecycle import State
from quire.sessions.models import Outcome
from quire.store.columns import now
from quire.store.tables import blob_references, lineage
from quire.transfer.feeds import OnConflict
from quire.transfer.merge_request import MergeRequest
from quire.transfer.split_request import PartRequest, SplitRequest
from quire.transfer.targets import NewTarget
from quire.vectors.digest import digest_of
from tests.content.house import chunks, filled_quire, finished, ingest, paragraphs, text
from tests.points.workspace import with_points
from tests.sessions.house import ADA, ALAN, GRACE, collections, create, finish_purges, purged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quire.access.principal import Principal
    from quire.app import Quire
    from quire.jobs.port import Job
    from quire.sessions.models import Session
    from quire.vectors.digest import Digest

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quire]:
    """One for all: each test has sessions of its own."""
    async with filled_quire(tmp_path_factory.mktemp("quire")) as quire:
        yield quire


async def merge(quire: Quire, *sources: Session, **more: Any) -> Job:
    fields = {"source_session_ids": [source.id for source in sources], **more}
    if "target_session_id" not in fields:
        fields["target_name"] = "merged"
    return await finished(quire, await quire.transfers.merge.begin(ADA, MergeRequest(**fields)))


async def split(quire: Quire, session: Session, *parts: list[int | str], **more: Any) -> Job:
    asked = [PartRequest(name=f"part {n}", point_ids=ids) for n, ids in enumerate(parts)]
    request = SplitRequest(parts=asked, **more)
    return await finished(quire, await quire.transfers.split.begin(ADA, session.id, request))


async def undo(quire: Quire, job_id: str, *, force: bool = False) -> Job:
    undone = await finished(quire, await quire.history.undo.begin(ADA, job_id, force=force))
    await finish_purges(quire)
    return undone


async def digest(quire: Quire, session_id: str) -> Digest:
    session = await quire.sessions.open(ADA, session_id)
    page = await quire.engine.scroll(session.collection, limit=1000, with_vectors=True)
    return digest_of(page.records)


async def held_for_undoing(quire: Quire, job_id: str) -> int:
    held = blob_references.c.holder == f"undo/{job_id}"
    async with quire.database.read() as connection:
        return int(await connection.scalar(sa.select(sa.func.count()).where(held)) or 0)


async def let_pass_since(quire: Quire, job_id: str, time: timedelta) -> None:
    async with quire.database.write() as connection:
        moved = (
            sa.type_coerce(lineage.c.created_at, sa.BigInteger) - int(time.total_seconds()) * 10**6
        )
        await connection.execute(
            sa.update(lineage).where(lineage.c.job_id == job_id).values(created_at=moved)
        )


async def test_a_merge_into_a_new_session_is_undone(quire: Quire) -> None:
    one, other = await with_points(quire, 3), await with_points(quire)
    await quire.points.upsert(ADA, other.id, [{"id": 7, "vector": [1.0] * 4, "payload": {}}])
    await quire.sessions.end(ADA, other.id, Outcome.FAILED)
    was = {session.id: await digest(quire, session.id) for session in (one, other)}
    job = await merge(quire, one, other)
    assert job.result is not None
    merged = job.result["session_id"]
    assert (await quire.sessions.get(ADA, one.id)).state is State.ARCHIVED

    undone = await undo(quire, job.id)
    assert undone.result == {
        "undone": job.id,
        "removed_sessions": [merged],
        "changed_sessions": [],
        "reactivated_sessions": sorted(was),
    }
    with pytest.raises(SessionNotFound):
        await quire.sessions.get(ADA, merged)
    for session_id, digest_was in was.items():
        session = await quire.sessions.get(ADA, session_id)
        assert (session.state, session.archived_at) == (State.ACTIVE, None)
        assert await digest(quire, session_id) == digest_was
    assert (await quire.sessions.get(ADA, other.id)).outcome is Outcome.FAILED
    with pytest.raises(Conflict, match="undone already"):
        await quire.history.undo.begin(ADA, job.id)


async def test_a_merge_into_an_existing_session_gives_back_what_it_was(quire: Quire) -> None:
    source, target = await create(quire), await create(quire, metadata={"mine": 1})
    await ingest(quire, source.id, text("Theirs.", id="both"), text("New.", id="theirs"))
    await ingest(quire, target.id, text("Ours.", id="both"), text(paragraphs(3), id="ours"))
    was, chunks_were = await digest(quire, target.id), await chunks(quire, target.id)
    before = await quire.sessions.get(ADA, target.id)
    job = await merge(quire, source, target_session_id=target.id, on_conflict=OnConflict.REPLACE)
    assert await digest(quire, target.id) != was
    assert await held_for_undoing(quire, job.id) > 0
    spare = before.collection
    assert spare in await collections(quire)

    await undo(quire, job.id)
    after = await quire.sessions.get(ADA, target.id)
    assert await digest(quire, target.id) == was
    assert await chunks(quire, target.id) == chunks_were
    assert (after.collection, after.metadata, after.lineage) == (spare, {"mine": 1}, {})
    assert (after.points_count, after.chunks_count) == (before.points_count, before.chunks_count)
    assert await held_for_undoing(quire, job.id) == 0
    document = await quire.documents.get(ADA, target.id, "both")
    raw = quire.documents.raw(document, 0, document.raw.size)
    assert b"".join([block async for block in raw]) == b"Ours."
    listed = await quire.documents.page(ADA, target.id, cursor=-1, limit=10)
    assert sorted(d.id for d in listed.documents) == ["both", "ours"]
    there = await collections(quire)
    await quire.residency.sweep()
    assert len(there) - len(await collections(quire)) == 1  # what the merge had built
    await ingest(quire, target.id, text("Ours anew.", id="both"))


async def test_a_split_is_undone_even_when_all_have_gone_cold(quire: Quire) -> None:
    session = await create(quire)
    await ingest(quire, session.id, text("First.", id="a"), text("Second.", id="b"))
    ids = [chunk.id for chunk in await chunks(quire, session.id)]
    was = await digest(quire, session.id)
    job = await split(quire, session, [ids[0]], archive_original=True)
    assert job.result is not None
    (part,) = job.result["new_session_ids"]
    assert (await quire.sessions.get(ADA, session.id)).state is State.ARCHIVED
    for session_id in (session.id, part):
        await quire.sessions.sleep(ADA, session_id, pack=True)

    await undo(quire, job.id)
    after = await quire.sessions.get(ADA, session.id)
    assert (after.state, after.pack) == (State.ACTIVE, None)
    assert await digest(quire, session.id) == was
    assert [chunk.text for chunk in await chunks(quire, session.id)] == ["First.", "Second."]
    with pytest.raises(SessionNotFound):
        await quire.sessions.get(ADA, part)


async def test_what_changed_since_is_lost_only_by_force(quire: Quire) -> None:
    session = await create(quire)
    await ingest(quire, session.id, text("First.", id="a"), text("Second.", id="b"))
    ids = [chunk.id for chunk in await chunks(quire, session.id)]
    was = await digest(quire, session.id)
    job = await split(quire, session, [ids[0]])
    await ingest(quire, session.id, text("Third.", id="c"))
    with pytest.raises(Conflict, match=f"Session {session.id} was changed since"):
        await quire.history.undo.begin(ADA, job.id)
    await undo(quire, job.id, force=True)
    assert await digest(quire, session.id) == was
    listed = await quire.documents.page(ADA, session.id, cursor=-1, limit=10)
    assert [d.id for d in listed.documents] == ["a", "b"]


async def test_documents_that_went_since_cannot_be_brought_back(quire: Quire) -> None:
    session = await create(quire)
    await ingest(quire, session.id, text("First.", id="a"), text("Second.", id="b"))
    ids = [chunk.id for chunk in await chunks(quire, session.id)]
    job = await split(quire, session, [ids[0]])
    await finished(quire, await quire.documents.remove(ADA, session.id, ["b"]))
    there = await digest(quire, session.id)
    begun = await quire.history.undo.begin(ADA, job.id, force=True)
    failed = await finished(quire, begun, "failed")
    assert failed.error is not None
    assert "were removed or replaced since" in failed.error["message"]
    assert await digest(quire, session.id) == there  # nothing is half done
    assert job.result is not None
    assert (await quire.sessions.get(ADA, job.result["new_session_ids"][0])).points_count == 1


async def test_a_merged_session_stays_when_its_sources_are_gone(quire: Quire) -> None:
    one, other = await with_points(quire, 1), await with_points(quire)
    job = await merge(quire, one, other)
    await purged(quire, ADA, one.id)
    with pytest.raises(Conflict, match="would be lost"):
        await quire.history.undo.begin(ADA, job.id)


async def test_restored_checkpoints_are_undone_the_last_one_first(quire: Quire) -> None:
    session = await with_points(quire, 3)
    checkpoints, restore = quire.history.checkpoints, quire.history.restore
    await finished(quire, await checkpoints.begin(ADA, session.id, "three"))
    await quire.points.delete(ADA, session.id, Selection(ids=[0]))
    two = await digest(quire, session.id)
    first = await finished(quire, await restore.begin(ADA, session.id, "three"))
    await quire.points.delete(ADA, session.id, Selection(ids=[0, 1]))
    one = await digest(quire, session.id)
    second = await finished(quire, await restore.begin(ADA, session.id, "three"))
    with pytest.raises(Conflict, match=second.id):
        await quire.history.undo.begin(ADA, first.id, force=True)
    await undo(quire, second.id)
    assert await digest(quire, session.id) == one
    assert (await quire.sessions.get(ADA, session.id)).points_count == 1
    await undo(quire, first.id, force=True)
    assert await digest(quire, session.id) == two
    assert (await quire.sessions.get(ADA, session.id)).lineage == {}


async def test_merges_on_top_of_each_other_are_undone_one_by_one(quire: Quire) -> None:
    target, one, two = [await with_points(quire) for _ in range(3)]
    for n, session in enumerate((target, one, two)):
        points = [{"id": n, "vector": [1.0, 0.0, 0.0, float(n)]}]
        await quire.points.upsert(ADA, session.id, points)
    before = await digest(quire, target.id)
    first = await merge(quire, one, target_session_id=target.id)
    second = await merge(quire, two, target_session_id=target.id)
    await undo(quire, second.id)
    await undo(quire, first.id)
    assert await digest(quire, target.id) == before


async def test_only_admins_of_all_undo(quire: Quire) -> None:
    one, other = await with_points(quire, 1), await with_points(quire)
    job = await merge(quire, one, other)
    assert job.result is not None

    async def refused(who: Principal, error: type[Exception]) -> None:
        with pytest.raises(error) as raised:
            await quire.history.undo.begin(who, job.id)
        assert one.id not in str(raised.value)

    await refused(ALAN, JobNotFound)
    await quire.sharing.share(ADA, job.result["session_id"], ["grace"], Role.ADMIN)
    await refused(GRACE, Forbidden)  # she does not see the sources
    for session in (one, other):
        await quire.sessions.restore(ADA, session.id)
        await quire.sharing.share(ADA, session.id, ["grace"], Role.WRITE)
    with pytest.raises(Forbidden):
        await quire.history.undo.begin(GRACE, job.id)
    for session in (one, other):
        await quire.sharing.share(ADA, session.id, ["grace"], Role.ADMIN)
    begun = await quire.history.undo.begin(GRACE, job.id, force=True)
    await finished(quire, begun)


async def test_other_jobs_cannot_be_undone(quire: Quire) -> None:
    session = await with_points(quire, 1)
    job_id, _ = await quire.transfers.fork.begin(ADA, session.id, NewTarget(name="fork"))
    await finished(quire, job_id)
    with pytest.raises(Conflict, match="nothing that can be undone"):
        await quire.history.undo.begin(ADA, job_id)
    with pytest.raises(JobNotFound):
        await quire.history.undo.begin(ALAN, job_id)
    with pytest.raises(JobNotFound):
        await quire.history.undo.begin(ADA, "no such job")


async def test_after_its_time_what_was_kept_goes(quire: Quire) -> None:
    source, target = await create(quire), await create(quire)
    await ingest(quire, source.id, text("Theirs.", id="both"))
    await ingest(quire, target.id, text("Ours.", id="both"))
    collection = target.collection
    job = await merge(quire, source, target_session_id=target.id, on_conflict=OnConflict.REPLACE)
    await quire.history.undo.forget(now())
    assert await held_for_undoing(quire, job.id) > 0
    await let_pass_since(quire, job.id, timedelta(hours=25))
    with pytest.raises(Conflict, match="too late"):
        await quire.history.undo.begin(ADA, job.id)
    await quire.history.undo.forget(now())
    assert await held_for_undoing(quire, job.id) == 0
    await quire.residency.sweep()
    assert collection in await collections(quire)  # by the clock its time has not come
    await purged(quire, ADA, target.id)
    await quire.history.undo.forget(now())
    await quire.residency.sweep()
    assert collection not in await collections(quire)  # nobody can want it any more
