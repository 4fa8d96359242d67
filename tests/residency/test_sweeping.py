"""Who goes cold by itself: the idle, the put aside, the least recently used of too many."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from quire.app import Quire
from quire.residency import packing
from quire.sessions.models import Residency, Session
from quire.sessions.requests import SessionChange
from quire.settings import ResidencySettings
from quire.store.columns import now
from quire.vectors.port import CollectionSpec
from tests.residency.workspace import DIMENSION, asleep, content, embedded, filled
from tests.sessions.house import ADA, collections, create, let_pass

FAR = {"sweep_seconds": 3600.0}


async def hot(quire: Quire, *sessions: Session) -> set[str]:
    found = [await quire.sessions.peek(ADA, session.id) for session in sessions]
    return {session.id for session in found if session.residency is Residency.HOT}


async def unused_for(quire: Quire, time: timedelta, *sessions: Session) -> None:
    """As if nobody had used these sessions for so long."""
    await let_pass(quire, time, *(session.id for session in sessions))
    for session in sessions:
        quire.residency._recency.forget(session.id)


async def test_the_idle_go_cold_and_later_are_packed(tmp_path: Path) -> None:
    patient = ResidencySettings(idle_seconds=3600, pack_seconds=24 * 3600, **FAR)
    async with embedded(tmp_path, residency=patient) as quire:
        idle, pinned = await filled(quire, 5), await filled(quire, 5)
        await quire.sessions.update(ADA, pinned.id, SessionChange(pinned=True))
        assert (await quire.residency.sweep()).slept == 0
        await unused_for(quire, timedelta(hours=2), idle, pinned)
        used = await filled(quire, 5)
        assert (await quire.residency.sweep()).slept == 1
        assert await hot(quire, idle, pinned, used) == {pinned.id, used.id}
        # what the engine has closed is packed when a long time has passed
        assert (await quire.residency.sweep()).packed == 0
        await unused_for(quire, timedelta(days=2), idle)
        assert (await quire.residency.sweep()).packed == 1
        cold = await quire.sessions.peek(ADA, idle.id)
        assert cold.pack is not None
        assert idle.collection not in await collections(quire)
        assert (await quire.residency.sweep()).packed == 0
        assert len(await content(quire, idle.id)) == 5


async def test_of_too_many_the_least_recently_used_go(tmp_path: Path) -> None:
    async with embedded(tmp_path, hot_sessions_max=4) as quire:
        made = [await create(quire, dimension=DIMENSION) for _ in range(4)]
        pinned, first, second, third = made
        await quire.sessions.update(ADA, pinned.id, SessionChange(pinned=True))
        # the store does not note a second use within a minute; it counts all the same
        await quire.points.count(ADA, first.id)
        made.append(await create(quire, dimension=DIMENSION))
        await quire.residency.sweep()
        assert await hot(quire, *made) == {pinned.id, first.id, third.id, made[-1].id}
        # one that wakes takes the place of another
        await quire.points.count(ADA, second.id)
        await quire.residency.sweep()
        assert await hot(quire, *made) == {pinned.id, first.id, second.id, made[-1].id}


async def test_many_that_come_at_once_do_not_wait_for_the_sweep(tmp_path: Path) -> None:
    async with embedded(tmp_path, hot_sessions_max=5) as quire:
        made = [await create(quire, dimension=DIMENSION) for _ in range(25)]
        assert len(await hot(quire, *made)) <= 10
        async with asyncio.timeout(5):
            while len(await hot(quire, *made)) > 5:
                await asyncio.sleep(0.02)


async def test_what_was_put_aside_goes_cold_even_if_the_first_try_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with embedded(tmp_path) as quire:
        archived, used = await filled(quire, 5), await filled(quire, 5)
        with monkeypatch.context() as patch:
            patch.setattr(quire.residency, "sleep_soon", lambda session: None)
            await quire.sessions.archive(ADA, archived.id)
            await quire.sessions.archive(ADA, used.id)
        await quire.points.count(ADA, used.id)  # read since, so somebody may read on
        await quire.residency.sweep()
        assert await hot(quire, archived, used) == {used.id}


async def test_one_that_cannot_be_packed_keeps_no_other_hot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brief = ResidencySettings(idle_seconds=0.05, pack_seconds=0.05, **FAR)
    async with embedded(tmp_path, residency=brief) as quire:
        broken, sound = await filled(quire, 5), await filled(quire, 5)
        write = packing.Packing._write

        async def failing(self: packing.Packing, session: Session, path: Path) -> object:
            if session.id == broken.id:
                raise OSError("no such device")
            return await write(self, session, path)

        monkeypatch.setattr(packing.Packing, "_write", failing)
        await asyncio.sleep(0.1)
        swept = [await quire.residency.sweep() for _ in range(3)]
        assert [s.packed for s in swept] == [1, 0, 0]
        assert (await quire.sessions.peek(ADA, sound.id)).pack is not None
        assert len(await content(quire, broken.id)) == 5


async def test_spare_collections_are_no_orphans_and_go_when_their_time_has_come(
    tmp_path: Path,
) -> None:
    async with embedded(tmp_path) as quire:
        session = await filled(quire, 5)
        spares = quire.residency._spares
        for name, until in (("session_soon", now()), ("session_late", now() + timedelta(hours=1))):
            async with quire.database.write() as connection:
                await spares.reserve(connection, name, session_id=session.id, until=until)
            await quire.engine.create(name, CollectionSpec(DIMENSION))
        assert (await quire.reconciliation.run()).is_clean
        assert (await quire.residency.sweep()).dropped == 1
        assert await collections(quire) == {session.collection, "session_late"}
        # one that is condemned, no session can have
        async with quire.database.write() as connection:
            assert await spares.adopt(connection, "session_late")
            assert not await spares.adopt(connection, "session_late")
        await quire.engine.drop("session_late")
    # at the start nobody is filling any more what a killed process was filling
    async with embedded(tmp_path) as quire:
        async with quire.database.write() as connection:
            await spares.reserve(
                connection, "session_cut", session_id=session.id, until=now() + timedelta(hours=1)
            )
        await quire.engine.create("session_cut", CollectionSpec(DIMENSION))
    async with embedded(tmp_path) as quire:
        assert await collections(quire) == {session.collection}
        await asleep(quire, session)
        assert (await quire.reconciliation.run()).is_clean
