"""Limits of how many sessions there may be, and what a process finds that another left."""

from __future__ import annotations

import asyncio
import resource
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from quire.errors import SessionLimitReached, StorageFull, Unavailable
from quire.sessions.models import Session
from quire.sessions.requests import SessionChange
from quire.sessions.retention_policy import RetentionPolicy
from quire.settings import LimitSettings
from quire.store.tables import sessions
from tests.sessions.house import ADA, GRACE, collections, create, let_pass, new_id, quire_in

if TYPE_CHECKING:
    from pathlib import Path

    from quire.app import Quire


async def test_the_limit_of_sessions_is_enforced_at_creation(tmp_path: Path) -> None:
    async with quire_in(tmp_path, limits=LimitSettings(sessions_per_owner=2)) as quire:
        kept = await create(quire)
        other = await create(quire)
        with pytest.raises(SessionLimitReached) as refusal:
            await create(quire)
        assert refusal.value.status == 409
        assert "QUIRE_LIMITS_SESSIONS_PER_OWNER" in refusal.value.message
        # archiving frees no place, deleting does; and others have places of their own
        await quire.sessions.archive(ADA, kept.id)
        with pytest.raises(SessionLimitReached):
            await create(quire)
        await create(quire, GRACE)
        await quire.sessions.delete(ADA, other.id)
        await create(quire)
        # what is there already is no creation
        await create(quire, id=kept.id)


async def test_the_last_place_under_the_policy_is_given_once(tmp_path: Path) -> None:
    async with quire_in(tmp_path) as quire:
        await quire.policies.put(RetentionPolicy(max_sessions_per_user=3))
        results = await asyncio.gather(*(create(quire) for _ in range(9)), return_exceptions=True)
        refused = [result for result in results if isinstance(result, SessionLimitReached)]
        assert len(refused) == 6
        assert "max_sessions_per_user" in refused[0].message
        assert len([result for result in results if isinstance(result, Session)]) == 3
        assert len(await collections(quire)) == 3


async def test_a_creation_cut_off_by_the_end_of_the_process_can_be_repeated_after_it(
    tmp_path: Path,
) -> None:
    # given a row without a collection, as a kill leaves it
    session_id = new_id()
    async with quire_in(tmp_path) as quire:
        session = await create(quire, id=session_id)
        async with quire.database.write() as connection:
            await connection.execute(
                sa.update(sessions)
                .where(sessions.c.id == session_id)
                .values(state="provisioning", version=0)
            )
        await quire.engine.drop(session.collection)
    # when the client repeats its request to the next process
    async with quire_in(tmp_path) as quire:
        again = await asyncio.wait_for(repeated(quire, session_id), 10)
        # then it gets its session
        assert (await quire.engine.info(again.collection)).points_count == 0
        assert len(await collections(quire)) == 1


async def repeated(quire: Quire, session_id: str) -> Session:
    while True:
        try:
            return await create(quire, id=session_id)
        except Unavailable:
            await asyncio.sleep(0.05)


async def test_a_use_that_there_is_no_room_to_note_is_still_a_use(tmp_path: Path) -> None:
    async with quire_in(tmp_path) as quire:
        # given a session that was not used for a while, and a log of writes that may not grow
        session = await create(quire)
        for turn in range(8):
            text = str(turn) * 200_000
            await quire.sessions.update(ADA, session.id, SessionChange(metadata={"k": text}))
        await let_pass(quire, timedelta(hours=1), session.id)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
        try:
            with pytest.raises(StorageFull):
                await quire.sessions.update(ADA, session.id, SessionChange(name="changed"))
            # when it is read, then it is there
            assert (await quire.sessions.get(ADA, session.id)).name == "s"
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        changed = await quire.sessions.update(ADA, session.id, SessionChange(name="changed"))
        assert changed.name == "changed"
