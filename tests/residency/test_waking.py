"""One waking for all who need it, told to those who do not wait, and nothing lost if it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from quire.app import Quire
from quire.errors import Conflict, StorageDamaged, VerificationFailed
from quire.residency import packing, point_files
from quire.sessions.models import Pack, Residency, Session
from quire.sessions.requests import SessionChange
from quire.sessions.waking import StillCold, without_waiting
from quire.store.tables import spare_collections
from quire.vectors.port import Point
from tests.content.house import (
    FAKE,
    chunks,
    finished,
    ingest,
    paragraphs,
    remove,
    submit,
    text,
)
from tests.crash.killing import check_blobs
from tests.residency.workspace import (
    asleep,
    content,
    embedded,
    filled,
    points,
    value_of,
)
from tests.sessions.house import ADA, collections, create, purged

MODELS = FAKE.model_copy(update={"models": "other"})

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quire]:
    async with embedded(tmp_path_factory.mktemp("waking"), embedding=MODELS) as opened:
        yield opened


async def until(holds: Callable[[], Any]) -> None:
    """Wait for what comes about in the background."""
    async with asyncio.timeout(10):
        while not await holds():
            await asyncio.sleep(0.01)


async def residency_of(quire: Quire, session: Session) -> Residency:
    return (await quire.sessions.peek(ADA, session.id)).residency


async def test_a_hundred_first_uses_wake_it_once(quire: Quire) -> None:
    session = await filled(quire, 300)
    await asleep(quire, session)
    before = value_of(quire, "quire_session_wakes_total", how="unpacked")
    counts = await asyncio.gather(*(quire.points.count(ADA, session.id) for _ in range(100)))
    assert counts == [300] * 100
    assert value_of(quire, "quire_session_wakes_total", how="unpacked") == before + 1
    assert value_of(quire, "quire_session_wake_duration_seconds_count", how="unpacked") >= 1
    assert (await quire.reconciliation.run()).is_clean
    await purged(quire, ADA, session.id)


async def test_who_gives_up_waiting_does_not_call_it_off(
    quire: Quire, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await filled(quire, 20)
    await asleep(quire, session)
    gate = held_up(quire, monkeypatch)
    first = asyncio.create_task(quire.points.count(ADA, session.id))
    second = asyncio.create_task(quire.points.count(ADA, session.id))
    await gate.reached.wait()
    first.cancel()
    gate.open.set()
    assert await second == 20
    assert first.cancelled()
    await purged(quire, ADA, session.id)


async def test_who_does_not_wait_is_told(quire: Quire, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await filled(quire, 20)
    await asleep(quire, session)
    gate = held_up(quire, monkeypatch)
    with without_waiting(), pytest.raises(StillCold) as told:
        await quire.points.count(ADA, session.id)
    assert told.value.retry_after
    assert told.value.details["session_id"] == session.id
    # it goes on waking
    gate.open.set()
    await until(lambda: is_hot(quire, session))
    with without_waiting():
        assert await quire.points.count(ADA, session.id) == 20
    await purged(quire, ADA, session.id)


async def is_hot(quire: Quire, session: Session) -> bool:
    return await residency_of(quire, session) is Residency.HOT


async def is_cold(quire: Quire, session: Session) -> bool:
    return not await is_hot(quire, session)


class Gate:
    """Holds wakings up before they write."""

    def __init__(self) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()


def held_up(quire: Quire, monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    lay = packing.Packing._lay

    async def waiting(self: packing.Packing, session: Session, pack: Pack, collection: str) -> None:
        gate.reached.set()
        await gate.open.wait()
        await lay(self, session, pack, collection)

    monkeypatch.setattr(packing.Packing, "_lay", waiting)
    return gate


async def test_a_pack_that_is_gone_or_damaged_is_told_and_nothing_is_dropped(
    quire: Quire, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await filled(quire, 600)
    cold = await asleep(quire, session)
    assert cold.pack is not None
    blob = next(quire.settings.data_dir.glob(f"blobs/**/{cold.pack.sha256}*"))
    sound = blob.read_bytes()
    before = await collections(quire)
    for damaged in (sound[: len(sound) // 2], sound[:1000] + b"?" + sound[1001:], None):
        if damaged is None:
            blob.unlink()
        else:
            blob.chmod(0o644)
            blob.write_bytes(damaged)
        with pytest.raises(StorageDamaged, match=session.id) as told:
            await quire.points.count(ADA, session.id)
        assert "backup" in told.value.recovery
        latest = await quire.sessions.peek(ADA, session.id)
        assert (latest.residency, latest.pack) == (Residency.COLD, cold.pack)
        assert await collections(quire) == before
    # who does not wait is told as well, rather than put off for ever
    with without_waiting(), pytest.raises(StorageDamaged):
        await quire.points.count(ADA, session.id)
    # and when it is there again, so is the session
    blob.write_bytes(sound)
    assert len(await content(quire, session.id)) == 600
    await purged(quire, ADA, session.id)


async def test_points_that_do_not_all_arrive_keep_it_cold(
    quire: Quire, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await filled(quire, 30)
    cold = await asleep(quire, session)
    upsert = quire.engine.upsert

    async def losing(collection: str, batch: list[Point], **more: Any) -> None:
        await upsert(collection, batch[:-1], **more)

    with monkeypatch.context() as patch:
        patch.setattr(quire.engine, "upsert", losing)
        with pytest.raises(VerificationFailed, match="stays cold"):
            await quire.points.count(ADA, session.id)
    assert (await quire.sessions.peek(ADA, session.id)).pack == cold.pack
    async with quire.database.read() as connection:
        assert not (await connection.execute(sa.select(spare_collections))).all()
    assert await quire.points.count(ADA, session.id) == 30
    await purged(quire, ADA, session.id)


async def test_a_pack_that_does_not_read_back_keeps_it_hot(
    quire: Quire, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await filled(quire, 30)
    points_in = point_files.points_in
    with monkeypatch.context() as patch:
        patch.setattr(point_files, "points_in", lambda path: iter([next(points_in(path))[1:]]))
        with pytest.raises(VerificationFailed):
            await asleep(quire, session)
    assert await residency_of(quire, session) is Residency.HOT
    assert len(await content(quire, session.id)) == 30
    await purged(quire, ADA, session.id)


async def test_archived_means_cold_and_restored_means_hot(quire: Quire) -> None:
    session = await filled(quire, 10)
    await quire.sessions.archive(ADA, session.id)
    await until(lambda: is_cold(quire, session))
    assert await quire.points.count(ADA, session.id) == 10  # it can be read all the same
    await asleep(quire, session)
    restored = await quire.sessions.restore(ADA, session.id)
    assert restored.residency is Residency.COLD  # that is what is true at this moment
    await until(lambda: is_hot(quire, session))
    await purged(quire, ADA, session.id)


async def test_a_pinned_session_stays_hot(quire: Quire) -> None:
    session = await filled(quire, 10)
    await asleep(quire, session)
    pinned = await quire.sessions.update(ADA, session.id, SessionChange(pinned=True))
    assert pinned.pinned
    await until(lambda: is_hot(quire, session))
    with pytest.raises(Conflict, match="pinned"):
        await asleep(quire, session)
    # but not when it is put aside
    await quire.sessions.archive(ADA, session.id)
    await until(lambda: is_cold(quire, session))
    await purged(quire, ADA, session.id)


async def test_a_cold_session_is_purged_with_its_pack(quire: Quire) -> None:
    session = await filled(quire, 10)
    cold = await asleep(quire, session)
    assert cold.pack is not None
    await purged(quire, ADA, session.id)
    await check_blobs(quire)
    assert cold.pack.sha256 not in {blob.sha256 async for blob in quire.blobs.blobs()}


async def test_jobs_wake_the_session_first(quire: Quire) -> None:
    session = await create(quire)
    await ingest(quire, session.id, text(paragraphs(30), id="one"), chunk_size=60)
    before = await chunks(quire, session.id)
    await asleep(quire, session)
    assert await chunks(quire, session.id) == before
    await asleep(quire, session)
    await ingest(quire, session.id, text(paragraphs(5), id="two"), chunk_size=60)
    await asleep(quire, session)
    await remove(quire, session.id, "two")
    assert await chunks(quire, session.id) == before
    await asleep(quire, session)
    await finished(quire, await quire.reembedding.begin(ADA, session.id, "fake", "other"))
    assert [chunk.text for chunk in await chunks(quire, session.id)] == [c.text for c in before]
    assert (await quire.reconciliation.run()).is_clean
    await purged(quire, ADA, session.id)


async def test_a_session_with_an_unfinished_job_does_not_sleep(quire: Quire) -> None:
    session = await create(quire)
    admitted = await submit(quire, session.id, text(paragraphs(400)), chunk_size=60)
    assert admitted.job_id is not None
    with pytest.raises(Conflict, match=r"job|worked on"):
        await asleep(quire, session)
    await finished(quire, admitted.job_id)
    await asleep(quire, session)
    await purged(quire, ADA, session.id)


async def test_while_a_job_has_it_for_itself_points_are_not_written(quire: Quire) -> None:
    session = await filled(quire, 5)
    async with quire.repository.transaction() as connection:
        locked = await quire.repository.lock(connection, session.id)
        assert locked is not None
        taken = await quire.repository.save(connection, locked, replace(locked, busy_job="a-job"))
    for refused in (
        quire.points.upsert(ADA, session.id, points(1)),
        quire.documents.remove(ADA, session.id, []),
        quire.sessions.sleep(ADA, session.id, pack=True),
    ):
        with pytest.raises(Conflict) as told:
            await refused
        assert told.value.details["job_id"] == "a-job"
    assert taken.busy_job == "a-job"
    await purged(quire, ADA, session.id)
