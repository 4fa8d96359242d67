"""Changes at the same time: none is lost, none is half seen, and stale ones are refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from quire.access.policy import Role
from quire.errors import Conflict, PreconditionFailed, TransitionForbidden
from quire.sessions.models import Outcome, Session, Status
from quire.sessions.requests import SessionChange
from tests.sessions.house import ADA, ALAN, GRACE, create, purged

if TYPE_CHECKING:
    from quire.app import Quire

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_of_many_writers_for_one_version_exactly_one_wins(quire: Quire) -> None:
    session = await create(quire)
    for turn in range(5):
        known = session.etag
        results = await asyncio.gather(
            *(
                quire.sessions.update(
                    ADA,
                    session.id,
                    SessionChange(name=f"writer {n} of turn {turn}"),
                    if_match=known,
                )
                for n in range(8)
            ),
            return_exceptions=True,
        )
        (winner,) = [result for result in results if isinstance(result, Session)]
        losers = [result for result in results if isinstance(result, PreconditionFailed)]
        assert len(losers) == 7
        assert winner.version == session.version + 1
        session = await quire.sessions.get(ADA, session.id)
        assert session.name == winner.name


async def test_counters_that_are_raised_at_once_add_up(quire: Quire) -> None:
    session = await create(quire)
    await asyncio.gather(
        *(
            quire.statistics.add(
                ADA, session.id, {"urls_processed": n, "content_analyzed": 1}, {f"k{n}": n}
            )
            for n in range(40)
        )
    )
    after = await quire.sessions.get(ADA, session.id)
    assert after.processing_stats.urls_processed == sum(range(40))
    assert after.processing_stats.content_analyzed == 40
    assert {f"k{n}" for n in range(40)} <= set(after.metadata)
    assert after.version == session.version + 40


async def test_collaborators_that_are_added_at_once_are_all_there(quire: Quire) -> None:
    session = await create(quire)
    people = [f"user-{n}" for n in range(20)]
    await asyncio.gather(
        *(quire.sharing.share(ADA, session.id, [who], Role.READ) for who in people)
    )
    after = await quire.sessions.get(ADA, session.id)
    assert {c.user_id for c in after.collaborators} == set(people)


async def test_a_change_that_is_none_is_not_written(quire: Quire) -> None:
    session = await create(quire, metadata={"a": 1})
    same = SessionChange(name=session.name, metadata={"a": 1})
    assert await quire.sessions.update(ADA, session.id, same) == session
    assert await quire.sessions.restore(ADA, session.id) == session


async def test_a_change_that_is_refused_leaves_no_part_of_itself(quire: Quire) -> None:
    session = await create(quire, tags=("a",))

    def half(old: Session, at: datetime) -> Session:
        raise Conflict("no")

    with pytest.raises(Conflict):
        await quire.sessions.change(ADA, session.id, half)
    with pytest.raises(PreconditionFailed):
        await quire.sessions.change(
            ADA, session.id, lambda old, at: replace(old, tags=("b",)), if_match='"7", "8"'
        )
    assert await quire.sessions.get(ADA, session.id) == session


async def test_patch_merges_as_rfc_7396_says(quire: Quire) -> None:
    session = await create(
        quire, description="old", metadata={"a": {"b": 1, "c": 2}, "d": [1, 2], "e": 5}
    )
    patch = {"a": {"b": None, "x": {"y": None, "z": 1}}, "d": [3], "e": {"f": None}}
    change = SessionChange(metadata=patch, description=None, nulls_remove=True)
    after = await quire.sessions.update(ADA, session.id, change)
    assert after.metadata == {"a": {"c": 2, "x": {"z": 1}}, "d": [3], "e": {}}
    assert after.description is None


async def test_an_end_is_recorded_once(quire: Quire) -> None:
    session = await create(quire)
    ended = await quire.sessions.end(ADA, session.id, Outcome.FAILED)
    assert (ended.outcome, ended.status) == (Outcome.FAILED, Status.ACTIVE)
    assert ended.ended_at is not None
    assert await quire.sessions.end(ADA, session.id, Outcome.FAILED) == ended
    with pytest.raises(Conflict, match="already ended"):
        await quire.sessions.end(ADA, session.id, Outcome.COMPLETED)
    reopened = await quire.sessions.restore(ADA, session.id)
    assert (reopened.outcome, reopened.ended_at) == (None, None)
    again = await quire.sessions.end(ADA, session.id, Outcome.COMPLETED)
    assert again.outcome is Outcome.COMPLETED


async def test_a_deleted_session_may_be_read_and_restored_and_nothing_else(quire: Quire) -> None:
    session = await create(quire)
    await quire.sharing.share(ADA, session.id, ["grace"], Role.ADMIN)
    await quire.sessions.archive(ADA, session.id)
    deleted = await quire.sessions.delete(ADA, session.id)
    assert deleted.deleted_at is not None
    assert (await quire.sessions.get(GRACE, session.id)).status is Status.DELETED
    for attempt in (
        lambda: quire.sessions.update(ADA, session.id, SessionChange(name="n")),
        lambda: quire.statistics.add(ADA, session.id, {"urls_processed": 1}, None),
        lambda: quire.statistics.note_model(ADA, session.id, "llm", "m"),
        lambda: quire.sharing.share(ADA, session.id, ["alan"], Role.READ),
        lambda: quire.sessions.end(ADA, session.id),
        lambda: quire.sessions.update(ADA, session.id, SessionChange(), status=Status.ARCHIVED),
    ):
        with pytest.raises(Conflict):
            await attempt()
    with pytest.raises(TransitionForbidden) as refusal:
        await quire.sessions.archive(ADA, session.id)
    assert refusal.value.details["allowed"] == ["delete", "purge", "restore"]
    found = await quire.sessions.get(ADA, session.id)
    # It goes cold by itself, which is no change of it.
    assert replace(found, residency=deleted.residency) == deleted
    restored = await quire.sessions.restore(ADA, session.id)
    # it was deleted and archived; it is neither now, and shared as before
    assert restored.status is Status.SHARED
    assert (restored.deleted_at, restored.archived_at) == (None, None)


async def test_sharing_never_changes_what_a_session_is(quire: Quire) -> None:
    session = await create(quire)
    shared = await quire.sharing.share(ADA, session.id, ["grace", "ada"], Role.READ)
    assert shared.status is Status.SHARED
    assert [c.user_id for c in shared.collaborators] == ["grace"]  # the owner stays the owner
    wider = await quire.sharing.share(ADA, session.id, ["grace"], Role.WRITE)
    assert [c.role for c in wider.collaborators] == [Role.WRITE]
    alone = await quire.sharing.unshare(ADA, session.id, "grace")
    assert alone.status is Status.ACTIVE
    assert await quire.sharing.unshare(ADA, session.id, "nobody") == alone


async def test_readers_never_see_what_was_before_an_acknowledged_change(quire: Quire) -> None:
    """The repository keeps sessions in memory: race readers against writers and uses."""
    session = await create(quire, ttl_seconds=1000)
    written = 0
    stop = asyncio.Event()
    seen: list[tuple[int, int]] = []

    async def write() -> None:
        nonlocal written
        for n in range(1, 121):
            await quire.statistics.add(ADA, session.id, {"urls_processed": 1}, None)
            written = n
        stop.set()

    async def read() -> None:
        while not stop.is_set():
            acknowledged = written
            found = await quire.repository.get(session.id)
            assert found is not None
            seen.append((acknowledged, found.processing_stats.urls_processed))
            await asyncio.sleep(0)

    async def touch() -> None:
        while not stop.is_set():
            found = await quire.repository.get(session.id)
            assert found is not None
            at = found.last_activity_at
            await quire.repository.touch(found, at, found.expires_at)

    await asyncio.gather(write(), *(read() for _ in range(6)), *(touch() for _ in range(2)))
    stale = [(acknowledged, found) for acknowledged, found in seen if found < acknowledged]
    assert not stale
    assert len({found for _, found in seen}) > 20  # they did run side by side
    last = await quire.repository.get(session.id)
    assert last is not None
    assert last.processing_stats.urls_processed == 120


async def test_what_is_gone_is_not_remembered(quire: Quire) -> None:
    session = await create(quire)
    for _ in range(3):
        await quire.sessions.get(ADA, session.id)
    await purged(quire, ADA, session.id)
    assert await quire.repository.get(session.id) is None


async def test_a_change_that_is_rolled_back_is_not_remembered(quire: Quire) -> None:
    session = await create(quire)

    async def change_and_fail() -> None:
        async with quire.repository.transaction() as connection:
            locked = await quire.repository.lock(connection, session.id)
            assert locked is not None
            await quire.repository.save(connection, locked, replace(locked, name="never"))
            # while it is under way, others see the old one
            found = await quire.repository.get(session.id)
            assert found is not None
            assert found.name == "s"
            raise Conflict("no")

    with pytest.raises(Conflict):
        await change_and_fail()
    assert await quire.sessions.get(ADA, session.id) == session


async def test_being_read_is_not_being_changed(quire: Quire) -> None:
    session = await create(quire, ttl_seconds=1000)
    touched = await quire.repository.touch(session, session.last_activity_at, session.expires_at)
    assert (touched.version, touched.updated_at) == (session.version, session.updated_at)


async def test_a_stranger_learns_nothing_from_a_stale_version(quire: Quire) -> None:
    session = await create(quire)
    with pytest.raises(Exception, match="There is no session"):
        await quire.sessions.update(ALAN, session.id, SessionChange(name="x"), if_match='"99"')
