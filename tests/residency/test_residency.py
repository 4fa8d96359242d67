"""Sessions go cold and wake: what is in them is what was in them, and nothing else remains."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from quire.app import Quire
from quire.points.requests import PointQuery, Selection
from quire.sessions.listing import SessionFilter
from quire.sessions.models import Residency
from quire.sessions.requests import SessionChange
from quire.vectors.port import Match
from tests.crash.killing import check_blobs
from tests.residency.workspace import asleep, content, embedded, filled, points
from tests.sessions.house import ADA, collections, purged

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quire]:
    async with embedded(tmp_path_factory.mktemp("residency")) as opened:
        yield opened


@pytest.mark.parametrize("count", [0, 3, 1_200])
async def test_what_was_packed_comes_back_whole(quire: Quire, count: int) -> None:
    session = await filled(quire, count)
    before = await content(quire, session.id)
    cold = await asleep(quire, session)
    # it is out of the engine, and its row says where it is
    assert cold.residency is Residency.COLD
    assert cold.pack is not None
    assert cold.pack.points == count
    assert session.collection not in await collections(quire)
    assert cold.collection not in await collections(quire)
    assert (await quire.sessions.get(ADA, session.id)).residency is Residency.COLD
    # the first use wakes it
    assert await content(quire, session.id) == before
    hot = await quire.sessions.get(ADA, session.id)
    assert hot.residency is Residency.HOT
    assert hot.woke_at is not None
    assert hot.pack is None
    assert (hot.points_count, hot.version) == (session.points_count, session.version)
    await purged(quire, ADA, session.id)
    await check_blobs(quire)
    assert (await quire.reconciliation.run()).is_clean


async def test_a_shard_is_closed_and_opened_again(quire: Quire) -> None:
    session = await filled(quire)
    open_before = quire.engine.hot_collections()
    cold = await quire.sessions.sleep(ADA, session.id)
    assert cold.residency is Residency.COLD
    assert (cold.pack, cold.collection) == (None, session.collection)
    assert quire.engine.hot_collections() == (open_before or 0) - 1
    # later it is packed, without waking in between
    packed = await asleep(quire, cold)
    assert packed.pack is not None
    assert len(await content(quire, session.id)) == 50
    await quire.sessions.sleep(ADA, session.id)
    assert len(await content(quire, session.id)) == 50
    await purged(quire, ADA, session.id)


async def test_every_use_of_points_wakes(quire: Quire) -> None:
    session = await filled(quire, 10)
    nearest = PointQuery(vector=[1.0] * 8, limit=3)
    some = Selection(filter=Match("n", [3]))
    uses: list[Callable[[], Awaitable[object]]] = [
        lambda: quire.points.upsert(ADA, session.id, points(1, 99)),
        lambda: quire.points.set_payload(ADA, session.id, {"label": 1}, some),
        lambda: quire.points.assign(ADA, session.id, [{"ids": [3], "payload": {"label": 2}}]),
        lambda: quire.points.delete(ADA, session.id, Selection(ids=[99])),
        lambda: quire.points.get(ADA, session.id, 3),
        lambda: quire.points.scroll(ADA, session.id),
        lambda: quire.points.query(ADA, session.id, nearest),
        lambda: quire.points.count(ADA, session.id),
        lambda: quire.points.facets(ADA, session.id, "n"),
        lambda: quire.chunks.page(ADA, session.id),
        lambda: quire.sessions.wake(ADA, session.id),
    ]
    for use in uses:
        await asleep(quire, session)
        await use()
        assert (await quire.sessions.peek(ADA, session.id)).residency is Residency.HOT
    # an index that a facet made is there again, and so are the counts
    cold = await asleep(quire, session)
    assert cold.pack is not None
    assert cold.pack.indexes == {"n": "integer"}
    assert len(await quire.points.facets(ADA, session.id, "n")) == 10
    hot = await quire.sessions.peek(ADA, session.id)
    assert (await quire.engine.info(hot.collection)).indexes["n"] == "integer"
    assert hot.points_count == 10
    await purged(quire, ADA, session.id)


async def test_metadata_is_read_and_changed_without_waking(quire: Quire) -> None:
    session = await filled(quire, 10)
    await asleep(quire, session)
    await quire.sessions.get(ADA, session.id)
    await quire.sessions.update(ADA, session.id, SessionChange(description="changed"))
    statistics = await quire.statistics.read(ADA, session.id)
    assert statistics.collection["points_count"] == 10
    assert statistics.collection["residency"] == "cold"
    await quire.listing.find(ADA, SessionFilter())
    cold = await quire.sessions.get(ADA, session.id)
    assert cold.residency is Residency.COLD
    assert cold.description == "changed"
    assert len(await content(quire, session.id)) == 10
    await purged(quire, ADA, session.id)
