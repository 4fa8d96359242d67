"""The same where several processes share PostgreSQL and Qdrant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from quire.app import Quire
from quire.errors import Conflict
from quire.sessions.models import Residency
from quire.store.tables import spare_collections
from quire.vectors.port import Record
from tests.backends.qdrant import QdrantServer
from tests.crash.killing import check_blobs
from tests.residency.workspace import asleep, content, filled, on_servers, points
from tests.sessions.house import ADA, collections, create, purged

pytestmark = [pytest.mark.server, pytest.mark.postgres]


@pytest.fixture
async def pair(
    tmp_path: Path, postgres_url: str, qdrant_server: QdrantServer
) -> AsyncIterator[Sequence[Quire]]:
    async with on_servers(tmp_path, postgres_url, qdrant_server, hot_sessions_max=6) as opened:
        yield opened


async def test_what_was_packed_comes_back_whole(pair: Sequence[Quire]) -> None:
    quire, other = pair
    session = await filled(quire, 1_100)
    await quire.points.facets(ADA, session.id, "n")
    before = await content(quire, session.id)
    cold = await quire.sessions.sleep(ADA, session.id)  # a server's are always packed
    assert cold.pack is not None
    assert cold.pack.indexes == {"n": "integer"}
    assert await collections(quire) == set()
    assert await content(other, session.id) == before
    hot = await other.sessions.get(ADA, session.id)
    assert (await other.engine.info(hot.collection)).indexes["n"] == "integer"
    await purged(quire, ADA, session.id)
    await check_blobs(quire)
    assert await collections(quire) == set()


async def test_two_processes_that_wake_one_session_make_one_collection(
    pair: Sequence[Quire],
) -> None:
    session = await filled(pair[0], 300)
    for _ in range(3):
        await asleep(pair[0], session)
        counts = await asyncio.gather(
            *(pair[n % 2].points.count(ADA, session.id) for n in range(20))
        )
        assert counts == [300] * 20
        hot = await pair[0].repository.latest(session.id)
        assert hot is not None
        assert await collections(pair[0]) == {hot.collection}
        async with pair[0].database.read() as connection:
            assert not (await connection.execute(sa.select(spare_collections))).all()


async def test_a_process_that_does_not_know_yet_finds_it_again(pair: Sequence[Quire]) -> None:
    """What one has in memory of a session is behind by the moment that the word takes."""
    quire, other = pair
    session = await filled(quire, 50)
    for _ in range(5):
        await other.sessions.get(ADA, session.id)
        await asleep(quire, session)
        assert await other.points.count(ADA, session.id) == 50
        await asleep(other, session)
        written = await quire.points.upsert(ADA, session.id, points(1, 7))
        assert written.points_count == 50


async def test_one_that_another_process_packed_meanwhile_is_told_so(
    pair: Sequence[Quire], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    session = await filled(one, 50)
    before = await content(one, session.id)
    stream = one.engine.stream

    async def too_late(collection: str, **more: Any) -> AsyncIterator[Sequence[Record]]:
        await asleep(other, session)
        async for batch in stream(collection, **more):
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(one.engine, "stream", too_late)
        with pytest.raises(Conflict, match="was changed while it was to go cold"):
            await asleep(one, session)
    assert await collections(one) == set()
    assert await content(one, session.id) == before
    await purged(one, ADA, session.id)
    await check_blobs(one)


async def test_too_many_are_packed_and_dropped(pair: Sequence[Quire]) -> None:
    quire = pair[0]
    made = [await create(quire, provider="external", dimension=8) for _ in range(12)]
    for session in made:
        await quire.points.upsert(ADA, session.id, points(5))
    await quire.residency.sweep()
    found = [await quire.sessions.peek(ADA, session.id) for session in made]
    hot = {session.collection for session in found if session.residency is Residency.HOT}
    assert len(hot) == 6
    assert await collections(quire) == hot
    assert [await quire.points.count(ADA, session.id) for session in made] == [5] * 12
