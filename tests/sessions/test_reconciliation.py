"""Orphans in both directions are found, told, and removed when that is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from quire.errors import Conflict, SessionNotFound
from quire.jobs.port import JobRequest
from quire.vectors.port import CollectionSpec
from tests.sessions.house import ADA, collections, create, finish_purges, new_id, purged

if TYPE_CHECKING:
    from quire.app import Quire
    from quire.sessions.models import Session

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def with_points(quire: Quire, session: Session, count: int) -> None:
    """As if so many points had been written and counted."""
    async with quire.repository.transaction() as connection:
        locked = await quire.repository.lock(connection, session.id)
        assert locked is not None
        await quire.repository.save(connection, locked, replace(locked, points_count=count))


async def test_a_sound_house_is_clean(quire: Quire) -> None:
    session = await create(quire)
    await quire.sessions.delete(ADA, session.id)  # deleted is still there
    findings = await quire.reconciliation.run()
    assert findings.is_clean
    assert findings.sessions_checked == findings.collections_checked == 1
    await purged(quire, ADA, session.id)


async def test_a_collection_without_a_session(quire: Quire) -> None:
    session = await create(quire)
    orphan = f"session_{new_id('orphan')}"
    await quire.engine.create(orphan, CollectionSpec(4))
    # it is reported, and stays
    findings = await quire.reconciliation.run()
    assert findings.orphan_collections == [orphan]
    assert not findings.is_clean
    assert not findings.repaired
    assert orphan in await collections(quire)
    # until repair is asked for, which touches nothing else
    findings = await quire.reconciliation.run(repair=True)
    assert any(orphan in told for told in findings.repaired)
    assert await collections(quire) == {session.collection}
    assert (await quire.reconciliation.run()).is_clean
    await purged(quire, ADA, session.id)


async def test_an_empty_session_without_its_collection_gets_another(quire: Quire) -> None:
    session = await create(quire, dimension=7, distance="euclid")
    await quire.engine.drop(session.collection)
    findings = await quire.reconciliation.run()
    assert findings.missing_collections == {session.id: False}
    await quire.reconciliation.run(repair=True)
    assert (await quire.engine.info(session.collection)).points_count == 0
    assert (await quire.reconciliation.run()).is_clean
    # as it was laid: creating it with another dimension is a conflict
    with pytest.raises(Conflict):
        await quire.engine.create(session.collection, CollectionSpec(8))
    await purged(quire, ADA, session.id)


async def test_a_session_whose_points_are_lost_goes(quire: Quire) -> None:
    session = await create(quire)
    await with_points(quire, session, 5)
    await quire.engine.drop(session.collection)
    findings = await quire.reconciliation.run()
    assert findings.missing_collections == {session.id: True}
    assert (await quire.sessions.get(ADA, session.id)).points_count == 5
    await quire.reconciliation.run(repair=True)
    await finish_purges(quire)
    with pytest.raises(SessionNotFound):
        await quire.sessions.get(ADA, session.id)
    assert (await quire.reconciliation.run()).is_clean


async def test_another_engine_is_not_taken_for_orphans(quire: Quire) -> None:
    # given most sessions without their collections, and a collection that is not ours
    kept = [await create(quire) for _ in range(2)]
    lost = [await create(quire) for _ in range(5)]
    for session in lost:
        await with_points(quire, session, 1)
        await quire.engine.drop(session.collection)
    foreign = f"session_{new_id('foreign')}"
    await quire.engine.create(foreign, CollectionSpec(4))
    # when repair is asked for, it refuses and nothing is touched
    with pytest.raises(Conflict, match="5 of 7") as refusal:
        await quire.reconciliation.run(repair=True)
    assert "--force" in refusal.value.recovery
    assert foreign in await collections(quire)
    for session in lost:
        await quire.sessions.get(ADA, session.id)
    # unless it is forced
    await quire.reconciliation.run(repair=True, force=True)
    await finish_purges(quire)
    assert await collections(quire) == {session.collection for session in kept}
    assert (await quire.reconciliation.run()).is_clean
    for session in kept:
        await purged(quire, ADA, session.id)


async def test_a_session_that_an_ended_job_holds_is_freed(quire: Quire) -> None:
    session, other = await create(quire), await create(quire)
    async with quire.repository.transaction() as connection:
        parameters = {"collection": "not its own", "reason": "asked"}
        request = JobRequest("purge", sessions=[other.id], parameters=parameters)
        job_id = await quire.jobs.submit(connection, request)
        locked = await quire.repository.lock(connection, session.id)
        assert locked is not None
        await quire.repository.save(connection, locked, replace(locked, busy_job=job_id))
    ended = await quire.jobs.wait(job_id, 30)
    assert ended.status.is_final
    findings = await quire.reconciliation.run()
    assert findings.held_sessions == {session.id: job_id}
    assert not findings.is_clean
    await quire.reconciliation.run(repair=True)
    assert (await quire.reconciliation.run()).is_clean
    assert (await quire.sessions.peek(ADA, session.id)).busy_job is None
    await purged(quire, ADA, session.id)
    await purged(quire, ADA, other.id)
